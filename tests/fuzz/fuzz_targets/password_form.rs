//! Is any text that is taken for a password's hash checked without a crash, and taken back the same
//! way it was understood? It does not know which program wrote it. Costly ones are passed over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::password::Form;
use mailnode::sasl::Verifier;

fuzz_target!(|data: &str| {
    match Form::of(data) {
        Ok(Form::Salted(salted)) => assert!(!Form::Salted(salted).verify(data.as_bytes())),
        Ok(_) => {}
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    if let Some(verifier) = Verifier::parse(data) {
        assert_eq!(Verifier::parse(&verifier.to_text()), Some(verifier));
    }
});
