//! What a node's first words mean: welcome, come later, never, or not a greeting at all. Pure.
//! It does not know sockets, or what is done about it. `relay` asks it of each node that greets
//! first, `interview` when it looks at one; the fuzz target calls [`read`] too.
//!
//! The first few octets decide, so next to nothing is ever held back. A greeting of several lines
//! has the same code in each of them (RFC 5321 §4.2.1); waiting for its last line would be wrong,
//! since some servers pause after the first to catch clients that do not wait.

use crate::settings::Protocol;

/// What the first words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// Too little has come to tell.
    Unfinished,
    /// The client is welcome.
    Welcome,
    /// Not now: another node may have time.
    Busy,
    /// No, and every other node would say the same of this client.
    Refused,
    /// Nothing this protocol greets with.
    Strange,
}

/// The greetings of a protocol by how they begin; letters of either case.
const SMTP: [(&[u8], Greeting); 3] = [
    // RFC 5321 §3.1, §4.2.1: 220 greets, 4yz passes (421: closing), 5yz stays (554: no service).
    (b"2", Greeting::Welcome),
    (b"4", Greeting::Busy),
    (b"5", Greeting::Refused),
];
const POP3: [(&[u8], Greeting); 2] = [
    // RFC 1939 §3, §4. There is no telling for how long an -ERR holds.
    (b"+OK", Greeting::Welcome),
    (b"-ERR", Greeting::Busy),
];
const IMAP: [(&[u8], Greeting); 3] = [
    // RFC 9051 §7.1: OK, PREAUTH, or BYE, which ends the connection.
    (b"* OK", Greeting::Welcome),
    (b"* PREAUTH", Greeting::Welcome),
    (b"* BYE", Greeting::Busy),
];

/// Reads what a node has said so far. More octets never change what was decided.
#[must_use]
pub fn read(protocol: Protocol, said: &[u8]) -> Greeting {
    match protocol {
        Protocol::Smtp => read_code(said),
        Protocol::Pop3 => read_word(said, &POP3),
        Protocol::Imap => read_word(said, &IMAP),
        Protocol::Tls => read_record(said),
        // What is not known is not judged.
        Protocol::Tcp if said.is_empty() => Greeting::Unfinished,
        Protocol::Tcp => Greeting::Welcome,
    }
}

/// A handshake, or an alert in its stead (RFC 8446 §5.1, §6). Only an alert that speaks of the
/// server itself is another node's chance: any of them would say the others to this client.
fn read_record(said: &[u8]) -> Greeting {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const INTERNAL_ERROR: u8 = 80;
    match said {
        [] | [HANDSHAKE] => Greeting::Unfinished,
        [HANDSHAKE, 3, ..] => Greeting::Welcome,
        [ALERT, _, _, 0, 2, _, INTERNAL_ERROR, ..] => Greeting::Busy,
        [ALERT, rest @ ..] if rest.len() < 6 => Greeting::Unfinished,
        [ALERT, ..] => Greeting::Refused,
        _ => Greeting::Strange,
    }
}

/// Whether a greeting has come to its end: the last line of it, the one without a hyphen after the
/// code where there are codes.
#[must_use]
pub fn is_whole(protocol: Protocol, said: &[u8]) -> bool {
    if protocol == Protocol::Tls {
        return true;
    }
    let Some(lines) = said.strip_suffix(b"\n") else { return false };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    protocol != Protocol::Smtp || last.get(3) != Some(&b'-')
}

/// Three digits, then a space, a hyphen or the end of the line.
fn read_code(said: &[u8]) -> Greeting {
    let digits = said.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    match said.get(3) {
        _ if digits < said.len().min(3) => Greeting::Strange,
        None => Greeting::Unfinished,
        Some(b' ' | b'-' | b'\r' | b'\n') => read_word(said, &SMTP),
        Some(_) => Greeting::Strange,
    }
}

