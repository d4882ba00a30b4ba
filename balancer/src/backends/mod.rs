//! Which node shall this client have? One picture of all services and nodes, swapped as a whole.
//! It does not know sockets, clocks or files. `connection` picks here, `probe` and `connection`
//! tell it what they saw, `house` gives it a new picture.

mod backend;
mod burst;
mod comeback;
mod health;
mod orders;
mod patience;
mod pick;
mod suspicion;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

pub use backend::{Backend, Lease, Tried};
pub use comeback::WHOLE;
pub use health::{Aspect, Flip, Judge, Thresholds};
pub use orders::{Duty, Order, Orders, Said, Unknown};
pub use patience::Learned;
pub use pick::{Candidate, Picker};

use crate::metrics::ServiceMetrics;
use crate::settings::{self, ServiceName};

/// A node that is so many times slower than another one is not waited for.
const SLOWER_MAX: u32 = 4;

/// One service within a picture.
#[derive(Debug)]
pub struct Service {
    /// What the file says of it.
    pub settings: Arc<settings::Service>,
    /// What is counted of it.
    pub metrics: Arc<ServiceMetrics>,
    picker: Picker,
}

impl Service {
    /// A place at a node that has not been tried; `None` when all were.
    #[must_use]
    pub fn pick(&self, tried: &Tried) -> Option<Lease> {
        self.picker.pick(tried)
    }

    /// Whether one of the living that were not tried has as many connections as it may have.
    #[must_use]
    pub fn has_full(&self, tried: &Tried) -> bool {
        self.picker.has_full(tried)
    }

    /// Whether it has more connections than it may have, a lease that was just taken among them.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        let nodes = self.candidates().iter().map(|candidate| candidate.backend.active());
        self.settings.limits.connections_max.is_some_and(|max| nodes.sum::<usize>() > max)
    }

    /// How many nodes have not been tried.
    #[must_use]
    pub fn untried(&self, tried: &Tried) -> usize {
        self.picker.untried(tried)
    }

    /// How long a node may take to answer a dial before a second one is dialed too: as long as is
    /// usual with it, but not many times longer than with one that is there as well.
    #[must_use]
    pub fn dial_patience(&self, node: &Backend) -> Duration {
        let timeouts = &self.settings.timeouts;
        let usual = |node: &Backend| node.dials.patience(timeouts.connect_min, timeouts.connect);
        self.patience(node, usual)
    }

    /// The same for how long it may be silent before another one is tried.
    #[must_use]
    pub fn greeting_patience(&self, node: &Backend) -> Duration {
        let timeouts = &self.settings.timeouts;
        let usual =
            |node: &Backend| node.greetings.patience(timeouts.greeting_min, timeouts.greeting);
        self.patience(node, usual)
    }

    fn patience(&self, node: &Backend, usual: impl Fn(&Backend) -> Duration) -> Duration {
        let others = self.candidates().iter().filter(|one| one.up && one.open);
        let others = others.map(|one| &*one.backend);
        let others = others.filter(|one| !std::ptr::eq(*one, node) && !one.is_suspect());
        let others = others.map(|one| usual(one) * SLOWER_MAX);
        others.fold(usual(node), Duration::min)
    }

    /// Its nodes in the order of the file.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        self.picker.candidates()
    }

    /// How a node is chosen now: what an operator said, or else the file.
    #[must_use]
    pub fn mode(&self) -> settings::Mode {
        self.picker.mode()
    }

    fn thresholds(&self) -> Thresholds {
        let health = &self.settings.health;
        Thresholds { rise: health.rise, fall: health.fall }
    }

    fn has(&self, backend: &Arc<Backend>) -> bool {
        self.candidates().iter().any(|candidate| Arc::ptr_eq(&candidate.backend, backend))
    }

    /// The same service with the nodes as they are now, and as an operator wants them.
    fn looked_at_again(&self, orders: &Orders) -> Arc<Self> {
        let (settings, metrics) = (self.settings.clone(), self.metrics.clone());
        let backends = self.candidates().iter().map(|one| one.backend.clone());
        let picker = picker(&settings, backends.collect(), orders, Some(self));
        Arc::new(Self { settings, metrics, picker })
    }
}

