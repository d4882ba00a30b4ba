//! What an operator has said at run time: nodes that get no new sessions, other weights and modes.
//! It does not know who may say it (`api` does), the file, or a clock. `backends` keeps it within
//! the picture, from one settings file to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::settings::{Mode, Service, ServiceName};

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// It gets its share.
    #[default]
    Ready,
    /// No new sessions; those it has go on.
    Drain,
    /// No new sessions, and those it has are sent away one after the other.
    Maintenance,
}

impl Duty {
    /// The word a user types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// One thing an operator says. A node is meant in all services that have one of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// What a node is there for.
    Duty(Arc<str>, Duty),
    /// A node's share, 1 to 256; `None`: the file's.
    Weight(Arc<str>, Option<u32>),
    /// How a service chooses; `None`: as the file says.
    Mode(ServiceName, Option<Mode>),
}

/// Something that was said, when, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// What.
    pub what: T,
    /// When.
    pub since: SystemTime,
    /// Who, in his own words: nobody checked.
    pub by: Arc<str>,
}

/// An order names something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{name}`; there are: {}", known.join(", "))]
pub struct Unknown {
    kind: &'static str,
    name: String,
    /// What there is.
    pub known: Vec<String>,
}

/// All that was said and still holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    duties: BTreeMap<Arc<str>, Said<Duty>>,
    weights: BTreeMap<Arc<str>, Said<u32>>,
    modes: BTreeMap<ServiceName, Said<Mode>>,
}

impl Orders {
    /// What was said of a node's duty, if it is another than to be ready.
    #[must_use]
    pub fn duty_said(&self, node: &str) -> Option<&Said<Duty>> {
        self.duties.get(node)
    }

    /// What a node is there for.
    #[must_use]
    pub fn duty(&self, node: &str) -> Duty {
        self.duty_said(node).map(|said| said.what).unwrap_or_default()
    }

    /// What was said of a node's weight.
    #[must_use]
    pub fn weight(&self, node: &str) -> Option<&Said<u32>> {
        self.weights.get(node)
    }

    /// What was said of a service's mode.
    #[must_use]
    pub fn mode(&self, service: &ServiceName) -> Option<&Said<Mode>> {
        self.modes.get(service)
    }

    /// Whether a node of this service gets new sessions. Where nobody is ready those that drain
    /// are used on: an operator who drains the last node has most likely forgotten another one.
    /// Maintenance is meant in any case.
    #[must_use]
    pub fn opens(&self, service: &Service, node: &str) -> bool {
        match self.duty(node) {
            Duty::Ready => true,
            Duty::Drain => !service.nodes.iter().any(|one| self.duty(&one.name) == Duty::Ready),
            Duty::Maintenance => false,
        }
    }

    /// The same, and this was said.
    ///
    /// # Errors
    /// No service has such a node, or there is no such service.
    pub fn with<'s>(
        &self,
        order: Order,
        (since, by): (SystemTime, Arc<str>),
        services: impl Iterator<Item = &'s Service> + Clone,
    ) -> Result<Self, Unknown> {
        let mut orders = self.clone();
        match order {
            Order::Duty(node, duty) => {
                find_node(&node, services)?;
                put(&mut orders.duties, node, Some(duty), (since, by));
            }
            Order::Weight(node, weight) => {
                find_node(&node, services.clone())?;
                put(&mut orders.weights, node, weight, (since, by));
                return Ok(orders.settled(services));
            }
            Order::Mode(service, mode) => {
                let known: Vec<_> = services.clone().map(|one| one.name.to_string()).collect();
                if !known.contains(&service.to_string()) {
                    return Err(Unknown { kind: "service", name: service.to_string(), known });
                }
                put(&mut orders.modes, service, mode, (since, by));
                return Ok(orders.settled(services));
            }
        }
        orders.duties.retain(|_, said| said.what != Duty::Ready);
        Ok(orders)
    }

    /// What of it still holds with these settings: what the file has come to say itself is done,
    /// and what is of nodes and services that are gone is forgotten.
    #[must_use]
    pub fn settled<'s>(&self, services: impl Iterator<Item = &'s Service> + Clone) -> Self {
        let mut orders = self.clone();
        let nodes = || services.clone().flat_map(|service| &service.nodes);
        orders.duties.retain(|name, _| nodes().any(|node| node.name == *name));
        orders.weights.retain(|name, said| {
            nodes().any(|node| node.name == *name && node.weight != said.what)
        });
        orders.modes.retain(|name, said| {
            services.clone().any(|service| service.name == *name && service.mode != said.what)
        });
        orders
    }
}

/// Keeps the first time of what is said again.
fn put<K: Ord, T: PartialEq>(
    map: &mut BTreeMap<K, Said<T>>,
    key: K,
    what: Option<T>,
    (since, by): (SystemTime, Arc<str>),
) {
    match what {
        None => drop(map.remove(&key)),
        Some(what) if map.get(&key).is_some_and(|said| said.what == what) => {}
        Some(what) => drop(map.insert(key, Said { what, since, by })),
    }
}

