//! Does a message end where it ends, however it is cut into pieces? It does not know sockets.
//! The first byte says how the rest is cut; in one piece and in many the result is the same, and
//! what is not refused has only CRLF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::wire::dot::{DotReader, DotWriter, Flaw};

type Outcome = Option<(Vec<u8>, usize, Option<Flaw>)>;

fn read(input: &[u8], piece: usize) -> Outcome {
    let (mut reader, mut message, mut consumed) = (DotReader::new(100), Vec::new(), 0);
    for piece in input.chunks(piece) {
        let read = reader.feed(piece, &mut message);
        consumed += read.consumed;
        if read.ended {
            return Some((message, consumed, reader.flaw()));
        }
    }
    None
}

fuzz_target!(|data: &[u8]| {
    let [cut, input @ ..] = data else { return };
    let whole = read(input, usize::MAX);
    assert_eq!(read(input, usize::from(*cut) + 1), whole);
    let Some((message, _, None)) = whole else { return };
    for (at, byte) in message.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(message.get(at + 1), Some(&b'\n')),
            b'\n' => assert_eq!(message[at - 1], b'\r'),
            _ => {}
        }
    }
    let (mut writer, mut wire) = (DotWriter::new(), Vec::new());
    message.chunks(usize::from(*cut) + 1).for_each(|piece| writer.feed(piece, &mut wire));
    writer.end(&mut wire);
    assert_eq!(read(&wire, usize::MAX), Some((message, wire.len(), None)));
});
