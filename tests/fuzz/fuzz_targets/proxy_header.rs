//! Does a PROXY header read the same whatever follows it, and is a cut one never complete?
//! It does not know who sent it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::proxy_header::{Parsed, parse};

fuzz_target!(|data: &[u8]| {
    let Parsed::Complete { length, .. } = parse(data) else { return };
    assert!(length <= data.len());
    assert!(matches!(parse(&data[..length]), Parsed::Complete { length: l, .. } if l == length));
    for cut in 0..length {
        assert!(matches!(parse(&data[..cut]), Parsed::NeedMore), "cut at {cut} of {length}");
    }
});
