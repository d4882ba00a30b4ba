//! When a task is to be polled whatever else happens: at most one moment for each.
//! It does not know what a task waits for. `Core` keeps them, the loop asks which are due.

use std::collections::BTreeSet;
use std::time::Duration;

/// Milliseconds since the loop began; the clock is read once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// The lower bits of an entry of [`Deadlines`].
const TASK_BITS: u32 = 24;

impl Moment {
    /// Later than any other.
    pub(crate) const NEVER: Self = Self(u64::MAX >> TASK_BITS);

    /// So long after the loop began.
    pub(super) fn at(since: Duration) -> Self {
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long it is until then.
    pub(crate) fn until(self, then: Self) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }

    /// So much later, at least a millisecond.
    pub(crate) fn after(self, time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis.max(1)).min(Self::NEVER.0))
    }
}

/// At most one deadline per task.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    in_order: BTreeSet<u64>,
    of_task: Vec<Moment>,
}

impl Deadlines {
    /// One that is later than what stands is not noted now: the task is polled at the earlier one,
    /// for nothing, and sets its deadline again. That is a poll in an idle time, not a change of
    /// the order at every byte.
    pub(super) fn set(&mut self, task: u32, at: Moment) {
        let index = task as usize;
        if index >= self.of_task.len() {
            self.of_task.resize(index + 1, Moment::NEVER);
        }
        let before = self.of_task[index];
        if before > at {
            if before != Moment::NEVER {
                self.in_order.remove(&entry(before, task));
            }
            self.of_task[index] = at;
            self.in_order.insert(entry(at, task));
        }
    }

    /// It waits no longer.
    pub(super) fn remove(&mut self, task: u32) {
        if let Some(before) = self.of_task.get_mut(task as usize)
            && *before != Moment::NEVER
        {
            self.in_order.remove(&entry(*before, task));
            *before = Moment::NEVER;
        }
    }

    /// The next one.
    pub(super) fn first(&self) -> Option<(Moment, u32)> {
        let first = self.in_order.first()?;
        let task = u32::try_from(first & ((1 << TASK_BITS) - 1)).unwrap_or(u32::MAX);
        Some((Moment(first >> TASK_BITS), task))
    }
}

/// Both in eight bytes, since every connection has one: 34 years of milliseconds and 16 million
/// tasks, beyond what descriptors allow.
fn entry(at: Moment, task: u32) -> u64 {
    at.0 << TASK_BITS | u64::from(task)
}
