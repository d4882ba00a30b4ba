//! All there is to know of a balancer, as it is written in JSON.
//! It does not know HTTP, or where the figures come from but for nodes and services. `api` sends
//! it, `commands` read the same types back.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::backends::{Backend, Backends, Candidate, Duty, Orders, Picture, Said, Service};
use crate::outcome::End;
use crate::settings::ServiceName;
use crate::virtual_ip::board::VirtualIpStatus;

/// All there is to know of a balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Whether it lets clients in.
    pub stopping: bool,
    /// Clients inside.
    pub connections: usize,
    /// The most that are let in.
    pub connections_max: usize,
    /// The settings file.
    pub config: ConfigStatus,
    /// The address that only the serving balancer has, where it is this one's to put up.
    #[serde(default)]
    pub virtual_ip: Option<VirtualIpStatus>,
    /// In the order of the file.
    pub services: Vec<ServiceStatus>,
    /// What is left at nodes that are no longer in the file.
    #[serde(default)]
    pub leaving: Vec<NodeSessions>,
}

/// What became of the settings file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Its name.
    pub file: String,
    /// Whether it is what is in force.
    pub valid: bool,
    /// If not, every fault of it.
    pub faults: Vec<String>,
}

/// Something an operator said at run time, which holds until he says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// `drain`, `maintenance`, a weight or a mode.
    pub what: String,
    /// When, in seconds of the epoch.
    pub since: u64,
    /// By whom, in his own words.
    pub by: String,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// How a node is chosen.
    pub mode: String,
    /// If that is not as the file says.
    #[serde(default)]
    pub mode_order: Option<OrderStatus>,
    /// What is spoken.
    pub protocol: String,
    /// Where clients come in.
    pub listen: Vec<SocketAddr>,
    /// Connections so far.
    pub connections_total: u64,
    /// How often a client was moved to another node.
    pub retries_total: u64,
    /// How often there was no node for a client.
    pub no_node_total: u64,
    /// In the order of the file.
    pub nodes: Vec<NodeStatus>,
}

/// One node of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// If that is not as the file says.
    #[serde(default)]
    pub weight_order: Option<OrderStatus>,
    /// `up` or `down`.
    pub state: String,
    /// Since when, in seconds of the epoch.
    #[serde(default)]
    pub state_since: u64,
    /// `ready`, `drain` or `maintenance`.
    #[serde(default)]
    pub duty: String,
    /// If it is not ready: since when, and who said so.
    #[serde(default)]
    pub duty_order: Option<OrderStatus>,
    /// Whether it gets new sessions while it is up.
    #[serde(default)]
    pub open: bool,
    /// Connections now.
    pub connections: usize,
    /// New ones a second, over the last ten seconds.
    #[serde(default)]
    pub connects_per_second: f64,
    /// Half of its greetings of the last minute or two came within so many milliseconds.
    #[serde(default)]
    pub greeting_p50_ms: Option<f64>,
    /// All but a hundredth of them did within these.
    #[serde(default)]
    pub greeting_p99_ms: Option<f64>,
    /// Dials that reached it.
    pub connects_total: u64,
    /// How often it could not be used.
    pub failures_total: u64,
    /// Bytes that came from clients.
    pub bytes_to_node_total: u64,
    /// Bytes that went to clients.
    pub bytes_to_client_total: u64,
    /// Why it could not be used the last time.
    pub last_failure: Option<String>,
}

impl NodeStatus {
    /// In a word what it does now.
    #[must_use]
    pub fn word(&self) -> &str {
        match (&*self.duty, self.connections) {
            ("drain", 0) => "drained",
            ("drain", _) => "draining",
            ("maintenance", _) => "maintenance",
            _ => &self.state,
        }
    }
}

/// A machine: all nodes of one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The name.
    pub name: String,
    /// `ready`, `drain` or `maintenance`.
    pub duty: String,
    /// If it is not ready: since when, and who said so.
    pub duty_order: Option<OrderStatus>,
    /// Connections of all services now.
    pub connections: usize,
    /// What it is in each service.
    pub services: Vec<MachineService>,
}

/// What a machine is in one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineService {
    /// The service.
    pub service: String,
    /// The node there.
    #[serde(flatten)]
    pub node: NodeStatus,
}

/// How many are inside, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Clients inside, those among them that have no node yet.
    pub connections: usize,
    /// The most that are let in.
    pub connections_max: usize,
    /// In the order of the file.
    pub nodes: Vec<NodeSessions>,
    /// What is left at nodes that are no longer in the file.
    pub leaving: Vec<NodeSessions>,
}

