//! The end of a message, decided here and nowhere else: only CRLF ends a line, only CRLF.CRLF a
//! message (RFC 5321 §4.1.1.4, §4.5.2); and the dots, taken off on the way in, put on on the way
//! out. It does not know sockets, limits on messages or files; `wire` and POP3 feed it slices.

/// What may not stand in a message (RFC 5321 §2.3.8 forbids CR and LF but as CRLF).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// An LF without a CR before it, or a CR without an LF after it.
    BareLineEnd,
    /// A line longer than allowed.
    LineTooLong,
}

/// Where the reader stands between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// After a dot that began a line: it is taken off, or begins the end.
    Dot,
    /// After `.` CR at the start of a line: LF ends the message.
    DotCr,
    Middle,
    /// After a CR that may be half of a CRLF.
    Cr,
}

/// Reads a message's bytes as DATA brings them, in pieces of any size.
#[derive(Debug)]
pub struct DotReader {
    at: At,
    line_bytes: usize,
    line_bytes_max: usize,
    flaw: Option<Flaw>,
}

/// What one piece held.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the piece that belong to the message, its dots and its end.
    pub consumed: usize,
    /// The message's end was in it.
    pub ended: bool,
}

impl DotReader {
    /// `line_bytes_max`: longest line taken, CRLF not counted (RFC 5321 §4.5.3.1.6 asks for 998).
    pub fn new(line_bytes_max: usize) -> Self {
        Self { at: At::LineStart, line_bytes: 0, line_bytes_max, flaw: None }
    }

    /// The first thing that was wrong so far. A flawed message is read on to its real end, so that
    /// nothing in it can ever be taken for a command, and is refused then.
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// Takes a piece and appends the message's own bytes in it to `message`.
    pub fn feed(&mut self, piece: &[u8], message: &mut Vec<u8>) -> Piece {
        let mut next = 0;
        while next < piece.len() {
            if self.at == At::Middle {
                next += self.run(&piece[next..], message);
                continue;
            }
            let byte = piece[next];
            next += 1;
            if self.step(byte, message) {
                return Piece { consumed: next, ended: true };
            }
        }
        Piece { consumed: next, ended: false }
    }

    /// The long way through a line's middle, a slice at a time, up to and with the next CR or LF.
    fn run(&mut self, piece: &[u8], message: &mut Vec<u8>) -> usize {
        let length = memchr::memchr2(b'\r', b'\n', piece).unwrap_or(piece.len());
        message.extend_from_slice(&piece[..length]);
        self.lengthen(length);
        match piece.get(length) {
            None => length,
            Some(b'\r') => {
                self.at = At::Cr;
                length + 1
            }
            Some(_) => {
                self.spoil(Flaw::BareLineEnd);
                length + 1
            }
        }
    }

    /// One byte where a byte matters. True: the message has ended.
    fn step(&mut self, byte: u8, message: &mut Vec<u8>) -> bool {
        match (self.at, byte) {
            (At::DotCr, b'\n') => return true,
            (At::Cr, b'\n') => {
                message.extend_from_slice(b"\r\n");
                self.line_bytes = 0;
                self.at = At::LineStart;
            }
            // A second CR: the first one was bare; this one may still be half of a CRLF, but not
            // of an end: `CRLF . CR CR LF` is no CRLF.CRLF.
            (At::Cr | At::DotCr, b'\r') => {
                self.spoil(Flaw::BareLineEnd);
                self.at = At::Cr;
            }
            (At::Cr | At::DotCr, _) => {
                self.spoil(Flaw::BareLineEnd);
                self.at = At::Middle;
            }
            (At::LineStart, b'.') => self.at = At::Dot,
            (At::Dot, b'\r') => self.at = At::DotCr,
            (_, b'\r') => self.at = At::Cr,
            (_, b'\n') => {
                self.spoil(Flaw::BareLineEnd);
                self.at = At::Middle;
            }
            (_, _) => {
                message.push(byte);
                self.lengthen(1);
                self.at = At::Middle;
            }
        }
        false
    }

    fn lengthen(&mut self, bytes: usize) {
        self.line_bytes += bytes;
        if self.line_bytes > self.line_bytes_max {
            self.spoil(Flaw::LineTooLong);
        }
    }

    fn spoil(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
    }
}

/// Writes a kept message as POP3 sends it: a dot before each dot that begins a line, and the end.
#[derive(Debug, Default)]
pub struct DotWriter {
    last: [u8; 2],
    any: bool,
}

