//! Doubt about one node: out of picking at once, and back as soon as the doubt is gone.
//! It does not know what raises or clears a doubt, or a clock; `Backend` holds one, picks look at
//! it. A doubt is no verdict (`health` judges): who has one is still used if nobody else is left.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::health::Aspect;

/// So many clients in a row must have been turned away by a node that could be reached: one of
/// them alone may be to blame itself (a block list, a slow name server).
const STRIKES: u32 = 3;

/// The doubts about one node. Everything a client's connection reads here is one load.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    doubts: AtomicU8,
    strikes: AtomicU32,
}

impl Suspicion {
    /// Whether there is any doubt.
    #[must_use]
    pub(super) fn is_any(&self) -> bool {
        self.doubts.load(Ordering::Relaxed) != 0
    }

    /// Whether this is doubted.
    #[must_use]
    pub(super) fn has(&self, doubt: Aspect) -> bool {
        self.doubts.load(Ordering::Relaxed) & bit(doubt) != 0
    }

    /// This is doubted from now on. Says whether it was not before.
    pub(super) fn raise(&self, doubt: Aspect) -> bool {
        self.doubts.fetch_or(bit(doubt), Ordering::Relaxed) & bit(doubt) == 0
    }

    /// This is doubted no longer. Says whether it was.
    pub(super) fn clear(&self, doubt: Aspect) -> bool {
        if doubt == Aspect::Service && self.strikes.load(Ordering::Relaxed) != 0 {
            self.strikes.store(0, Ordering::Relaxed);
        }
        self.has(doubt) && self.doubts.fetch_and(!bit(doubt), Ordering::Relaxed) & bit(doubt) != 0
    }

    /// One more client was turned away. Says whether those are enough for a doubt.
    pub(super) fn strike(&self) -> bool {
        self.strikes.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= STRIKES
    }
}

fn bit(doubt: Aspect) -> u8 {
    match doubt {
        Aspect::Reach => 1,
        Aspect::Service => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_are_raised_and_cleared_one_by_one() {
        let suspicion = Suspicion::default();
        assert!(suspicion.raise(Aspect::Reach) && !suspicion.raise(Aspect::Reach));
        assert!(suspicion.raise(Aspect::Service));
        assert!(suspicion.clear(Aspect::Reach) && !suspicion.clear(Aspect::Reach));
        assert!(suspicion.is_any() && suspicion.has(Aspect::Service));
        assert!(suspicion.clear(Aspect::Service) && !suspicion.is_any());
    }

    #[test]
    fn one_client_that_is_turned_away_is_no_doubt() {
        let suspicion = Suspicion::default();
        assert!(!suspicion.strike() && !suspicion.strike());
        suspicion.clear(Aspect::Service);
        assert!(!suspicion.strike() && !suspicion.strike(), "another one was served in between");
        assert!(suspicion.strike() && suspicion.strike());
    }
}
