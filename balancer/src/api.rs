//! What the admin port answers beyond metrics: `/api/v1/status`, and whether we are ready.
//! It does not know HTTP (`shared::admin` does). `commands::run` gives it the state, and
//! `commands::status` reads the same types back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shared::admin::{Answer, Desk};

use crate::backends::{Candidate, Picture, Service};
use crate::connection::Front;
use crate::outcome::End;
use crate::self_check::Verdict;
use crate::settings::ServiceName;
use crate::virtual_ip::board::{Board, VirtualIpStatus};

/// Where `balancer status` asks.
pub const STATUS_PATH: &str = "/api/v1/status";

/// All there is to know of a balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// How a node is chosen.
    pub mode: String,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// `up` or `down`.
    pub state: String,
    /// Connections now.
    pub connections: usize,
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

/// What changes besides the picture.
#[derive(Debug, Default)]
struct State {
    stopping: bool,
    config: ConfigStatus,
    listening: Vec<(ServiceName, SocketAddr)>,
}

/// Answers for a running balancer.
#[derive(Debug, Clone)]
pub struct StatusDesk {
    front: Arc<Front>,
    state: Arc<Mutex<State>>,
    virtual_ip: Board,
    self_check: Verdict,
}

impl StatusDesk {
    /// The file is good and in force.
    #[must_use]
    pub fn new(front: Arc<Front>, file: &Path) -> Self {
        let config = ConfigStatus { file: file.display().to_string(), ..ConfigStatus::default() };
        let state = State { config, ..State::default() };
        let (virtual_ip, self_check) = (Board::default(), Verdict::default());
        Self { front, state: Arc::new(Mutex::new(state)), virtual_ip, self_check }
    }

    /// The same, and it knows of these.
    #[must_use]
    pub fn with(self, virtual_ip: Board, self_check: Verdict) -> Self {
        Self { virtual_ip, self_check, ..self }
    }

    /// Where clients come in now.
    #[must_use]
    pub fn doors(&self) -> Vec<SocketAddr> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state.listening.iter().filter(|_| !state.stopping);
        open.map(|(_, address)| *address).collect()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Nobody is let in any more.
    pub fn stops(&self) {
        self.change(|state| state.stopping = true);
    }

    /// The file is in force, and clients come in here.
    pub fn in_force(&self, listening: Vec<(ServiceName, SocketAddr)>) {
        self.change(|state| {
            state.listening = listening;
            state.config.valid = true;
            state.config.faults.clear();
        });
    }

    /// The file has these faults; the old settings stay in force.
    pub fn refused(&self, faults: Vec<String>) {
        self.change(|state| {
            state.config.valid = false;
            state.config.faults = faults;
        });
    }

    /// All there is to know.
    #[must_use]
    pub fn status(&self) -> Status {
        let picture = self.front.backends.picture();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let services = picture.services.iter();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stopping: state.stopping,
            connections: self.front.admission.taken(),
            connections_max: self.front.admission.max(),
            config: state.config.clone(),
            virtual_ip: self.virtual_ip.status(),
            services: services.map(|service| service_status(service, &state.listening)).collect(),
        }
    }
}

impl Desk for StatusDesk {
    fn ready(&self) -> Result<(), String> {
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).stopping {
            return Err("stopping".to_owned());
        }
        if let Some(problem) = self.self_check.problem().or_else(|| self.virtual_ip.problem()) {
            return Err(problem);
        }
        let picture = self.front.backends.picture();
        if any_up(&picture) { Ok(()) } else { Err("no node of any service is up".to_owned()) }
    }

    fn answer(&self, method: &str, path: &str, _body: &str) -> Option<Answer> {
        match (method, path) {
            ("GET", STATUS_PATH) => Some(match serde_json::to_string(&self.status()) {
                Ok(json) => Answer::json(200, json),
                Err(error) => Answer::text(500, &error.to_string()),
            }),
            (_, STATUS_PATH) => Some(Answer::text(405, "allowed: GET")),
            _ => None,
        }
    }
}

fn any_up(picture: &Picture) -> bool {
    picture.services.iter().flat_map(|service| service.candidates()).any(|one| one.up)
}

fn service_status(service: &Service, listening: &[(ServiceName, SocketAddr)]) -> ServiceStatus {
    let (settings, metrics) = (&service.settings, &service.metrics);
    let listen = listening.iter().filter(|(name, _)| *name == settings.name);
    ServiceStatus {
        name: settings.name.to_string(),
        mode: settings.mode.name().to_owned(),
        protocol: settings.protocol.name().to_owned(),
        listen: listen.map(|(_, address)| *address).collect(),
        connections_total: metrics.connections.count(),
        retries_total: metrics.retries(),
        no_node_total: metrics.ends(End::NoNode),
        nodes: service.candidates().iter().map(node_status).collect(),
    }
}

fn node_status(candidate: &Candidate) -> NodeStatus {
    let node = &candidate.backend;
    NodeStatus {
        name: node.name.to_string(),
        address: node.address,
        weight: candidate.weight,
        state: if candidate.up { "up" } else { "down" }.to_owned(),
        connections: node.active(),
        connects_total: node.metrics.connects.count(),
        failures_total: node.metrics.failures(),
        bytes_to_node_total: node.metrics.bytes_to_node.count(),
        bytes_to_client_total: node.metrics.bytes_to_client.count(),
        last_failure: node.last_failure(),
    }
}
