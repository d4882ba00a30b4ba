//! Is a node's greeting judged the same however its octets come in, early, and never taken back?
//! It does not know sockets, or what is done about a greeting.
#![no_main]

use balancer::greeting::{Greeting, is_whole, read};
use balancer::settings::Protocol;
use libfuzzer_sys::fuzz_target;

/// After so many octets every protocol has decided.
const DECIDED: usize = 10;

fuzz_target!(|said: &[u8]| {
    for protocol in
        [Protocol::Smtp, Protocol::Pop3, Protocol::Imap, Protocol::Tls, Protocol::Tcp]
    {
        let mut decided = None;
        for end in 0..=said.len().min(64) {
            let now = read(protocol, &said[..end]);
            match decided {
                // An alert that came in pieces, or any record, is decided once as well.
                Some(before) => assert_eq!(now, before, "{protocol:?} at {end} of {said:?}"),
                None if now == Greeting::Unfinished => {
                    assert!(end < DECIDED, "{protocol:?} waits for more after {end} octets");
                }
                None => decided = Some(now),
            }
        }
        assert_eq!(read(protocol, &[]), Greeting::Unfinished);
        let _ = is_whole(protocol, said);
    }
});
