//! The pick against a naive reference, over random lives of a service; tests only.
//! It does not know sockets; the test runner calls it.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::settings::{Health, Mode, Node, Protocol, ProxyProtocol, ServiceLimits, Timeouts};

const MODES: [Mode; 3] = [Mode::RoundRobin, Mode::LeastConnections, Mode::Failover];

pub(super) fn service(mode: Mode, weights: &[u32]) -> settings::Service {
    let second = Duration::from_secs(1);
    let node = |(place, weight): (usize, &u32)| Node {
        name: format!("n{place}").into(),
        address: ([127, 0, 0, 1], u16::try_from(place).expect("few") + 1).into(),
        weight: *weight,
    };
    settings::Service {
        name: ServiceName("smtp".into()),
        listen: Vec::new(),
        mode,
        protocol: Protocol::Smtp,
        proxy_protocol: ProxyProtocol::None,
        health: Health {
            interval: second,
            greeting_interval: second,
            timeout: second,
            rise: 1,
            fall: 1,
        },
        timeouts: Timeouts {
            connect: second,
            connect_min: second,
            greeting: second,
            greeting_min: second,
            last_greeting: second,
            idle: second,
            vanished: second,
        },
        failover: settings::Failover::default(),
        limits: ServiceLimits::default(),
        source: Vec::new(),
        reuse_sockets: false,
        nodes: weights.iter().enumerate().map(node).collect(),
    }
}

fn backends(mode: Mode, weights: &[u32]) -> Backends {
    let backends = Backends::default();
    backends.replace(vec![service(mode, weights)]);
    backends
}

fn current(backends: &Backends) -> Arc<Service> {
    backends.service(&ServiceName("smtp".into())).expect("it was put there")
}

fn pick(backends: &Backends, tried: &Tried) -> Option<Lease> {
    current(backends).pick(tried)
}

fn node(backends: &Backends, place: usize) -> Arc<Backend> {
    current(backends).candidates()[place].backend.clone()
}

fn place(lease: &Lease) -> usize {
    lease.backend().address.port() as usize - 1
}

/// The nodes that `count` clients in turn get; `held`: all stay.
fn picked(backends: &Backends, count: usize, held: bool) -> Vec<usize> {
    let mut leases = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let lease = pick(backends, &Tried::default()).expect("there are nodes");
        places.push(place(&lease));
        leases.push(lease);
        if !held {
            leases.clear();
        }
    }
    places
}

#[test]
fn round_robin_is_smooth() {
    assert_eq!(picked(&backends(Mode::RoundRobin, &[1, 1, 1]), 7, true), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picked(&backends(Mode::RoundRobin, &[3, 1]), 8, true), [0, 0, 1, 0, 0, 0, 1, 0]);
    assert_eq!(
        picked(&backends(Mode::RoundRobin, &[5, 1, 1]), 7, false),
        [0, 0, 1, 0, 2, 0, 0],
        "nginx's own example of smooth order"
    );
    assert_eq!(picked(&backends(Mode::RoundRobin, &[200, 100]), 3, true), [0, 1, 0]);
}

#[test]
fn least_connections_are_level_and_take_turns() {
    for held in [true, false] {
        let backends = backends(Mode::LeastConnections, &[1, 1, 1]);
        assert_eq!(picked(&backends, 6, held), [0, 1, 2, 0, 1, 2], "held: {held}");
    }
    let weighted = picked(&backends(Mode::LeastConnections, &[2, 1]), 30, true);
    assert_eq!(weighted.iter().filter(|place| **place == 0).count(), 20, "{weighted:?}");
}

#[test]
fn failover_keeps_the_order_of_the_file() {
    let backends = backends(Mode::Failover, &[1, 1, 1]);
    assert_eq!(picked(&backends, 3, true), [0, 0, 0]);
    assert_eq!(backends.hear(&node(&backends, 0), Aspect::Reach, false), Some(Flip::Down));
    assert_eq!(picked(&backends, 2, true), [1, 1]);
    assert_eq!(backends.hear(&node(&backends, 0), Aspect::Reach, true), Some(Flip::Up));
    assert_eq!(picked(&backends, 1, true), [0]);
}

