//! Which node? Round robin, least connections, failover, each exactly.
//! It does not know why a node is up or down, and nothing of sockets or clocks. `backends` calls
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::backend::{Backend, Lease, Tried};
use crate::settings::Mode;

/// A node that may be chosen.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The node.
    pub backend: Arc<Backend>,
    /// Its share, at least 1.
    pub weight: u32,
    /// Whether it was alive when this picture was taken.
    pub up: bool,
    /// Whether it gets new sessions: an operator may have said no.
    pub open: bool,
}

/// Chooses among the candidates of one picture.
#[derive(Debug)]
pub struct Picker {
    mode: Mode,
    candidates: Box<[Candidate]>,
    /// Round robin's order over those that are up: places in `candidates`, each by its weight.
    order: Box<[usize]>,
    /// Where round robin is, or who was chosen last.
    turn: AtomicUsize,
    /// Failover goes back to an earlier one by itself.
    preempt: bool,
    /// Somebody's share is limited.
    any_limited: bool,
}

impl Picker {
    pub(super) fn new(mode: Mode, candidates: Vec<Candidate>, turn: usize) -> Self {
        let order = match mode {
            Mode::RoundRobin => smooth_order(&candidates),
            Mode::LeastConnections | Mode::Failover => Vec::new(),
        };
        let any_limited = candidates.iter().any(|one| one.backend.share.is_limited());
        Self {
            mode,
            candidates: candidates.into(),
            order: order.into(),
            turn: AtomicUsize::new(turn),
            preempt: true,
            any_limited: any_limited && mode != Mode::Failover,
        }
    }

    /// Whether failover goes back to an earlier node by itself.
    pub(super) fn with_preempt(self, preempt: bool) -> Self {
        Self { preempt, ..self }
    }

