//! Which node shall this client have? One picture of all services and nodes, swapped as a whole.
//! It does not know sockets, clocks or files. `connection` picks here, `probe` and `connection`
//! tell it what they saw, `house` gives it a new picture.

mod backend;
mod health;
mod pick;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

pub use backend::{Backend, Lease, Tried};
pub use health::{Flip, Judge, Thresholds};
pub use pick::{Candidate, Picker};

use crate::metrics::ServiceMetrics;
use crate::settings::{self, ServiceName};

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

    /// Its nodes in the order of the file.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        self.picker.candidates()
    }

    fn thresholds(&self) -> Thresholds {
        let health = &self.settings.health;
        Thresholds { rise: health.rise, fall: health.fall }
    }

    fn has(&self, backend: &Arc<Backend>) -> bool {
        self.candidates().iter().any(|candidate| Arc::ptr_eq(&candidate.backend, backend))
    }

    /// The same service with the nodes as they are now.
    fn looked_at_again(&self) -> Arc<Self> {
        let looked_at = |one: &Candidate| Candidate { up: one.backend.is_up(), ..one.clone() };
        let candidates = self.candidates().iter().map(looked_at).collect();
        let picker = Picker::new(self.picker.mode(), candidates, self.picker.turn());
        let (settings, metrics) = (self.settings.clone(), self.metrics.clone());
        Arc::new(Self { settings, metrics, picker })
    }
}

/// Every service at one moment. It is never changed, only replaced.
#[derive(Debug, Default)]
pub struct Picture {
    /// In the order of the file.
    pub services: Vec<Arc<Service>>,
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
}

impl Backends {
    /// The picture of this moment, to be kept as short as possible.
    #[must_use]
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.load_full()
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
        let services = services.into_iter().map(|settings| {
            let before = old.service(&settings.name);
            let candidates = candidates(&settings, before, &mut change.added);
            let metrics = before.map(|service| service.metrics.clone());
            let metrics = metrics.unwrap_or_else(|| Arc::new(ServiceMetrics::new(&settings.name)));
            let turn = before.filter(|service| service.picker.mode() == settings.mode);
            let turn = turn.map_or_else(|| first_turn(&settings), |service| service.picker.turn());
            let picker = Picker::new(settings.mode, candidates, turn);
            for candidate in picker.candidates() {
                candidate.backend.set_max(settings.limits.connections_per_node_max);
            }
            Arc::new(Service { settings: Arc::new(settings), metrics, picker })
        });
        let picture = Picture { services: services.collect() };
        for service in &old.services {
            let kept = picture.service(&service.settings.name);
            let gone = service.candidates().iter().map(|candidate| &candidate.backend);
            let gone = gone.filter(|backend| !kept.is_some_and(|kept| kept.has(backend)));
            change.removed.extend(gone.cloned());
        }
        self.picture.store(Arc::new(picture));
        change
    }

    /// Tells a node's judge of one look or dial; says whether that flipped it. Who was removed
    /// is judged no longer.
    pub fn hear(&self, backend: &Arc<Backend>, good: bool) -> Option<Flip> {
        let service = self.service(&backend.service)?;
        if !service.has(backend) {
            return None;
        }
        let flip = backend.hear(good, service.thresholds())?;
        self.look_again(&backend.service);
        Some(flip)
    }

    /// A new picture in which this service's nodes are as their judges hold them now.
    fn look_again(&self, name: &ServiceName) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.picture.load_full();
        let services = old.services.iter().map(|service| {
            if service.settings.name == *name { service.looked_at_again() } else { service.clone() }
        });
        self.picture.store(Arc::new(Picture { services: services.collect() }));
    }
}

/// Round robin begins with the first node; the least connected of equals is the one *after* the
/// last, so that too begins with the first.
fn first_turn(settings: &settings::Service) -> usize {
    match settings.mode {
        settings::Mode::LeastConnections => settings.nodes.len().saturating_sub(1),
        settings::Mode::RoundRobin | settings::Mode::Failover => 0,
    }
}

fn candidates(
    settings: &settings::Service,
    before: Option<&Arc<Service>>,
    added: &mut Vec<Arc<Backend>>,
) -> Vec<Candidate> {
    let candidates = settings.nodes.iter().map(|node| {
        let old = before.map_or(&[][..], |service| service.candidates()).iter();
        let mut old = old.map(|candidate| &candidate.backend);
        let kept = old.find(|old| old.name == node.name && old.address == node.address);
        let backend = kept.cloned().unwrap_or_else(|| {
            let (service, name) = (settings.name.clone(), node.name.clone());
            let backend = Arc::new(Backend::new(service, name, node.address));
            added.push(backend.clone());
            backend
        });
        Candidate { weight: node.weight, up: backend.is_up(), backend }
    });
    candidates.collect()
}