/// The sessions of one node of a service. No list of them is kept: a connection is 288 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSessions {
    /// The service.
    pub service: String,
    /// The node.
    pub node: String,
    /// Its connections now.
    pub connections: usize,
}

/// Seconds of the epoch.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn order<T>(said: Option<&Said<T>>, show: impl Fn(&T) -> String) -> Option<OrderStatus> {
    said.map(|said| {
        let by = said.by.to_string();
        OrderStatus { what: show(&said.what), since: seconds(said.since), by }
    })
}

/// One service, and where its clients come in.
pub(super) fn service(
    service: &Service,
    orders: &Orders,
    listening: &[(ServiceName, SocketAddr)],
) -> ServiceStatus {
    let (settings, metrics) = (&service.settings, &service.metrics);
    let listen = listening.iter().filter(|(name, _)| *name == settings.name);
    let mode_order = order(orders.mode(&settings.name), |mode| mode.name().to_owned());
    ServiceStatus {
        name: settings.name.to_string(),
        mode: service.mode().name().to_owned(),
        mode_order,
        protocol: settings.protocol.name().to_owned(),
        listen: listen.map(|(_, address)| *address).collect(),
        connections_total: metrics.connections.count(),
        retries_total: metrics.retries(),
        no_node_total: metrics.ends(End::NoNode),
        nodes: service.candidates().iter().map(|one| node(one, orders)).collect(),
    }
}

fn node(candidate: &Candidate, orders: &Orders) -> NodeStatus {
    let (node, metrics) = (&candidate.backend, &candidate.backend.metrics);
    let greeting = |share| metrics.pulse.greeting(share).map(millis);
    NodeStatus {
        name: node.name.to_string(),
        address: node.address,
        weight: candidate.weight,
        weight_order: order(orders.weight(&node.name), u32::to_string),
        state: if candidate.up { "up" } else { "down" }.to_owned(),
        state_since: seconds(metrics.since()),
        duty: orders.duty(&node.name).name().to_owned(),
        duty_order: order(orders.duty_said(&node.name), |duty: &Duty| duty.name().to_owned()),
        open: candidate.open,
        connections: node.active(),
        connects_per_second: tenths(metrics.pulse.rate()),
        greeting_p50_ms: greeting(0.5),
        greeting_p99_ms: greeting(0.99),
        connects_total: metrics.connects.count(),
        failures_total: metrics.failures(),
        bytes_to_node_total: metrics.bytes_to_node.count(),
        bytes_to_client_total: metrics.bytes_to_client.count(),
        last_failure: node.last_failure(),
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// What is left at nodes that are no longer in the file.
pub(super) fn leaving(backends: &Backends) -> Vec<NodeSessions> {
    let nodes = backends.leaving().into_iter().filter(|node| node.active() > 0);
    nodes.map(|node| node_sessions(&node)).collect()
}

/// All machines, or those of one name, in the order of the file. What is left at an address that
/// a machine had before counts too.
pub(super) fn machines(backends: &Backends, name: Option<&str>) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    let picture = backends.picture();
    for service in &picture.services {
        for candidate in service.candidates() {
            let node = node(candidate, &picture.orders);
            if name.is_some_and(|name| name != node.name) {
                continue;
            }
            let known = machines.iter().position(|machine| machine.name == node.name);
            let place = known.unwrap_or_else(|| {
                let (name, duty) = (node.name.clone(), node.duty.clone());
                let duty_order = node.duty_order.clone();
                let services = Vec::new();
                machines.push(Machine { name, duty, duty_order, connections: 0, services });
                machines.len() - 1
            });
            let machine = &mut machines[place];
            machine.connections += node.connections;
            let service = service.settings.name.to_string();
            machine.services.push(MachineService { service, node });
        }
    }
    for left in leaving(backends) {
        let machine = machines.iter_mut().find(|machine| machine.name == left.node);
        machine.into_iter().for_each(|machine| machine.connections += left.connections);
    }
    machines
}

/// The sessions of every node.
pub(super) fn sessions(picture: &Picture) -> Vec<NodeSessions> {
    let nodes = picture.services.iter().flat_map(|service| service.candidates());
    nodes.map(|candidate| node_sessions(&candidate.backend)).collect()
}

fn node_sessions(node: &Backend) -> NodeSessions {
    let (service, name) = (node.service.to_string(), node.name.to_string());
    NodeSessions { service, node: name, connections: node.active() }
}