#[test]
fn failover_without_preemption_stays_where_it_is() {
    let backends = Backends::default();
    let mut settings = service(Mode::Failover, &[1, 1, 1]);
    settings.failover.preempt = false;
    backends.replace(vec![settings]);
    assert_eq!(picked(&backends, 2, true), [0, 0]);
    backends.hear(&node(&backends, 0), Aspect::Reach, false);
    assert_eq!(picked(&backends, 2, true), [1, 1]);
    backends.hear(&node(&backends, 0), Aspect::Reach, true);
    assert_eq!(picked(&backends, 2, true), [1, 1], "it does not go back by itself");
    node(&backends, 1).doubt(Aspect::Reach);
    assert_eq!(picked(&backends, 2, true), [0, 0]);
}

#[test]
fn a_node_in_doubt_is_used_only_if_nobody_else_is_left() {
    for mode in MODES {
        let backends = backends(mode, &[1, 1, 1]);
        node(&backends, 0).doubt(Aspect::Service);
        backends.hear(&node(&backends, 1), Aspect::Reach, false);
        assert_eq!(picked(&backends, 3, true), [2, 2, 2], "{mode:?}");
        node(&backends, 2).doubt(Aspect::Reach);
        let places = picked(&backends, 6, true);
        assert!(!places.contains(&1), "doubted ones come before the dead: {mode:?} {places:?}");
        node(&backends, 0).trust(Aspect::Service);
        assert_eq!(picked(&backends, 3, true), [0, 0, 0], "{mode:?}");
    }
}

#[test]
fn a_node_that_is_back_gets_its_share_and_no_more() {
    for mode in [Mode::RoundRobin, Mode::LeastConnections] {
        let backends = backends(mode, &[1, 1, 1]);
        let held: Vec<_> = (0..2).map(|place| node(&backends, place)).collect();
        let _held: Vec<_> =
            held.iter().flat_map(|node| (0..1000).filter_map(|_| node.lease())).collect();
        for (thousandths, most) in [(200, 201), (667, 668)] {
            backends.limit_share(&node(&backends, 2), thousandths);
            let places = picked(&backends, 1000, false);
            let its = places.iter().filter(|place| **place == 2).count();
            assert!(its <= most, "{mode:?}: {its} of 1000 at {thousandths}");
            if mode == Mode::LeastConnections {
                assert!(its + 5 >= most, "{mode:?}: {its} of 1000 at {thousandths}");
            }
        }
        // Nobody is sent away because its share is used up.
        for place in 0..2 {
            backends.hear(&node(&backends, place), Aspect::Reach, false);
        }
        assert_eq!(picked(&backends, 5, false), [2; 5]);
        backends.limit_share(&node(&backends, 2), WHOLE);
        assert_eq!(picked(&backends, 5, false), [2; 5]);
    }
}

#[test]
fn when_all_are_held_for_dead_all_are_tried() {
    for mode in MODES {
        let backends = backends(mode, &[1, 5, 1]);
        for place in 0..3 {
            backends.hear(&node(&backends, place), Aspect::Reach, false);
        }
        let mut tried = Tried::default();
        let mut places = Vec::new();
        while let Some(lease) = pick(&backends, &tried) {
            tried.add(lease.backend());
            places.push(place(&lease));
        }
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2], "{mode:?}");
        assert_eq!(current(&backends).untried(&tried), 0);
    }
}

#[test]
fn picks_at_the_same_time_are_exact() {
    let backends = Arc::new(backends(Mode::LeastConnections, &[1, 1, 1, 1]));
    let threads = (0..4).map(|_| {
        let backends = backends.clone();
        std::thread::spawn(move || {
            let lease = || pick(&backends, &Tried::default()).expect("there are nodes");
            (0..500).map(|_| lease()).collect::<Vec<_>>()
        })
    });
    let threads: Vec<_> = threads.collect();
    let leases: Vec<_> =
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    let counts: Vec<_> = (0..4).map(|place| node(&backends, place).active()).collect();
    assert_eq!(counts, [500; 4]);
    drop(leases);
    assert!((0..4).all(|place| node(&backends, place).active() == 0));
}

#[test]
fn counts_and_health_survive_a_reload() {
    let backends = backends(Mode::RoundRobin, &[1, 1, 1]);
    let lease = pick(&backends, &Tried::default()).expect("there are nodes");
    backends.hear(&node(&backends, 1), Aspect::Reach, false);
    let mut settings = service(Mode::LeastConnections, &[4, 1]);
    settings.nodes[1].name = "other".into();
    let change = backends.replace(vec![settings]);
    let names =
        |list: &[Arc<Backend>]| list.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&change.added), ["other"]);
    assert_eq!(names(&change.removed), ["n1", "n2"]);
    assert_eq!(node(&backends, 0).active(), 1);
    assert!(Arc::ptr_eq(&node(&backends, 0), lease.backend()));
    assert!(node(&backends, 1).is_up(), "a node of another name is another node");
    drop(lease);
    assert_eq!(node(&backends, 0).active(), 0);
    assert_eq!(
        backends.hear(&change.removed[0], Aspect::Reach, true),
        None,
        "who was removed is not judged"
    );
    assert_eq!(backends.replace(Vec::new()).removed.len(), 2);
}