impl DotWriter {
    /// At the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece of the message to `wire`, dots put on.
    pub fn feed(&mut self, piece: &[u8], wire: &mut Vec<u8>) {
        let mut copied = 0;
        for dot in memchr::memchr_iter(b'.', piece) {
            let before = match dot {
                0 => self.last,
                1 => [self.last[1], piece[0]],
                _ => [piece[dot - 2], piece[dot - 1]],
            };
            if before == *b"\r\n" || (dot == 0 && !self.any) {
                wire.extend_from_slice(&piece[copied..dot]);
                wire.push(b'.');
                copied = dot;
            }
        }
        wire.extend_from_slice(&piece[copied..]);
        match piece {
            [] => {}
            [only] => self.last = [self.last[1], *only],
            [.., a, b] => self.last = [*a, *b],
        }
        self.any |= !piece.is_empty();
    }

    /// Appends the end; a message without a last CRLF is given one (RFC 1939 §3).
    pub fn end(self, wire: &mut Vec<u8>) {
        if self.any && self.last != *b"\r\n" {
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What came out, what was left unread, and the flaw; `None` = no end yet.
    fn read(pieces: &[&[u8]]) -> Option<(Vec<u8>, Vec<u8>, Option<Flaw>)> {
        let (mut reader, mut message) = (DotReader::new(1000), Vec::new());
        for (number, piece) in pieces.iter().enumerate() {
            let got = reader.feed(piece, &mut message);
            if got.ended {
                let mut rest = piece[got.consumed..].to_vec();
                pieces[number + 1..].iter().for_each(|piece| rest.extend_from_slice(piece));
                return Some((message, rest, reader.flaw()));
            }
            assert_eq!(got.consumed, piece.len());
        }
        None
    }

    #[test]
    fn ends_at_crlf_dot_crlf_and_takes_dots_off() {
        let (message, rest, flaw) = read(&[b"a\r\n..b\r\n.c\r\n\0.\r\n.\r\nQUIT\r\n"]).unwrap();
        assert_eq!(message, b"a\r\n.b\r\nc\r\n\0.\r\n");
        assert_eq!((rest.as_slice(), flaw), (&b"QUIT\r\n"[..], None));
        assert_eq!(read(&[b".\r\n"]).unwrap().0, b"");
    }

    #[test]
    fn nothing_else_ends_a_message() {
        for ending in [
            &b"\n.\n"[..],
            b"\n.\r\n",
            b"\r.\r",
            b"\r.\n",
            b"\n.\r",
            b"\r\n.\n",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n\0.\r\n",
            b"\r\n.\r\r\n",
            b"\r\n.\r\r\r\n",
            b"\r\n.\0\r\n",
        ] {
            let mut input = b"x".to_vec();
            input.extend_from_slice(ending);
            input.extend_from_slice(b"MAIL FROM:<admin@example.test>\r\n");
            assert_eq!(read(&[&input]), None, "{ending:?}");
            input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
            let (message, rest, flaw) = read(&[&input]).unwrap();
            assert_eq!(rest, b"QUIT\r\n", "{ending:?}");
            let with_nul = ending.contains(&0);
            assert_eq!(flaw.is_none(), with_nul, "{ending:?} {message:?}");
        }
    }

    #[test]
    fn long_lines_are_told() {
        let long = [vec![b'x'; 1001], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(read(&[&long]).unwrap().2, Some(Flaw::LineTooLong));
        let allowed = [vec![b'x'; 1000], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(read(&[&allowed]).unwrap().2, None);
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => Just(b'\r'), 4 => Just(b'\n'), 4 => Just(b'.'), 2 => Just(b'x'), 1 => Just(0)
        ];
        proptest::collection::vec(byte, 0..60)
    }

    proptest! {
        #[test]
        fn any_chunking_reads_as_one_piece(input in hostile(), cuts in "[0-9]{0,60}") {
            let whole = read(&[&input]);
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts.bytes().map(|digit| usize::from(digit - b'0')) {
                let to = (from + cut).min(input.len());
                pieces.push(&input[from..to]);
                from = to;
            }
            pieces.push(&input[from..]);
            prop_assert_eq!(read(&pieces), whole);
        }

        #[test]
        fn an_unflawed_message_has_only_crlf(input in hostile()) {
            if let Some((message, _, None)) = read(&[&input]) {
                let text = String::from_utf8(message).unwrap();
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
            }
        }

        #[test]
        fn written_and_read_again_is_the_same(
            lines in proptest::collection::vec("[.x\\x00-\\x09]{0,6}", 0..8), cut in 1usize..9
        ) {
            let message: Vec<u8> =
                lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
            let (mut writer, mut wire) = (DotWriter::new(), Vec::new());
            message.chunks(cut).for_each(|piece| writer.feed(piece, &mut wire));
            writer.end(&mut wire);
            prop_assert_eq!(read(&[&wire]), Some((message, Vec::new(), None)));
        }
    }
}
