//! Sessions that one node resets in a burst: it died, whatever its listener says.
//! It does not know a clock or a session; `Backends` asks it when a node has reset one.

use std::time::{Duration, Instant};

/// So many resets within so much time are a burst.
const BURST: u32 = 5;
const WINDOW: Duration = Duration::from_millis(100);
/// A node that is struck again within this time comes back four times as slowly.
const MEMORY: Duration = Duration::from_secs(60);
const SLOWER_MAX: u32 = 64;
/// With fewer connections than this nothing is known of a node's habits.
const HABIT_MIN: u64 = 100;

/// The resets of one node.
#[derive(Debug, Default)]
pub(super) struct Resets {
    since: Option<Instant>,
    count: u32,
    total: u64,
    died: Option<Instant>,
    slower: u32,
}

impl Resets {
    /// It has reset a session, one of `connects` so far. A burst is answered with how many times
    /// more slowly than usual it may come back.
    pub(super) fn hear(&mut self, now: Instant, connects: u64) -> Option<u32> {
        if !self.is_within(now) {
            // Some servers end every session so: that is a habit, not a death.
            let habit = connects > HABIT_MIN && self.total * 10 > connects;
            self.since = (!habit).then_some(now);
            self.count = 0;
        }
        self.total += 1;
        self.count += 1;
        if self.since.is_none() || self.count != BURST {
            return None;
        }
        let again = self.died.is_some_and(|died| now.duration_since(died) < MEMORY);
        self.slower = if again { (self.slower * 4).min(SLOWER_MAX) } else { 1 };
        self.died = Some(now);
        Some(self.slower)
    }

    /// Whether it is not in a burst itself.
    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.count < BURST || !self.is_within(now)
    }

    fn is_within(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) <= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_a_burst_and_a_few_or_a_habit_are_not() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut resets = Resets::default();
        assert!((0..20).all(|one| resets.hear(at(one * 30), 1000).is_none()), "now and then");
        let burst: Vec<_> = (0..6).map(|_| resets.hear(at(2000), 1000)).collect();
        assert_eq!(burst, [None, None, None, None, Some(1), None]);
        assert!(!resets.is_calm(at(2050)) && resets.is_calm(at(2200)));
        let again: Vec<_> = (0..5).map(|_| resets.hear(at(9000), 1000)).collect();
        assert_eq!(again[4], Some(4), "it comes back more slowly");
        let mut habit = Resets { total: 300, ..Resets::default() };
        assert!((0..20).all(|_| habit.hear(at(0), 1000).is_none()));
    }
}
