//! What is known of the virtual address now: for `/ready`, `status` and `/metrics`.
//! It does not know how an address is taken; the keeper (`mod.rs`) writes, `api` reads.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use serde::{Deserialize, Serialize};

use crate::settings::VirtualIp;

/// How things stand with the virtual address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIpStatus {
    /// With the length of its network's prefix.
    pub address: String,
    /// The interface it belongs on.
    pub interface: String,
    /// Whether it is there.
    pub held: bool,
    /// Why not, or what is wrong all the same.
    pub problem: Option<String>,
    /// How often it was announced since this balancer started.
    pub announcements_total: u64,
}

/// The help of its metrics; once, when the recorder is there.
pub fn describe() {
    describe_gauge!(
        "balancer_virtual_ip_held",
        "1 when the virtual address is on its interface here, 0 when not; only with virtual_ip."
    );
    describe_counter!(
        "balancer_virtual_ip_announcements_total",
        "How often the network was told that the virtual address is here."
    );
    describe_counter!(
        "balancer_virtual_ip_conflicts_total",
        "How often another machine said that it has the virtual address."
    );
}

/// The status, shared, with its metrics.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    status: Option<VirtualIpStatus>,
    /// From the first wish on: who has no virtual address has no series of it either.
    series: Option<Series>,
    announcements: u64,
}

#[derive(Debug)]
struct Series {
    held: Gauge,
    announcements: Counter,
    conflicts: Counter,
}

impl Series {
    fn new() -> Self {
        let series = Self {
            held: gauge!("balancer_virtual_ip_held"),
            announcements: counter!("balancer_virtual_ip_announcements_total"),
            conflicts: counter!("balancer_virtual_ip_conflicts_total"),
        };
        series.announcements.increment(0);
        series.conflicts.increment(0);
        series
    }
}

impl Board {
    /// `None` when no virtual address is wished for.
    #[must_use]
    pub fn status(&self) -> Option<VirtualIpStatus> {
        self.with(|state| {
            let status = state.status.clone()?;
            Some(VirtualIpStatus { announcements_total: state.announcements, ..status })
        })
    }

    /// Why this balancer is not reached through its virtual address, if it should be.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let status = self.status().filter(|status| !status.held)?;
        Some(status.problem.unwrap_or_else(|| format!("{} is being taken", status.address)))
    }

    /// It is to be had from now on, or no longer.
    pub(super) fn wished(&self, wish: Option<&VirtualIp>) {
        self.with(|state| {
            state.status = wish.map(|wish| VirtualIpStatus {
                address: wish.network(),
                interface: wish.interface.clone(),
                held: false,
                problem: None,
                announcements_total: 0,
            });
            match (wish, &state.series) {
                (Some(_), _) => state.series.get_or_insert_with(Series::new).held.set(0.0),
                // No series can be taken back; NaN triggers no alert.
                (None, Some(series)) => series.held.set(f64::NAN),
                (None, None) => {}
            }
        });
    }

    /// It is on its interface.
    pub(super) fn held(&self) {
        self.set(true, None);
    }

    /// It is not, and why. Says so in the log where that is news.
    pub(super) fn lacks(&self, problem: &str) {
        if self.set(false, Some(problem)) {
            tracing::error!(problem, "the virtual address is not held; tried again every 2 s");
        }
    }

    /// Returns whether that is news.
    fn set(&self, held: bool, problem: Option<&str>) -> bool {
        self.with(|state| {
            let Some(status) = &mut state.status else { return false };
            let news = (status.held, status.problem.as_deref()) != (held, problem);
            status.held = held;
            status.problem = problem.map(str::to_owned);
            if let Some(series) = &state.series {
                series.held.set(if held { 1.0 } else { 0.0 });
            }
            news
        })
    }

    pub(super) fn announced(&self) {
        self.with(|state| {
            state.announcements += 1;
            state.series.iter().for_each(|series| series.announcements.increment(1));
        });
    }

    pub(super) fn conflict(&self) {
        self.with(|state| state.series.iter().for_each(|series| series.conflicts.increment(1)));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
