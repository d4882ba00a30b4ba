//! A read that a signal cannot end. It does not know what is read; every test that reads calls it.

use std::io::{self, ErrorKind, Read};

/// `read`, gone on with when it was interrupted.
///
/// A socket with a read timeout answers `EINTR` when its thread was stopped and continued
/// (a debugger, a freezer, a snapshot of the machine), even where no handler is set:
/// signal(7). That says nothing about the server, so no test may fail of it.
pub trait ReadSome: Read {
    /// Reads what there is, at most `bytes.len()` bytes; 0 is the end.
    ///
    /// # Errors
    /// What the source said, but for an interruption.
    fn read_some(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl<R: Read + ?Sized> ReadSome for R {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Interrupted(u32);

    impl Read for Interrupted {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 < 3 {
                return Err(ErrorKind::Interrupted.into());
            }
            bytes[0] = b'+';
            Ok(1)
        }
    }

    #[test]
    fn an_interruption_is_not_an_end() {
        let mut bytes = [0; 4];
        assert_eq!(Interrupted(0).read_some(&mut bytes).expect("what came after it"), 1);
    }
}
