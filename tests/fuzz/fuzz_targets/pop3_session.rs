//! Does any conversation end in order? It does not know sockets: lines are heard, steps answered.
//! Only messages of the maildrop are ever sent or removed, none of them twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::mail::{MailboxId, Uid};
use mailnode::pop3::maildrop::Maildrop;
use mailnode::pop3::session::{Heard, LoginAnswer, Policy, Session, Step};
use mailnode::sasl::{Mechanism, Verifier};

fuzz_target!(|data: &str| {
    let policy = Policy {
        hostname: "mx.example.test".to_owned(),
        plain_text_login: true,
        tls: true,
        mechanisms: Mechanism::ALL.to_vec(),
        login_delay_s: 0,
        login_failures_max: 3,
        errors_max: 5,
    };
    let mut maildrop = Maildrop::new(MailboxId(1));
    (1..=3).for_each(|number| maildrop.add(Uid(number), &format!("guid-{number}"), number, ""));
    let (mut session, _) = Session::greet(&policy, false);
    for (number, line) in data.split('\u{fffd}').enumerate() {
        let (next, step) = session.hear(Heard::Line(line));
        let (next, step) = match step {
            Step::FindVerifier { user } => {
                let verifier = Verifier::for_nobody(b"secret", &user);
                next.verifier_found((number % 3 > 0).then(|| (verifier, "nonce".to_owned())))
            }
            step => (next, step),
        };
        let (next, step) = match step {
            Step::Open { .. } => panic!("nobody can prove to know what fits nobody"),
            Step::WrongProof => next.login_checked(LoginAnswer::Wrong),
            Step::List(listing) => {
                assert!(next.lines(listing).count() <= 3);
                session = next;
                continue;
            }
            Step::CheckLogin { .. } => next.login_checked(match number % 4 {
                0 => LoginAnswer::Trouble,
                1 => LoginAnswer::Wrong,
                _ => LoginAnswer::Opened(maildrop.clone()),
            }),
            Step::Remove(mailbox, uids) => {
                assert_eq!(mailbox, MailboxId(1));
                assert!((1..=3).contains(&uids.len()) && uids.is_sorted());
                next.removed(number % 2 == 0)
            }
            Step::StartTls(_) => {
                session = next.encrypted();
                continue;
            }
            step => (next, step),
        };
        match step {
            Step::Send { message, .. } => assert!((1..=3).contains(&message.uid.0)),
            Step::Close(_) => return,
            _ => {}
        }
        session = next;
    }
});