/// Every service at one moment. It is never changed, only replaced.
#[derive(Debug, Default)]
pub struct Picture {
    /// In the order of the file.
    pub services: Vec<Arc<Service>>,
    /// What an operator has said at run time.
    pub orders: Arc<Orders>,
}

impl Picture {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.settings.name == *name)
    }
}

/// What a new picture brought and took away.
#[derive(Debug, Default)]
pub struct Change {
    /// Nodes that were not there before.
    pub added: Vec<Arc<Backend>>,
    /// Nodes that are there no longer; their connections go on.
    pub removed: Vec<Arc<Backend>>,
}

/// The picture of now.
#[derive(Debug, Default)]
pub struct Backends {
    picture: ArcSwap<Picture>,
    /// Held while the picture is replaced, so that no flip is lost to another writer.
    replacing: Mutex<()>,
    /// Nodes that were taken out of the file and may still have connections.
    leaving: Mutex<Vec<Weak<Backend>>>,
}

impl Backends {
    /// The picture of this moment, to be kept as short as possible.
    #[must_use]
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.load_full()
    }

    /// Nodes that are in the file no longer, while anybody uses them.
    #[must_use]
    pub fn leaving(&self) -> Vec<Arc<Backend>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|node| node.strong_count() > 0);
        leaving.iter().filter_map(Weak::upgrade).collect()
    }

    /// The service as it is now.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.picture.load().service(name).cloned()
    }

    /// Puts new settings in force. A node that keeps service, name and address keeps its counts
    /// and its health.
    pub fn replace(&self, services: Vec<settings::Service>) -> Change {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.picture.load_full();
        let mut change = Change::default();
        let orders = Arc::new(old.orders.settled(services.iter()));
        let services = services.into_iter().map(|settings| {
            let before = old.service(&settings.name);
            let backends = backends(&settings, before, &mut change.added);
            let metrics = before.map(|service| service.metrics.clone());
            let metrics = metrics.unwrap_or_else(|| Arc::new(ServiceMetrics::new(&settings.name)));
            let picker = picker(&settings, backends, &orders, before.map(|service| &**service));
            for candidate in picker.candidates() {
                candidate.backend.set_max(settings.limits.connections_per_node_max);
                candidate.backend.set_sources(&settings.source);
            }
            Arc::new(Service { settings: Arc::new(settings), metrics, picker })
        });
        let picture = Picture { services: services.collect(), orders: orders.clone() };
        for service in &old.services {
            let kept = picture.service(&service.settings.name);
            let gone = service.candidates().iter().map(|candidate| &candidate.backend);
            let gone = gone.filter(|backend| !kept.is_some_and(|kept| kept.has(backend)));
            change.removed.extend(gone.cloned());
        }
        self.picture.store(Arc::new(picture));
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.extend(change.removed.iter().map(Arc::downgrade));
        drop(leaving);
        change
    }

    /// Tells a node's judge of one look or dial; says whether that flipped it. Who was removed
    /// is judged no longer.
    pub fn hear(&self, backend: &Arc<Backend>, aspect: Aspect, good: bool) -> Option<Flip> {
        let service = self.service(&backend.service)?;
        if !service.has(backend) {
            return None;
        }
        let flip = backend.hear(aspect, good, service.thresholds())?;
        self.look_again(&backend.service);
        Some(flip)
    }

    /// A node gets at most so many thousandths of its service's new sessions from now on.
    pub fn limit_share(&self, backend: &Arc<Backend>, thousandths: u32) {
        let was_limited = backend.share.is_limited();
        backend.share.set(thousandths);
        if was_limited != backend.share.is_limited() {
            self.look_again(&backend.service);
        }
    }

    /// A node has reset a session in the middle. Many of them at once while the other nodes are
    /// calm, and it is dead; says whether that flipped it.
    pub fn hear_of_reset(&self, backend: &Arc<Backend>, now: Instant) -> Option<Flip> {
        let slower = backend.was_reset(now)?;
        let service = self.service(&backend.service)?;
        let others = service.candidates().iter().map(|one| &one.backend);
        let mut others = others.filter(|one| !Arc::ptr_eq(one, backend));
        if !service.has(backend) || !others.all(|one| one.is_calm(now)) {
            return None;
        }
        let flip = backend.condemn(slower);
        self.look_again(&backend.service);
        flip
    }

    /// An operator says something, for new sessions from now on.
    ///
    /// # Errors
    /// It is of a node or service that is not there.
    pub fn order(&self, order: Order, since: SystemTime, by: Arc<str>) -> Result<(), Unknown> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.picture.load_full();
        let settings = old.services.iter().map(|service| &*service.settings);
        let orders = Arc::new(old.orders.with(order, (since, by), settings)?);
        let services = old.services.iter().map(|service| service.looked_at_again(&orders));
        self.picture
            .store(Arc::new(Picture { services: services.collect(), orders: orders.clone() }));
        Ok(())
    }

    /// A new picture in which this service's nodes are as their judges hold them now.
    fn look_again(&self, name: &ServiceName) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.picture.load_full();
        let orders = old.orders.clone();
        let services = old.services.iter().map(|service| {
            let is_it = service.settings.name == *name;
            if is_it { service.looked_at_again(&orders) } else { service.clone() }
        });
        self.picture
            .store(Arc::new(Picture { services: services.collect(), orders: orders.clone() }));
    }
}