fn find_node<'s>(name: &str, services: impl Iterator<Item = &'s Service>) -> Result<(), Unknown> {
    let nodes = services.flat_map(|service| &service.nodes);
    let mut known: Vec<_> = nodes.map(|node| node.name.to_string()).collect();
    known.sort();
    known.dedup();
    if known.iter().any(|node| node == name) {
        return Ok(());
    }
    Err(Unknown { kind: "node", name: name.to_owned(), known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::tests::service;
    use crate::backends::{Aspect, Backends};

    fn order(backends: &Backends, order: Order) -> Result<(), Unknown> {
        backends.order(order, SystemTime::UNIX_EPOCH, "me".into())
    }

    fn node(place: usize) -> Arc<str> {
        format!("n{place}").into()
    }

    /// The nodes that clients in turn get.
    fn places(backends: &Backends, count: usize) -> Vec<String> {
        let service = backends.service(&ServiceName("smtp".into())).expect("it is there");
        let picks = (0..count).map(|_| service.pick(&Default::default()));
        picks
            .map(|lease| lease.map_or_else(|| "-".into(), |it| it.backend().name.to_string()))
            .collect()
    }

    #[test]
    fn a_node_that_is_kept_back_gets_nobody_in_any_mode() {
        for mode in [Mode::RoundRobin, Mode::LeastConnections, Mode::Failover] {
            let backends = Backends::default();
            backends.replace(vec![service(mode, &[1, 1, 1])]);
            for duty in [Duty::Drain, Duty::Maintenance] {
                order(&backends, Order::Duty(node(0), duty)).expect("it is there");
                let places = places(&backends, 6);
                assert!(!places.contains(&"n0".to_owned()), "{mode:?}, {duty:?}: {places:?}");
            }
            // Not even where all others are held for dead.
            let candidates = backends.picture().services[0].candidates().to_vec();
            for other in &candidates[1..] {
                backends.hear(&other.backend, Aspect::Reach, false);
            }
            let left = places(&backends, 6);
            assert!(!left.contains(&"n0".to_owned()), "{mode:?}: {left:?}");
            order(&backends, Order::Duty(node(0), Duty::Ready)).expect("it is there");
            assert_eq!(places(&backends, 2), ["n0", "n0"], "{mode:?}: it is the last one up");
        }
    }

    #[test]
    fn the_last_ones_drain_in_vain_and_maintenance_is_meant() {
        let backends = Backends::default();
        backends.replace(vec![service(Mode::Failover, &[1, 1])]);
        order(&backends, Order::Duty(node(0), Duty::Maintenance)).expect("it is there");
        order(&backends, Order::Duty(node(1), Duty::Drain)).expect("it is there");
        assert_eq!(places(&backends, 1), ["n1"], "nobody else is left");
        order(&backends, Order::Duty(node(1), Duty::Maintenance)).expect("it is there");
        assert_eq!(places(&backends, 1), ["-"]);
    }

    #[test]
    fn what_was_said_survives_a_new_file_until_that_says_it_too() {
        let backends = Backends::default();
        backends.replace(vec![service(Mode::Failover, &[1, 1, 1])]);
        let smtp = ServiceName("smtp".into());
        order(&backends, Order::Mode(smtp.clone(), Some(Mode::RoundRobin))).expect("it is there");
        order(&backends, Order::Weight(node(1), Some(2))).expect("it is there");
        order(&backends, Order::Duty(node(2), Duty::Drain)).expect("it is there");
        backends.replace(vec![service(Mode::LeastConnections, &[1, 1, 1])]);
        let six = places(&backends, 6);
        let count = |name: &str| six.iter().filter(|one| *one == name).count();
        assert_eq!((count("n0"), count("n1"), count("n2")), (2, 4, 0), "{six:?}");
        let orders = backends.picture().orders.clone();
        assert_eq!(orders.mode(&smtp).map(|said| said.what), Some(Mode::RoundRobin));
        backends.replace(vec![service(Mode::RoundRobin, &[1, 2])]);
        assert_eq!(*backends.picture().orders, Orders::default(), "the file says it all");
        backends.replace(vec![service(Mode::Failover, &[1, 1, 1])]);
        assert_eq!(places(&backends, 3), ["n0"; 3], "the file alone decides");
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let backends = Backends::default();
        backends.replace(vec![service(Mode::Failover, &[1, 1])]);
        let unknown = order(&backends, Order::Duty(node(7), Duty::Drain)).expect_err("no node");
        assert_eq!(unknown.to_string(), "there is no node `n7`; there are: n0, n1");
        let pop3 = Order::Mode(ServiceName("pop3".into()), None);
        let unknown = order(&backends, pop3).expect_err("no service");
        assert_eq!(unknown.to_string(), "there is no service `pop3`; there are: smtp");
    }

    #[test]
    fn the_file_s_own_word_takes_an_order_back() {
        let backends = Backends::default();
        backends.replace(vec![service(Mode::Failover, &[1, 1])]);
        for (said, kept) in [(Some(5), true), (Some(1), false), (Some(5), true), (None, false)] {
            order(&backends, Order::Weight(node(0), said)).expect("it is there");
            let orders = backends.picture().orders.clone();
            assert_eq!(orders.weight("n0").is_some(), kept, "after {said:?}");
        }
    }
}
