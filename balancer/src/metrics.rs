//! Every metric of the balancer: its name, its help, and the handles that count it.
//! It does not know when something is counted. Handles are made once per service and node and
//! kept: nothing is looked up by label while a connection runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::account::Carried;
use crate::backends::Flip;
use crate::outcome::{Cause, End};
use crate::pulse::Pulse;
use crate::settings::ServiceName;

/// A counter that can also be read, for `balancer status`.
#[derive(Debug)]
pub struct Tally {
    exported: Counter,
    count: AtomicU64,
}

impl Tally {
    fn new(exported: Counter) -> Self {
        // The series is there from the start, so that its first count is seen as an increase.
        exported.increment(0);
        Self { exported, count: AtomicU64::new(0) }
    }

    /// Counts `number` more.
    pub fn add(&self, number: u64) {
        self.exported.increment(number);
        self.count.fetch_add(number, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Milliseconds of the epoch.
fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What is counted of one node in one service.
#[derive(Debug)]
pub struct NodeMetrics {
    up: Gauge,
    open: Gauge,
    weight: Gauge,
    /// Since when it is as its judge holds it, in milliseconds of the epoch.
    since: AtomicU64,
    /// What it did lately.
    pub pulse: Pulse,
    /// Connections it has now.
    pub active: Gauge,
    /// Dials that reached it.
    pub connects: Tally,
    /// Bytes that came from clients.
    pub bytes_to_node: Tally,
    /// Bytes that went to clients.
    pub bytes_to_client: Tally,
    failures: [Tally; Cause::ALL.len()],
    flips_up: Counter,
    flips_down: Counter,
    suspicions: Counter,
    dial: Histogram,
    greeting: Histogram,
    probes_good: Counter,
    probes_bad: Counter,
}

impl NodeMetrics {
    /// Handles for this node; its series begin at zero.
    #[must_use]
    pub fn new(service: &ServiceName, node: &str) -> Self {
        let labels = [("service", service.to_string()), ("node", node.to_owned())];
        let with = |key: &'static str, value: &'static str| {
            let [service, node] = labels.clone();
            [service, node, (key, value.to_owned())]
        };
        let bytes = |to| Tally::new(counter!("balancer_node_bytes_total", &with("to", to)));
        let flips = |to| counter!("balancer_node_flips_total", &with("to", to));
        let probes = |result| counter!("balancer_node_probes_total", &with("result", result));
        let failures = Cause::ALL.map(|cause| {
            let labels = with("cause", cause.name());
            Tally::new(counter!("balancer_node_failures_total", &labels))
        });
        let metrics = Self {
            up: gauge!("balancer_node_up", &labels),
            open: gauge!("balancer_node_open", &labels),
            weight: gauge!("balancer_node_weight", &labels),
            since: AtomicU64::new(now_millis()),
            pulse: Pulse::default(),
            active: gauge!("balancer_node_connections", &labels),
            connects: Tally::new(counter!("balancer_node_connects_total", &labels)),
            bytes_to_node: bytes("node"),
            bytes_to_client: bytes("client"),
            failures,
            flips_up: flips("up"),
            flips_down: flips("down"),
            suspicions: counter!("balancer_node_suspicions_total", &labels),
            dial: histogram!("balancer_node_dial_seconds", &labels),
            greeting: histogram!("balancer_node_greeting_seconds", &labels),
            probes_good: probes("good"),
            probes_bad: probes("bad"),
        };
        let Self { flips_up, flips_down, suspicions, probes_good, probes_bad, .. } = &metrics;
        for counter in [flips_up, flips_down, suspicions, probes_good, probes_bad] {
            counter.increment(0);
        }
        metrics.up.set(1.0);
        metrics.open.set(1.0);
        metrics.active.increment(0.0);
        metrics
    }

    /// A dial that reached it, after this long.
    pub fn connected(&self, took: Duration) {
        self.connects.add(1);
        self.dial.record(took.as_secs_f64());
    }

    /// Its first byte came, this long after it was reached.
    pub fn greeted(&self, took: Duration) {
        self.greeting.record(took.as_secs_f64());
        self.pulse.greeted(took);
    }

    /// Bytes went through.
    pub fn carried(&self, more: Carried) {
        self.bytes_to_node.add(more.to_node);
        self.bytes_to_client.add(more.to_client);
    }

    /// It could not be used.
    pub fn failed(&self, cause: Cause) {
        self.failures[cause as usize].add(1);
    }

    /// How often it could not be used, but for our own trouble.
    #[must_use]
    pub fn failures(&self) -> u64 {
        let its_own = Cause::ALL.iter().filter(|cause| **cause != Cause::Local);
        its_own.map(|cause| self.failures[*cause as usize].count()).sum()
    }

    /// One look of the probe.
    pub fn probed(&self, good: bool) {
        let counter = if good { &self.probes_good } else { &self.probes_bad };
        counter.increment(1);
    }

    /// It is passed over from now on until it was looked at.
    pub fn suspected(&self) {
        self.suspicions.increment(1);
    }

    /// Its judge changed his mind.
    pub fn flipped(&self, flip: Flip) {
        let (counter, up) = match flip {
            Flip::Up => (&self.flips_up, 1.0),
            Flip::Down => (&self.flips_down, 0.0),
        };
        counter.increment(1);
        self.up.set(up);
        self.since.store(now_millis(), Ordering::Relaxed);
    }

    /// Since when it is up or down.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.since.load(Ordering::Relaxed))
    }

    /// Whether it gets new sessions, and its share of them.
    pub fn ordered(&self, open: bool, weight: u32) {
        self.open.set(if open { 1.0 } else { 0.0 });
        self.weight.set(weight);
    }

    /// It is no longer in the file. No series can be taken back; NaN triggers no alert.
    pub fn removed(&self) {
        for gauge in [&self.up, &self.open, &self.weight] {
            gauge.set(f64::NAN);
        }
    }
}

/// What is counted of one service.
#[derive(Debug)]
pub struct ServiceMetrics {
    /// Connections of clients it has now.
    pub active: Gauge,
    /// Connections of clients it was ever given.
    pub connections: Tally,
    retries: Tally,
    failing_open: Gauge,
    is_failing_open: AtomicBool,
    ends: [Tally; End::ALL.len()],
}

impl ServiceMetrics {
    /// Handles for this service; its series begin at zero.
    #[must_use]
    pub fn new(service: &ServiceName) -> Self {
        let labels = [("service", service.to_string())];
        let ends = End::ALL.map(|end| {
            let [service] = labels.clone();
            let labels = [service, ("end", end.name().to_owned())];
            Tally::new(counter!("balancer_service_ends_total", &labels))
        });
        let active = gauge!("balancer_service_connections", &labels);
        active.increment(0.0);
        Self {
            active,
            connections: Tally::new(counter!("balancer_service_connections_total", &labels)),
            retries: Tally::new(counter!("balancer_service_retries_total", &labels)),
            failing_open: gauge!("balancer_service_failing_open", &labels),
            is_failing_open: AtomicBool::new(false),
            ends,
        }
    }

    /// A client was moved on to another node.
    pub fn retried(&self) {
        self.retries.add(1);
    }

    /// Whether no node is up, so that all are tried. Says whether that is news.
    pub fn failing_open(&self, is_so: bool) -> bool {
        self.failing_open.set(if is_so { 1.0 } else { 0.0 });
        !self.is_failing_open.swap(is_so, Ordering::Relaxed) && is_so
    }

    /// How often clients were moved on.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.count()
    }

    /// A connection ended.
    pub fn ended(&self, end: End) {
        self.ends[end as usize].add(1);
    }

    /// How many connections ended so.
    #[must_use]
    pub fn ends(&self, end: End) -> u64 {
        self.ends[end as usize].count()
    }
}

/// What is counted of the settings file.
#[derive(Debug)]
pub struct ConfigMetrics {
    valid: Gauge,
    since: Gauge,
    good: Counter,
    bad: Counter,
}

impl ConfigMetrics {
    /// Handles; nothing was read again yet.
    #[must_use]
    pub fn new() -> Self {
        let reloads = |result| counter!("balancer_config_reloads_total", "result" => result);
        let (good, bad) = (reloads("good"), reloads("bad"));
        good.increment(0);
        bad.increment(0);
        let (valid, since) =
            (gauge!("balancer_config_valid"), gauge!("balancer_config_in_force_timestamp_seconds"));
        let metrics = Self { valid, since, good, bad };
        metrics.in_force();
        metrics
    }