fn read_word(said: &[u8], words: &[(&[u8], Greeting)]) -> Greeting {
    let agrees = |word: &[u8]| word.iter().zip(said).all(|(a, b)| a.eq_ignore_ascii_case(b));
    let possible = words.iter().find(|(word, _)| agrees(word));
    match possible {
        Some((word, greeting)) if said.len() >= word.len() => *greeting,
        Some(_) => Greeting::Unfinished,
        None => Greeting::Strange,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREETERS: [Protocol; 3] = [Protocol::Smtp, Protocol::Pop3, Protocol::Imap];

    #[test]
    fn greetings_are_told_from_refusals() {
        use Greeting::{Busy, Refused, Strange, Unfinished, Welcome};
        for (protocol, said, meant) in [
            (Protocol::Smtp, "220 mx.example.org ESMTP\r\n", Welcome),
            (Protocol::Smtp, "220-wait for the rest\r\n", Welcome),
            (Protocol::Smtp, "220\r\n", Welcome),
            (Protocol::Smtp, "421 4.3.2 closing\r\n", Busy),
            (Protocol::Smtp, "450-busy\r\n", Busy),
            (Protocol::Smtp, "554 no service here\r\n", Refused),
            (Protocol::Smtp, "42", Unfinished),
            (Protocol::Smtp, "421", Unfinished),
            (Protocol::Smtp, "4210", Strange),
            (Protocol::Smtp, "354 go on\r\n", Strange),
            (Protocol::Smtp, "* OK\r\n", Strange),
            (Protocol::Pop3, "+OK hello\r\n", Welcome),
            (Protocol::Pop3, "-err [SYS/TEMP] not now\r\n", Busy),
            (Protocol::Pop3, "-ER", Unfinished),
            (Protocol::Pop3, "220 hello\r\n", Strange),
            (Protocol::Imap, "* OK [CAPABILITY IMAP4rev2] hello\r\n", Welcome),
            (Protocol::Imap, "* preauth hello\r\n", Welcome),
            (Protocol::Imap, "* BYE [UNAVAILABLE] not now\r\n", Busy),
            (Protocol::Imap, "* B", Unfinished),
            (Protocol::Imap, "* NO\r\n", Strange),
            (Protocol::Tcp, "421 anything\r\n", Welcome),
            (Protocol::Tls, "", Unfinished),
            (Protocol::Tls, "\x16", Unfinished),
            (Protocol::Tls, "\x16\x03\x03", Welcome),
            (Protocol::Tls, "220 hello\r\n", Strange),
            (Protocol::Tls, "\x15\x03\x03\0\x02\x02", Unfinished),
            (Protocol::Tls, "\x15\x03\x03\0\x02\x02\x50", Busy),
            (Protocol::Tls, "\x15\x03\x03\0\x02\x02\x28", Refused),
        ] {
            assert_eq!(read(protocol, said.as_bytes()), meant, "{protocol:?} {said:?}");
        }
    }

    #[test]
    fn the_last_line_is_the_one_without_a_hyphen() {
        for (said, whole) in [
            ("220 hello\r\n", true),
            ("220 hello", false),
            ("220-hello\r\n", false),
            ("220-hello\r\n220-and\r\n", false),
            ("220-hello\r\n220 and\r\n", true),
        ] {
            assert_eq!(is_whole(Protocol::Smtp, said.as_bytes()), whole, "{said:?}");
        }
        assert!(is_whole(Protocol::Imap, b"* OK-hello\r\n"));
    }

    fn words() -> impl Strategy<Value = Vec<u8>> {
        let any = prop::collection::vec(any::<u8>(), 0..32);
        let likely = "(220|421|554|\\+OK|-ERR|\\* OK|\\* BYE|\\* PRE)[ -]?[a-zA-Z\r\n]{0,8}";
        prop_oneof![any, likely.prop_map(String::into_bytes)]
    }

    proptest! {
        /// However the octets come in, the same is decided, early, and never taken back.
        #[test]
        fn pieces_do_not_matter(said in words(), protocol in prop::sample::select(&GREETERS)) {
            let mut decided = None;
            for end in 0..=said.len() {
                let now = read(protocol, &said[..end]);
                match decided {
                    Some(before) => prop_assert_eq!(now, before, "at {} of {:?}", end, &said),
                    None if now == Greeting::Unfinished => prop_assert!(end < 9),
                    None => decided = Some(now),
                }
            }
        }
    }
}