/// Round robin begins with the first node; the least connected of equals is the one *after* the
/// last, so that too begins with the first.
fn first_turn(mode: settings::Mode, nodes: usize) -> usize {
    match mode {
        settings::Mode::LeastConnections => nodes.saturating_sub(1),
        settings::Mode::RoundRobin | settings::Mode::Failover => 0,
    }
}

/// The nodes of a service in the order of the file; those that were there before are the same.
fn backends(
    settings: &settings::Service,
    before: Option<&Arc<Service>>,
    added: &mut Vec<Arc<Backend>>,
) -> Vec<Arc<Backend>> {
    let backends = settings.nodes.iter().map(|node| {
        let old = before.map_or(&[][..], |service| service.candidates()).iter();
        let mut old = old.map(|candidate| &candidate.backend);
        let kept = old.find(|old| old.name == node.name && old.address == node.address);
        kept.cloned().unwrap_or_else(|| {
            let (service, name) = (settings.name.clone(), node.name.clone());
            let backend = Arc::new(Backend::new(service, name, node.address));
            added.push(backend.clone());
            backend
        })
    });
    backends.collect()
}

/// Chooses among these nodes as the file and the operator say; `before` is who did until now.
fn picker(
    settings: &settings::Service,
    backends: Vec<Arc<Backend>>,
    orders: &Orders,
    before: Option<&Service>,
) -> Picker {
    let mode = orders.mode(&settings.name).map_or(settings.mode, |said| said.what);
    let candidates = settings.nodes.iter().zip(backends).map(|(node, backend)| {
        let weight = orders.weight(&node.name).map_or(node.weight, |said| said.what);
        let open = orders.opens(settings, &node.name);
        backend.metrics.ordered(open, weight);
        Candidate { weight, up: backend.is_up(), open, backend }
    });
    let turn = before.filter(|service| service.mode() == mode).map(|service| service.picker.turn());
    let turn = turn.unwrap_or_else(|| first_turn(mode, settings.nodes.len()));
    Picker::new(mode, candidates.collect(), turn).with_preempt(settings.failover.preempt)
}
