//! Does any exchange end in order, and does nobody prove to know a password that fits nobody?
//! It does not know protocols: responses are heard, steps answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::sasl::{Exchange, Mechanism, Step, Verifier, decode, encode};

fuzz_target!(|data: (u8, bool, Vec<Vec<u8>>)| {
    let (mechanism, with_initial, responses) = data;
    let mechanism = Mechanism::ALL[usize::from(mechanism) % Mechanism::ALL.len()];
    let mut responses = responses.iter();
    let initial = if with_initial { responses.next().map(Vec::as_slice) } else { None };
    let (mut exchange, mut step) = Exchange::begin(mechanism, initial);
    loop {
        match step {
            Step::Challenge(challenge) => {
                assert_eq!(decode(&encode(&challenge)), Some(challenge));
                let Some(response) = responses.next() else { return };
                (exchange, step) = exchange.hear(response);
            }
            Step::FindVerifier { user } => {
                assert!(!user.is_empty() && !user.contains(char::is_control));
                let verifier = Verifier::for_nobody(b"secret", &user);
                (exchange, step) = exchange.verifier_found(verifier, "nonce");
            }
            Step::Check { user, password } => {
                assert!(mechanism.says_password());
                assert!(!user.is_empty() && !password.reveal().is_empty());
                return;
            }
            Step::Proven { user } => panic!("{user} has proved what fits nobody"),
            Step::Malformed | Step::Wrong => return,
        }
    }
});
