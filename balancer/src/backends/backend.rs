//! One node of one service, and how many connections it has.
//! It does not know whether it is chosen, or sockets. `backends` keeps it over reloads.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use shared::shutdown::Stop;

use super::burst::Resets;
use super::comeback::Share;
use super::health::{Aspect, Flip, Judge, Thresholds};
use super::patience::Learned;
use super::suspicion::Suspicion;
use crate::bell::Bell;
use crate::metrics::NodeMetrics;
use crate::ports::{Port, Sources};
use crate::settings::ServiceName;

/// What seems to be wrong with a node is said once in this time.
const EXPLAINED_INTERVAL: Duration = Duration::from_secs(60);

/// Tells backends apart even when one took the name and address of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64);

/// One node of one service. It lives as long as anybody has a connection to it, longer than the
/// file that named it.
#[derive(Debug)]
pub struct Backend {
    identity: Identity,
    /// The service it works for.
    pub service: ServiceName,
    /// Its name in that service.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What is counted of it.
    pub metrics: NodeMetrics,
    /// Requested when it may not be used any longer: its connections end then.
    pub leave: Stop,
    /// How long dials take until it answers.
    pub dials: Learned,
    /// How long its first byte takes from there.
    pub greetings: Learned,
    /// Somebody wants to know at once whether it can be reached.
    pub reach_asked: Bell,
    /// Somebody wants to know at once whether it serves.
    pub service_asked: Bell,
    pub(super) share: Share,
    suspicion: Suspicion,
    active: AtomicUsize,
    max: AtomicUsize,
    /// So many of its connections may end now, each when it is quiet; `usize::MAX`: all at once.
    to_leave: AtomicUsize,
    sources: ArcSwapOption<Sources>,
    judge: Mutex<Judge>,
    resets: Mutex<Resets>,
    known_dead: AtomicBool,
    last_failure: Mutex<Option<String>>,
    explained: Mutex<Option<Instant>>,
}

