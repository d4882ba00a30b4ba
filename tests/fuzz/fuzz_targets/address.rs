//! Is what is an address the same when shown and read again, and its directory beneath the root?
//! It does not know who lives there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::mail::EmailAddress;

fuzz_target!(|text: &str| {
    let Ok(address) = EmailAddress::parse(text) else { return };
    assert_eq!(EmailAddress::parse(&address.to_string()), Ok(address.clone()));
    let directory = address.directory();
    assert_eq!(directory.split('/').count(), 2, "{directory}");
    for name in directory.split('/') {
        assert!(!name.is_empty() && !name.starts_with('.') && name.len() <= 255, "{directory}");
    }
});