    /// The candidates in the order of the file.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How many that may be used have not been tried.
    #[must_use]
    pub fn untried(&self, tried: &Tried) -> usize {
        let left = |one: &&Candidate| one.open && !tried.has(&one.backend);
        self.candidates.iter().filter(left).count()
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn turn(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    /// A place at a node that has not been tried. Where none of the living is left, those that are
    /// doubted are tried, and then those held for dead: better one look too many than a client
    /// sent away while a node lives. Those that an operator keeps back are not.
    pub(super) fn pick(&self, tried: &Tried) -> Option<Lease> {
        if !self.any_limited {
            return self.pick_of(tried, |_| true);
        }
        if tried.count() == 0 {
            self.candidates.iter().for_each(|one| one.backend.share.earn());
        }
        let lease = self.pick_of(tried, |one| one.backend.share.suffices())?;
        lease.backend().share.pay();
        Some(lease)
    }

    /// `preferred`: others of the living come right after them.
    fn pick_of(&self, tried: &Tried, preferred: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        // Full nodes show that others live: the dead need not be looked at for want of them.
        let any_full = self.has_full(tried);
        let may_be = |one: &Candidate| one.open && !tried.has(&one.backend);
        let is_up = |one: &Candidate| one.up && may_be(one);
        let lives = |one: &Candidate| is_up(one) && !one.backend.is_suspect() && preferred(one);
        let may_live = |one: &Candidate| !any_full && may_be(one);
        match self.mode {
            Mode::RoundRobin => {
                let next = self.next_in_order(lives).or_else(|| self.next_in_order(is_up));
                next.or_else(|| self.next_in_turn(may_live))
            }
            Mode::LeastConnections => {
                let least = self.least_connected(lives).or_else(|| self.least_connected(is_up));
                least.or_else(|| self.least_connected(may_live))
            }
            Mode::Failover => {
                let kept = if self.preempt { None } else { self.same_again(lives) };
                let first = kept.or_else(|| self.first(lives)).or_else(|| self.first(is_up));
                first.or_else(|| self.first(may_live))
            }
        }
    }

    /// Whether one of the living that were not tried has no room.
    pub(super) fn has_full(&self, tried: &Tried) -> bool {
        let mut may_be = self.candidates.iter().filter(|one| one.up && one.open);
        may_be.any(|one| one.backend.is_full() && !tried.has(&one.backend))
    }

    /// Whoever was first the last time, as long as it may be.
    fn same_again(&self, allowed: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let last = self.candidates.get(self.turn.load(Ordering::Relaxed));
        last.filter(|candidate| allowed(candidate))?.backend.lease()
    }

    fn first(&self, allowed: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let mut candidates = self.candidates.iter().enumerate();
        candidates.find_map(|(place, candidate)| {
            let lease = allowed(candidate).then(|| candidate.backend.lease())??;
            if self.turn.load(Ordering::Relaxed) != place {
                self.turn.store(place, Ordering::Relaxed);
            }
            Some(lease)
        })
    }

    /// Round robin among those that are up.
    fn next_in_order(&self, allowed: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let length = self.order.len();
        if length == 0 {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..length).map(|step| self.order[start.wrapping_add(step) % length]);
        let candidates = turns.map(|place| &self.candidates[place]);
        let mut allowed = candidates.filter(|candidate| allowed(candidate));
        allowed.find_map(|candidate| candidate.backend.lease())
    }

    /// One after the other, whatever the weight.
    fn next_in_turn(&self, allowed: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let length = self.candidates.len();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..length).map(|step| &self.candidates[start.wrapping_add(step) % length]);
        let mut allowed_turns = turns.filter(|candidate| allowed(candidate));
        allowed_turns.find_map(|candidate| candidate.backend.lease())
    }

    /// The fewest connections for its weight, counting the one to come; a tie goes to the next
    /// one after whoever was chosen last. The count is taken only if it still is what was
    /// compared, so that picks at the same time stay exact.
    fn least_connected(&self, allowed: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let length = self.candidates.len();
        loop {
            let last = self.turn.load(Ordering::Relaxed);
            let mut best: Option<(usize, usize)> = None;
            for step in 1..=length {
                let place = last.wrapping_add(step) % length;
                let candidate = &self.candidates[place];
                if !allowed(candidate) || candidate.backend.is_full() {
                    continue;
                }
                let count = candidate.backend.active();
                let fewer = |(best, seen): (usize, usize)| {
                    // (count + 1) / weight on both sides, multiplied out so that it stays whole.
                    scaled(count, self.candidates[best].weight) < scaled(seen, candidate.weight)
                };
                if best.is_none_or(fewer) {
                    best = Some((place, count));
                }
            }
            let (place, count) = best?;
            if let Some(lease) = self.candidates[place].backend.lease_if(count) {
                self.turn.store(place, Ordering::Relaxed);
                return Some(lease);
            }
        }
    }
}

/// The load with the connection to come, times the *other* side's weight.
fn scaled(count: usize, other_weight: u32) -> u128 {
    (count as u128 + 1) * u128::from(other_weight)
}

/// Smooth weighted order: each turn everybody gains its weight, the richest is next and pays the
/// sum. Weights 3 and 1 give a a b a, not a a a b.
fn smooth_order(candidates: &[Candidate]) -> Vec<usize> {
    let up: Vec<_> = candidates.iter().enumerate().filter(|(_, one)| one.up && one.open).collect();
    let common = up.iter().fold(0, |common, (_, one)| divisor(common, one.weight)).max(1);
    let shares: Vec<_> =
        up.iter().map(|(place, one)| (*place, i64::from(one.weight / common))).collect();
    let sum: i64 = shares.iter().map(|(_, share)| share).sum();
    let mut credit = vec![0_i64; shares.len()];
    let turn = |_| {
        for (credit, (_, share)) in credit.iter_mut().zip(&shares) {
            *credit += share;
        }
        // The first of the richest, so that equal ones keep the order of the file.
        let richest = (0..credit.len()).rev().max_by_key(|one| credit[*one]).unwrap_or_default();
        credit[richest] -= sum;
        shares[richest].0
    };
    (0..sum).map(turn).collect()
}

/// The greatest common divisor.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}
