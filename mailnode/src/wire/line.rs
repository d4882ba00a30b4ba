//! What a command line is: bytes up to CRLF, and nothing else ends one (RFC 5321 §2.3.8).
//! It does not know commands or sockets; `wire` feeds it, each protocol's session reads the result.

/// What stands at the front of the bytes received.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// No CRLF yet.
    Incomplete,
    /// A line of this many bytes, its CRLF not counted.
    Line(usize),
    /// There is a line (this long, without its CRLF), but it is longer than allowed.
    TooLong(usize),
}

/// Looks for the first line in `received`; lines over `line_bytes_max` are told as such.
pub fn cut(received: &[u8], line_bytes_max: usize) -> Cut {
    match memchr::memmem::find(received, b"\r\n") {
        None => Cut::Incomplete,
        Some(length) if length > line_bytes_max => Cut::TooLong(length),
        Some(length) => Cut::Line(length),
    }
}

/// Why the bytes of a line are not a command's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A lone CR or LF stands in it: a sender that may be smuggling.
    BareLineEnd,
    /// A NUL or another control character.
    Control,
    /// Bytes that are not ASCII.
    NotAscii,
}

/// A command line as text, if its bytes are fit for one (printable ASCII and tab).
///
/// # Errors
/// The first flaw found.
pub fn text(line: &[u8]) -> Result<&str, Flaw> {
    for &byte in line {
        match byte {
            b'\r' | b'\n' => return Err(Flaw::BareLineEnd),
            b'\t' | b' '..=b'~' => {}
            0x80.. => return Err(Flaw::NotAscii),
            _ => return Err(Flaw::Control),
        }
    }
    std::str::from_utf8(line).map_err(|_| Flaw::NotAscii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(cut(b"QUIT\r\nX", 10), Cut::Line(4));
        assert_eq!(cut(b"\r\n", 10), Cut::Line(0));
        for incomplete in [&b"QUIT\n"[..], b"QUIT\r", b"QUIT\r\r", b"QUIT\n\r", b""] {
            assert_eq!(cut(incomplete, 10), Cut::Incomplete, "{incomplete:?}");
        }
        assert_eq!(cut(b"a\nb\r\n", 10), Cut::Line(3));
        assert_eq!(cut(b"0123456789a\r\n", 10), Cut::TooLong(11));
    }

    #[test]
    fn flaws_are_named() {
        assert_eq!(text(b"MAIL FROM:<a@b.c>\t"), Ok("MAIL FROM:<a@b.c>\t"));
        assert_eq!(text(b"EHLO a\nMAIL"), Err(Flaw::BareLineEnd));
        assert_eq!(text(b"EHLO a\rb"), Err(Flaw::BareLineEnd));
        assert_eq!(text(b"EHLO a\0b"), Err(Flaw::Control));
        assert_eq!(text(b"EHLO \xff"), Err(Flaw::NotAscii));
    }
}
