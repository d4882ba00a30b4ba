//! Whether this node still counts as alive: by its own clock, when its last heartbeat was.
//! It does not know the database's view, which decides; it makes a node that was frozen know of it
//! before it is told.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::SILENCE_MAX;

/// How much earlier than all others a node gives itself up: a heartbeat's way to the database.
const MARGIN: Duration = Duration::from_secs(2);

/// The node's heartbeats.
#[derive(Debug)]
pub struct Pulse(Mutex<Beats>);

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// How often the node was silent for so long that others may have given it up.
    silences: u64,
}

/// A time without a silence; see [`Pulse::same`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch(u64);

impl Default for Pulse {
    /// A node that has registered just now.
    fn default() -> Self {
        Self(Mutex::new(Beats { last: Instant::now(), silences: 0 }))
    }
}

impl Pulse {
    /// A heartbeat that began at `begun` was written.
    pub fn beat(&self, begun: Instant) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.notice(begun);
        beats.last = begun;
    }

    /// The stretch that is now.
    pub fn stretch(&self) -> Stretch {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.notice(Instant::now());
        Stretch(beats.silences)
    }

    /// Whether nobody can have given the node up since that stretch: what it held then it holds.
    pub fn same(&self, stretch: Stretch) -> bool {
        self.stretch() == stretch
    }
}

impl Beats {
    fn notice(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last) > SILENCE_MAX.saturating_sub(MARGIN) {
            self.silences += 1;
            // Counted once; the next heartbeat sets it right.
            self.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_ends_a_stretch() {
        let pulse = Pulse::default();
        let begun = Instant::now();
        let stretch = pulse.stretch();
        pulse.beat(begun + Duration::from_secs(3));
        pulse.beat(begun + Duration::from_secs(9));
        assert!(pulse.same(stretch));
        pulse.beat(begun + Duration::from_secs(30));
        assert!(!pulse.same(stretch));
    }
}