/// The simplest thing that could be right.
struct Reference {
    mode: Mode,
    weights: Vec<u32>,
    up: Vec<bool>,
    doubted: Vec<bool>,
    active: Vec<usize>,
    last: usize,
}

impl Reference {
    fn living(&self) -> Vec<usize> {
        let all: Vec<_> = (0..self.up.len()).collect();
        let up: Vec<_> = all.iter().copied().filter(|place| self.up[*place]).collect();
        let clear: Vec<_> = up.iter().copied().filter(|place| !self.doubted[*place]).collect();
        [clear, up, all].into_iter().find(|some| !some.is_empty()).expect("there are nodes")
    }

    /// Every answer that would be right.
    fn allowed(&self) -> Vec<usize> {
        let living = self.living();
        match self.mode {
            Mode::Failover => vec![living[0]],
            Mode::RoundRobin => living,
            Mode::LeastConnections => {
                let load = |place: usize| {
                    (self.active[place] as f64 + 1.0) / f64::from(self.weights[place])
                };
                let least = living.iter().map(|place| load(*place)).fold(f64::MAX, f64::min);
                let tied = |place: &usize| (load(*place) - least).abs() < 1e-9;
                let count = self.up.len();
                let turns = (1..=count).map(|step| (self.last + step) % count);
                turns.filter(|place| living.contains(place)).filter(tied).take(1).collect()
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Pick,
    Close(prop::sample::Index),
    Health(prop::sample::Index, bool),
    Doubt(prop::sample::Index, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Pick),
        2 => any::<prop::sample::Index>().prop_map(Event::Close),
        1 => any::<(prop::sample::Index, bool)>().prop_map(|(at, up)| Event::Health(at, up)),
        1 => any::<(prop::sample::Index, bool)>().prop_map(|(at, is_so)| Event::Doubt(at, is_so)),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn every_pick_is_one_the_reference_allows(
        mode in prop::sample::select(MODES.to_vec()),
        weights in prop::collection::vec(1..6_u32, 1..6),
        events in events(),
    ) {
        let backends = backends(mode, &weights);
        let count = weights.len();
        let mut reference = Reference {
            mode, weights, up: vec![true; count], doubted: vec![false; count],
            active: vec![0; count], last: count - 1,
        };
        let mut leases: Vec<Lease> = Vec::new();
        for event in events {
            match event {
                Event::Pick => {
                    let allowed = reference.allowed();
                    let lease = pick(&backends, &Tried::default()).expect("there are nodes");
                    let place = place(&lease);
                    prop_assert!(allowed.contains(&place), "{place} is none of {allowed:?}");
                    reference.active[place] += 1;
                    reference.last = place;
                    leases.push(lease);
                }
                Event::Close(at) if !leases.is_empty() => {
                    let lease = leases.swap_remove(at.index(leases.len()));
                    reference.active[place(&lease)] -= 1;
                }
                Event::Close(_) => {}
                Event::Doubt(at, is_so) => {
                    let place = at.index(count);
                    let node = node(&backends, place);
                    if is_so { node.doubt(Aspect::Reach) } else { node.trust(Aspect::Reach) }
                    reference.doubted[place] = is_so;
                }
                Event::Health(at, up) => {
                    let place = at.index(count);
                    backends.hear(&node(&backends, place), Aspect::Reach, up);
                    reference.up[place] = up;
                }
            }
            let active: Vec<_> = (0..count).map(|place| node(&backends, place).active()).collect();
            prop_assert_eq!(&active, &reference.active);
        }
    }

    #[test]
    fn a_full_turn_of_round_robin_has_everybody_by_weight(
        weights in prop::collection::vec(1..20_u32, 1..6),
    ) {
        let backends = backends(Mode::RoundRobin, &weights);
        let sum: u32 = weights.iter().sum();
        let places = picked(&backends, sum as usize, false);
        for (place, weight) in weights.iter().enumerate() {
            let count = places.iter().filter(|one| **one == place).count();
            prop_assert_eq!(count, *weight as usize, "node {} in {:?}", place, &places);
        }
    }
}
