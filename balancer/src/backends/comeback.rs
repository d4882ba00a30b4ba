//! A node that has come back gets a share of the new sessions, not all of them: it has none, so
//! whoever looks for the least busy one would send it everybody.
//! It does not know a clock (`crate::comeback` widens the share) or how a node is chosen.

use std::sync::atomic::{AtomicU32, Ordering};

/// What one session costs, and the share that is no limit.
pub const WHOLE: u32 = 1000;

/// A node's share of new sessions, in thousandths, and what it has earned of it.
#[derive(Debug)]
pub(super) struct Share {
    most: AtomicU32,
    credit: AtomicU32,
}

impl Default for Share {
    fn default() -> Self {
        Self { most: AtomicU32::new(WHOLE), credit: AtomicU32::new(0) }
    }
}

impl Share {
    /// At most so many thousandths from now on; [`WHOLE`] is no limit.
    pub(super) fn set(&self, most: u32) {
        self.most.store(most.min(WHOLE), Ordering::Relaxed);
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.most.load(Ordering::Relaxed) < WHOLE
    }

    /// One more session of the service is about to be given away. What is earned is not saved up:
    /// a quiet hour is not followed by a rush.
    pub(super) fn earn(&self) {
        let most = self.most.load(Ordering::Relaxed);
        let more = |credit: u32| Some((credit + most).min(WHOLE + most));
        let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether one may be given to this node.
    pub(super) fn suffices(&self) -> bool {
        !self.is_limited() || self.credit.load(Ordering::Relaxed) >= WHOLE
    }

    /// One was.
    pub(super) fn pay(&self) {
        if self.is_limited() {
            let less = |credit: u32| Some(credit.saturating_sub(WHOLE));
            let _ = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_any_number_in_a_row_it_gets_its_share_and_no_more(
            most in 1..WHOLE,
            wanted in prop::collection::vec(any::<bool>(), 1..500),
        ) {
            let share = Share::default();
            share.set(most);
            let mut given: Vec<u32> = Vec::new();
            for wants in wanted {
                share.earn();
                let gets = wants && share.suffices();
                if gets {
                    share.pay();
                }
                given.push(gets.into());
            }
            for length in 1..=given.len() {
                let allowed = u32::try_from(length).expect("few") * most / WHOLE + 2;
                for window in given.windows(length) {
                    prop_assert!(window.iter().sum::<u32>() <= allowed, "{:?}", window);
                }
            }
        }
    }
}
