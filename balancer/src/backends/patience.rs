//! How long a node may take, learned from how long it took before.
//! It does not know a clock, or what is waited for. `Backend` has one for dials and one for
//! greetings.
//!
//! As TCP learns its retransmission timeout (RFC 6298 §2): a mean and a mean deviation, both of
//! the recent past. Of two clients at the same time one sample may be lost:
//! that does not matter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each sample moves the mean by an eighth and the deviation by a quarter of its distance.
const MEAN_SHARE: u64 = 8;
const DEVIATION_SHARE: u64 = 4;
/// So many times the usual is unusual.
const TIMES: u64 = 4;

/// What was learned; zero is nothing. Microseconds: the mean above, the deviation below.
#[derive(Debug, Default)]
pub struct Learned(AtomicU64);

impl Learned {
    /// It took this long.
    pub fn took(&self, time: Duration) {
        let took = u64::from(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)).max(1);
        let (mean, deviation) = match self.known() {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let distance = took.abs_diff(mean);
                (approach(mean, took, MEAN_SHARE), approach(deviation, distance, DEVIATION_SHARE))
            }
        };
        self.0.store(mean << 32 | deviation, Ordering::Relaxed);
    }

    /// How long it may take: what is usual several times over, never less than `floor`; `ceiling`
    /// is the most, and what is allowed while nothing is known.
    #[must_use]
    pub fn patience(&self, floor: Duration, ceiling: Duration) -> Duration {
        let Some((mean, deviation)) = self.known() else { return ceiling };
        let usual = Duration::from_micros((mean + 2 * deviation) * TIMES);
        usual.max(floor).min(ceiling)
    }

    fn known(&self) -> Option<(u64, u64)> {
        let both = self.0.load(Ordering::Relaxed);
        (both != 0).then_some((both >> 32, both & u64::from(u32::MAX)))
    }
}

/// A step from `from` to `to`, at least one, so that it gets there.
fn approach(from: u64, to: u64, share: u64) -> u64 {
    let step = from.abs_diff(to).div_ceil(share);
    if to > from { from + step } else { from - step }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_millis(50);
    const CEILING: Duration = Duration::from_secs(3);

    fn after(millis: impl IntoIterator<Item = u64>) -> Duration {
        let learned = Learned::default();
        millis.into_iter().for_each(|millis| learned.took(Duration::from_millis(millis)));
        learned.patience(FLOOR, CEILING)
    }

    #[test]
    fn what_is_usual_is_waited_for() {
        assert_eq!(after([]), CEILING, "nothing is known");
        assert_eq!(after([1; 20]), FLOOR);
        assert_eq!(after([2000; 20]), CEILING, "a slow name server, and nobody is quicker");
        let steady = after([100; 50]);
        assert!((400..440).contains(&steady.as_millis()), "{steady:?}");
        let uneven = after((0..50).map(|one| if one % 5 == 0 { 200 } else { 10 }));
        assert!(uneven > Duration::from_millis(200), "{uneven:?}");
        let recovered = after([2000; 5].into_iter().chain([1; 60]));
        assert_eq!(recovered, FLOOR, "what is past is forgotten");
    }

    proptest! {
        #[test]
        fn it_is_always_between_floor_and_ceiling_and_never_below_the_steady(
            millis in prop::collection::vec(0..10_000_u64, 1..100),
            steady in 0..10_000_u64,
        ) {
            let patience = after(millis.clone());
            prop_assert!((FLOOR..=CEILING).contains(&patience));
            let patience = after(millis.into_iter().chain([steady; 100]));
            prop_assert!(patience >= Duration::from_millis(steady).min(CEILING));
        }
    }
}
