//! How often clients of one address may come: so many a minute, all of them at once if they like.
//! It does not know sockets or what is said to who comes too often. `admission` asks it.
//!
//! A fixed table without a lock: however many addresses there are, it does not grow. Each slot says
//! until when its address has used up its share (the one number of a token bucket that runs
//! backwards, "GCRA"); a slot whose time has come is a full bucket, and thereby free. Where all
//! of its places are taken, an address takes that of whoever has used least.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shared::address_limit::household;

/// Places of one address.
const WAYS: usize = 4;
/// Half a MiB of slots, only where there is a limit.
const SLOTS: usize = 1 << 16;
/// The clock of the table: tenths of a millisecond in the lower bits of a slot, 55 years of them;
/// above them a mark that tells addresses apart.
const TICKS_MINUTE: u64 = 600_000;
const TICK_BITS: u32 = 44;

/// The most that can be asked for, a tick each.
pub const PER_MINUTE_MAX: u32 = 600_000;

/// The door keeper who counts how often somebody comes.
#[derive(Debug)]
pub struct Rate {
    /// 0: as often as they like.
    per_minute: AtomicU32,
    began: Instant,
    /// Its keys are dice: nobody can choose addresses that meet in one slot.
    hasher: RandomState,
    slots: OnceLock<Box<[AtomicU64]>>,
}

impl Rate {
    /// So many connections a minute for each address; `None`: any number.
    #[must_use]
    pub fn new(per_minute: Option<u32>) -> Self {
        let (hasher, slots) = (RandomState::new(), OnceLock::new());
        let rate = Self { per_minute: AtomicU32::new(0), began: Instant::now(), hasher, slots };
        rate.set(per_minute);
        rate
    }

    /// Another limit from now on.
    pub fn set(&self, per_minute: Option<u32>) {
        self.per_minute.store(per_minute.unwrap_or(0).min(PER_MINUTE_MAX), Ordering::Relaxed);
    }

    /// Whether one more connection of this address may come in now.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        match self.per_minute.load(Ordering::Relaxed) {
            0 => true,
            per_minute => self.admits_at(address, self.began.elapsed(), per_minute),
        }
    }

    fn admits_at(&self, address: IpAddr, now: Duration, per_minute: u32) -> bool {
        let hash = self.hasher.hash_one(household(address));
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        #[expect(clippy::cast_possible_truncation, reason = "the remainder fits into anything")]
        let first = (hash % (SLOTS / WAYS) as u64) as usize * WAYS;
        let mark = hash >> TICK_BITS << TICK_BITS;
        // A minute from zero, so that an empty slot is a full bucket.
        let now = TICKS_MINUTE + u64::try_from(now.as_micros() / 100).unwrap_or(0);
        let step = TICKS_MINUTE / u64::from(per_minute);
        let is_ours = |value: u64| value >> TICK_BITS << TICK_BITS == mark;
        let used_until = |value: u64| value & ((1 << TICK_BITS) - 1);
        loop {
            let places = slots[first..first + WAYS].iter();
            let places = places.map(|slot| (slot, slot.load(Ordering::Relaxed)));
            let ours = places.min_by_key(
                |(_, value)| {
                    if is_ours(*value) { 0 } else { used_until(*value) + 1 }
                },
            );
            let Some((slot, value)) = ours else { return true };
            let begin = if is_ours(value) { used_until(value).max(now) } else { now };
            if begin + step > now + TICKS_MINUTE {
                return false;
            }
            let next = mark | (begin + step);
            let kept = slot.compare_exchange(value, next, Ordering::Relaxed, Ordering::Relaxed);
            if kept.is_ok() {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::from(last.to_be_bytes())
    }

    #[test]
    fn a_share_is_used_up_and_grows_again() {
        let rate = Rate::new(Some(6));
        let second = Duration::from_secs(1);
        let came = |at: u32| rate.admits_at(address(1), second * at, 6);
        assert_eq!((0..8).filter(|_| came(100)).count(), 6, "a minute's share at once");
        assert!(!came(109), "the next one is ten seconds away");
        assert!(came(110) && !came(110));
        assert!(rate.admits_at(address(2), second * 110, 6), "another address has its own share");
        assert_eq!((0..9).filter(|_| came(1000)).count(), 6, "never more than a minute's share");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let rate = Rate::new(Some(1));
        let admits = |text: &str| rate.admits(text.parse().expect("an address"));
        assert!(admits("2001:db8::1") && !admits("2001:db8::2") && admits("2001:db8:0:1::1"));
        assert!(admits("192.0.2.1") && !admits("::ffff:192.0.2.1"));
        rate.set(None);
        assert!(admits("192.0.2.1"), "no limit any more");
    }

    #[test]
    fn many_addresses_do_not_make_one_forgotten_that_comes_on() {
        let rate = Rate::new(Some(10));
        let noisy = address(7);
        let mut refused = 0;
        for one in 0..200_000 {
            let now = Duration::from_micros(u64::from(one) * 10);
            let _ = rate.admits_at(address(1_000 + one), now, 10);
            if one % 1_000 == 0 && !rate.admits_at(noisy, now, 10) {
                refused += 1;
            }
        }
        assert!(refused > 150, "{refused} of 200 tries were refused: it was forgotten");
        let slots = rate.slots.get().expect("it was used");
        assert_eq!(slots.len(), SLOTS);
    }

    #[test]
    fn threads_at_once_share_one_bucket() {
        let rate = Rate::new(Some(1000));
        let one = || (0..1000).filter(|_| rate.admits_at(address(1), Duration::ZERO, 1000)).count();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
        });
        assert_eq!(admitted, 1000);
    }
}
