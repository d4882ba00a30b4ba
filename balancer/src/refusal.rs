//! What a client is told when no node can be had, in the words of its protocol. Pure.
//! It does not know why (a word for each kind of reason suffices). `connection` calls it.

use crate::outcome::End;
use crate::settings::Protocol;

/// The refusal for a client of this protocol; `None`: only a reset is understood.
///
/// All of them are temporary: a mail server keeps the message and comes again.
#[must_use]
pub fn refusal(protocol: Protocol, end: End) -> Option<&'static str> {
    let address = matches!(end, End::RefusedAddress | End::RefusedRate);
    let full = matches!(end, End::RefusedLimit | End::RefusedService | End::RefusedNodes);
    match protocol {
        // RFC 5321 §4.2.3 (421), RFC 3463 §3.5, §3.8.
        Protocol::Smtp if address => Some("421 4.7.0 Too many connections from your address\r\n"),
        Protocol::Smtp if full => Some("421 4.3.2 Too many connections, try again later\r\n"),
        Protocol::Smtp => Some("421 4.3.2 No mail server can be reached, try again later\r\n"),
        // RFC 3206 §4: SYS/TEMP, a trouble of the system that is likely to pass.
        Protocol::Pop3 if address => {
            Some("-ERR [SYS/TEMP] Too many connections from your address\r\n")
        }
        Protocol::Pop3 if full => Some("-ERR [SYS/TEMP] Too many connections, try later\r\n"),
        Protocol::Pop3 => Some("-ERR [SYS/TEMP] No mail server can be reached, try later\r\n"),
        // RFC 9051 §7.1 (BYE as a greeting, UNAVAILABLE, LIMIT).
        Protocol::Imap if address => {
            Some("* BYE [LIMIT] Too many connections from your address\r\n")
        }
        Protocol::Imap if full => Some("* BYE [UNAVAILABLE] Too many connections, try later\r\n"),
        Protocol::Imap => Some("* BYE [UNAVAILABLE] No mail server can be reached, try later\r\n"),
        Protocol::Tls | Protocol::Tcp => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_temporary_line() {
        for end in End::ALL {
            for (protocol, start) in [
                (Protocol::Smtp, "421 4."),
                (Protocol::Pop3, "-ERR ["),
                (Protocol::Imap, "* BYE ["),
            ] {
                let text = refusal(protocol, end).expect("there are words for it");
                assert!(text.starts_with(start) && text.ends_with("\r\n"), "{text:?}");
                assert!(text.is_ascii() && text.matches('\n').count() == 1, "{text:?}");
            }
            assert_eq!(refusal(Protocol::Tls, end), None);
        }
    }
}
