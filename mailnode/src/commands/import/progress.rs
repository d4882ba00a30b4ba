//! How far something that takes its time has come: a bar on a terminal, a plain line now and then
//! elsewhere, nothing at all in the first two seconds. It does not know what is done.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is over by then needs no word.
const QUIET: Duration = Duration::from_secs(2);
const REDRAW: Duration = Duration::from_millis(100);
const BAR_WIDTH: usize = 30;

pub(super) struct Progress {
    what: &'static str,
    total: usize,
    begun: Instant,
    shown: Instant,
    is_terminal: bool,
    is_drawn: bool,
}

impl Progress {
    /// `what`: the word in front, such as "checked".
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        Self { what, total, begun: now, shown: now, is_terminal, is_drawn: false }
    }

    /// So many are done now.
    pub(super) fn at(&mut self, done: usize) {
        let pause = if self.is_terminal { REDRAW } else { QUIET };
        if self.begun.elapsed() < QUIET || self.shown.elapsed() < pause {
            return;
        }
        self.shown = Instant::now();
        let text = line(self.what, done, self.total, self.begun.elapsed());
        // Nobody to be told that standard error is closed.
        let _ = if self.is_terminal {
            self.is_drawn = true;
            write!(std::io::stderr(), "\r\x1b[K{} {text}", bar(done, self.total))
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(done: usize, total: usize) -> String {
    let full = (done * BAR_WIDTH / total.max(1)).min(BAR_WIDTH);
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

/// `checked 500 of 1000, 250 a second, 2 s left`
fn line(what: &str, done: usize, total: usize, elapsed: Duration) -> String {
    let millis = usize::try_from(elapsed.as_millis()).unwrap_or(usize::MAX).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let left = total
        .saturating_sub(done)
        .checked_div(rate)
        .map_or_else(String::new, |seconds| format!(", {seconds} s left"));
    format!("{what} {done} of {total}, {rate} a second{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_rate_and_time_left() {
        let two = Duration::from_secs(2);
        assert_eq!(line("kept", 500, 1000, two), "kept 500 of 1000, 250 a second, 2 s left");
        assert_eq!(line("kept", 0, 1000, two), "kept 0 of 1000, 0 a second");
        assert_eq!(bar(1, 2), format!("[{}{}]", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(0, 0), format!("[{}]", "-".repeat(30)));
    }
}