    fn in_force(&self) {
        self.valid.set(1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.since.set(now.as_secs_f64());
    }

    /// The file was put in force.
    pub fn taken(&self) {
        self.good.increment(1);
        self.in_force();
    }

    /// The file is again what is in force.
    pub fn valid_again(&self) {
        self.valid.set(1.0);
    }

    /// The file has faults; the old settings stay in force.
    pub fn refused(&self) {
        self.bad.increment(1);
        self.valid.set(0.0);
    }
}

impl Default for ConfigMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The help of every metric; once, when the recorder is there.
pub fn describe() {
    describe_nodes();
    crate::virtual_ip::board::describe();
    describe_counter!(
        "balancer_service_connections_total",
        "Connections of clients, refused ones among them."
    );
    describe_gauge!("balancer_service_connections", "Connections of clients that are open.");
    describe_counter!(
        "balancer_service_retries_total",
        "How often a client was moved to another node before it had heard of any."
    );
    describe_gauge!(
        "balancer_service_failing_open",
        "1 while no node of the service is up, so that all of them are tried for each client."
    );
    describe_counter!("balancer_service_ends_total", "Connections of clients by how they ended.");
    describe_gauge!(
        "balancer_config_valid",
        "1 when the settings file is what is in force, 0 when it has faults."
    );
    describe_gauge!(
        "balancer_config_in_force_timestamp_seconds",
        "When the settings in force were put in force."
    );
    describe_counter!(
        "balancer_config_reloads_total",
        "How often a changed settings file was put in force (good) or refused (bad)."
    );
    describe_gauge!("balancer_connections_limit", "The most connections that are let in at once.");
}

fn describe_nodes() {
    describe_gauge!(
        "balancer_node_open",
        "1 when the node gets new sessions, 0 when an operator keeps them away."
    );
    describe_gauge!("balancer_node_weight", "The node's share, as the file or an operator says.");
    describe_gauge!("balancer_node_up", "1 when the node is held for alive, 0 when for dead.");
    describe_gauge!(
        "balancer_node_connections",
        "Connections the node has, those being dialed among them."
    );
    describe_counter!("balancer_node_connects_total", "Dials that reached the node.");
    describe_counter!(
        "balancer_node_failures_total",
        "How often the node could not be used for a client, by cause; local is our own trouble."
    );
    describe_counter!("balancer_node_bytes_total", "Bytes carried, by where they went.");
    describe_counter!("balancer_node_flips_total", "How often the node went up or down.");
    describe_counter!(
        "balancer_node_suspicions_total",
        "How often the node was passed over at once, until a look cleared it."
    );
    describe_counter!("balancer_node_probes_total", "Health checks of the node by result.");
    describe_gauge!(
        "balancer_node_free_ports",
        "Local ports left to dial the node from each source address (any: the system's choice)."
    );
    describe_histogram!("balancer_node_dial_seconds", "Time to reach the node.");
    describe_histogram!(
        "balancer_node_greeting_seconds",
        "Time from reaching the node to its first byte, where the node greets first."
    );
}

/// Ports that are left to dial a node from one of our addresses; `None`: that is not so any more.
pub fn free_ports(service: &str, node: &str, source: &str, free: Option<usize>) {
    let labels = [("service", service), ("node", node), ("source", source)];
    let labels = labels.map(|(key, value)| (key, value.to_owned()));
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!("balancer_node_free_ports", &labels).set(free.map_or(f64::NAN, |free| free as f64));
}

/// The most connections that are let in at once.
pub fn connections_limit(max: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!("balancer_connections_limit").set(max as f64);
}
