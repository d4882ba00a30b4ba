//! So many log lines of a kind a second and no more: what strangers can cause must not fill a disk.
//! It does not know what is logged. Whoever logs on behalf of strangers keeps one, often a static.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Counts the lines of a second, and those that were left out since the last one.
#[derive(Debug)]
pub struct Ration {
    lines: u32,
    seconds: u64,
    /// The window that is counted (upper half) and its lines so far (lower half).
    window: AtomicU64,
    hidden: AtomicU64,
    began: OnceLock<Instant>,
}

impl Ration {
    /// At most `lines` every `seconds` (at least 1).
    #[must_use]
    pub const fn new(lines: u32, seconds: u64) -> Self {
        Self {
            lines,
            seconds,
            window: AtomicU64::new(0),
            hidden: AtomicU64::new(0),
            began: OnceLock::new(),
        }
    }

    /// Whether this line may be written: how many were left out since the last one that was.
    /// No lock is taken; with many threads at once a line more or less may get through.
    pub fn line(&self) -> Option<u64> {
        let now = self.began.get_or_init(Instant::now).elapsed().as_secs() / self.seconds.max(1);
        let first = (now & u64::from(u32::MAX)) << 32;
        let counted = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
            let lines = if window >> 32 == first >> 32 { window & u64::from(u32::MAX) } else { 0 };
            (lines < u64::from(self.lines)).then_some(first | (lines + 1))
        });
        if counted.is_err() {
            self.hidden.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.hidden.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let ration = Ration::new(2, 1_000);
        assert_eq!([ration.line(), ration.line()], [Some(0), Some(0)]);
        assert_eq!([ration.line(), ration.line(), ration.line()], [None; 3]);
        // The next window has come.
        ration.window.store(u64::from(u32::MAX) << 32 | 2, Ordering::Relaxed);
        assert_eq!([ration.line(), ration.line(), ration.line()], [Some(3), Some(0), None]);
    }
}