impl Backend {
    /// Up on trust, and unused.
    #[must_use]
    pub fn new(service: ServiceName, name: Arc<str>, address: SocketAddr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            identity: Identity(NEXT.fetch_add(1, Ordering::Relaxed)),
            metrics: NodeMetrics::new(&service, &name),
            service,
            name,
            address,
            leave: Stop::new(),
            dials: Learned::default(),
            greetings: Learned::default(),
            reach_asked: Bell::default(),
            service_asked: Bell::default(),
            share: Share::default(),
            suspicion: Suspicion::default(),
            active: AtomicUsize::new(0),
            max: AtomicUsize::new(usize::MAX),
            to_leave: AtomicUsize::new(0),
            sources: ArcSwapOption::empty(),
            judge: Mutex::new(Judge::trusting()),
            resets: Mutex::default(),
            known_dead: AtomicBool::new(false),
            last_failure: Mutex::default(),
            explained: Mutex::default(),
        }
    }

    /// Connections it has, or is being asked for, now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// Whether it has as many connections as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.active() >= self.max.load(Ordering::Relaxed)
    }

    /// The addresses of ours it is dialed from; `None`: the system chooses.
    #[must_use]
    pub fn sources(&self) -> Option<Arc<Sources>> {
        self.sources.load_full()
    }

    /// It is dialed from these from now on; connections that stand go on.
    pub(super) fn set_sources(&self, addresses: &[IpAddr]) {
        let before = self.sources();
        let now = Sources::new(addresses, self.address.ip(), before.as_deref());
        self.sources.store(now.map(Arc::new));
    }

    /// It may have so many from now on; those that it has go on.
    pub(super) fn set_max(&self, max: Option<usize>) {
        self.max.store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Whether the connection that asks has to end now. `is_quiet` says whether it would disturb
    /// little. Each yes counts.
    pub fn sends_away(&self, is_quiet: impl FnOnce() -> bool) -> bool {
        match self.to_leave.load(Ordering::Relaxed) {
            0 => self.leave.is_requested(),
            usize::MAX => true,
            _ => self.leave.is_requested() || (is_quiet() && self.takes_leave()),
        }
    }

    fn takes_leave(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.to_leave.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// So many of its connections are to end soon, in place of what was asked before;
    /// `usize::MAX`: all, quiet or not. They notice when they are looked at.
    pub fn ask_to_leave(&self, connections: usize) {
        self.to_leave.store(connections, Ordering::Relaxed);
    }

    /// Whether its judge holds it for alive.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).is_up()
    }

    /// Why somebody could not use it the last time that happened.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the words for [`Backend::last_failure`].
    pub fn remember_failure(&self, words: String) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }

    /// Whether what seems to be wrong with it may be said now: not again and again.
    #[must_use]
    pub fn may_be_explained(&self, now: Instant) -> bool {
        let mut last = self.explained.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now.duration_since(last) >= EXPLAINED_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    /// Whether it is passed over while another one may be used.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.suspicion.is_any()
    }

    /// Whether this is doubted.
    #[must_use]
    pub fn is_doubted(&self, aspect: Aspect) -> bool {
        self.suspicion.has(aspect)
    }

    /// Takes it out of picking at once, and asks for a look.
    pub fn doubt(&self, aspect: Aspect) {
        if self.suspicion.raise(aspect) {
            self.metrics.suspected();
        }
        match aspect {
            Aspect::Reach => self.reach_asked.ring(),
            Aspect::Service => self.service_asked.ring(),
        }
    }

    /// It was seen to be good in this respect.
    pub fn trust(&self, aspect: Aspect) {
        self.suspicion.clear(aspect);
    }

    /// It could be reached and turned a client away: some in a row, and it is doubted. Says
    /// whether they were so many.
    pub fn strike(&self) -> bool {
        let enough = self.suspicion.strike();
        if enough {
            self.doubt(Aspect::Service);
        }
        enough
    }

    pub(super) fn was_reset(&self, now: Instant) -> Option<u32> {
        let connects = self.metrics.connects.count();
        self.resets.lock().unwrap_or_else(PoisonError::into_inner).hear(now, connects)
    }

    pub(super) fn is_calm(&self, now: Instant) -> bool {
        self.resets.lock().unwrap_or_else(PoisonError::into_inner).is_calm(now)
    }

    pub(super) fn condemn(&self, slower: u32) -> Option<Flip> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).condemn(slower)
    }

    /// Whether its sessions cannot be alive: the network says that its machine is gone.
    #[must_use]
    pub fn is_known_dead(&self) -> bool {
        self.known_dead.load(Ordering::Relaxed)
    }

    /// See [`Backend::is_known_dead`].
    pub fn set_known_dead(&self, is_so: bool) {
        self.known_dead.store(is_so, Ordering::Relaxed);
    }

    pub(super) fn hear(&self, aspect: Aspect, good: bool, limits: Thresholds) -> Option<Flip> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).hear(aspect, good, limits)
    }

    /// One connection more; `None` where it is full.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let max = self.max.load(Ordering::Relaxed);
        let next = |active| (active < max).then_some(active + 1);
        let taken = self.active.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        taken.is_ok().then(|| Lease::of(self))
    }

    /// One connection more if there still are `seen`; `None` where somebody else was quicker.
    pub(super) fn lease_if(self: &Arc<Self>, seen: usize) -> Option<Lease> {
        let next = seen + 1;
        let taken = self.active.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok().then(|| Lease::of(self))
    }
}

/// A place at a node; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    /// The port of ours it uses, where we chose the address.
    port: Option<Port>,
}

impl Lease {
    fn of(backend: &Arc<Backend>) -> Self {
        backend.metrics.active.increment(1.0);
        Self { backend: backend.clone(), port: None }
    }

    /// The node.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The node is dialed from here; whatever it was dialed from before is free again.
    pub fn set_port(&mut self, port: Port) {
        self.port = Some(port);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.active.fetch_sub(1, Ordering::AcqRel);
        self.backend.metrics.active.decrement(1.0);
    }
}

/// The nodes one client has been refused by; none is tried twice.
#[derive(Debug, Default)]
pub struct Tried(Vec<Identity>);

impl Tried {
    /// Never again for this client.
    pub fn add(&mut self, backend: &Backend) {
        self.0.push(backend.identity);
    }

    /// It may be tried again.
    pub fn forget(&mut self, backend: &Backend) {
        self.0.retain(|one| *one != backend.identity);
    }

    /// Whether it was tried.
    #[must_use]
    pub fn has(&self, backend: &Backend) -> bool {
        self.0.contains(&backend.identity)
    }

    /// How many were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
