//! Where log lines go out: a thread of its own, so that a reader of standard error who stands
//! still stops nobody.
//! It does not know what a line says. `logging` gives it every line.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait to be written; what does not fit is left out, and how many is said.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long the lines of many connections may gather before they are written with one call.
const GATHER: Duration = Duration::from_millis(10);
/// How long a line that matters waits for its own writing, so that none is lost at an exit.
const WRITTEN_TIMEOUT: Duration = Duration::from_millis(200);

/// Takes lines, and has them written.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits.
    waiting: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Bytes ever taken, and ever written.
    taken: u64,
    written: u64,
    left_out: u64,
    /// The last line that waited for its writing did so in vain.
    stuck: bool,
    /// Somebody waits: do not gather.
    hurry: bool,
}

impl Lines {
    /// Has everything written to `to` from now on.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let shared = lines.0.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&shared, to))?;
        Ok(lines)
    }

    /// Takes one line; `many` says that it is one of very many, which may gather for a moment.
    /// Any other one is written, and all before it, when this returns (or standard error hangs).
    pub(super) fn take(&self, line: &[u8], many: bool) {
        let mut state = self.0.lock();
        if state.bytes.len() + line.len() > WAITING_BYTES_MAX {
            state.left_out += 1;
            return;
        }
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(line);
        state.taken += line.len() as u64;
        if many {
            if was_empty {
                self.0.waiting.notify_one();
            }
            return;
        }
        state.hurry = true;
        self.0.waiting.notify_one();
        if state.stuck {
            return;
        }
        let mine = state.taken;
        let unwritten = |state: &mut State| state.written < mine;
        let waited = self.0.written.wait_timeout_while(state, WRITTEN_TIMEOUT, unwritten);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stuck = timeout.timed_out();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_all(shared: &Shared, mut to: impl Write) {
    let mut bytes = Vec::new();
    loop {
        let mut state = shared.lock();
        while state.bytes.is_empty() {
            state = shared.waiting.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let gathering = |state: &mut State| !state.hurry;
        let gathered = shared.waiting.wait_timeout_while(state, GATHER, gathering);
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        state.hurry = false;
        std::mem::swap(&mut bytes, &mut state.bytes);
        let left_out = std::mem::take(&mut state.left_out);
        drop(state);

        // Nobody can be told that standard error is broken; the program goes on without it.
        let _ = to.write_all(&bytes);
        if left_out > 0 {
            let line =
                format!("{{\"level\":\"WARN\",\"message\":\"{left_out} log lines lost\"}}\n");
            let _ = to.write_all(line.as_bytes());
        }
        let _ = to.flush();

        let mut state = shared.lock();
        state.written += bytes.len() as u64;
        state.stuck = false;
        drop(state);
        bytes.clear();
        shared.written.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Shows each write, and does it only when it is allowed.
    struct Gate(Sender<Vec<u8>>, Option<Receiver<()>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            if let Some(allowed) = &self.1 {
                let _ = allowed.recv();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_matters_is_written_with_all_before_it() {
        let (sender, written) = channel();
        let lines = Lines::start(Gate(sender, None)).expect("a thread");
        for line in ["a\n", "b\n", "c\n"] {
            lines.take(line.as_bytes(), true);
        }
        lines.take(b"d\n", false);
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(String::from_utf8_lossy(&all), "a\nb\nc\nd\n");
        lines.take(b"e\n", true);
        assert_eq!(written.recv(), Ok(b"e\n".to_vec()), "soon, without another");
    }

    #[test]
    fn a_reader_who_stands_still_stops_nobody() {
        let (sender, written) = channel();
        let (allow, allowed) = channel();
        let lines = Lines::start(Gate(sender, Some(allowed))).expect("a thread");
        lines.take(b"first\n", true);
        assert_eq!(written.recv(), Ok(b"first\n".to_vec()));
        // It is being written, and the reader stands still.
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..6 {
            lines.take(&line, true);
        }
        let began = std::time::Instant::now();
        for _ in 0..100 {
            lines.take(b"matters\n", false);
        }
        assert!(began.elapsed() < WRITTEN_TIMEOUT * 10, "each one waited: {:?}", began.elapsed());
        drop(allow);
        let held = written.recv().expect("what waited").len();
        assert!(held <= WAITING_BYTES_MAX, "it held {held} bytes");
        let lost = written.recv().expect("a line about the others");
        assert!(lost.ends_with(b"log lines lost\"}\n"), "{}", lost.escape_ascii());
    }
}
