//! What the admin port answers beyond metrics: questions under `/api/v1/`, orders, and whether we
//! are ready. It does not know HTTP (`shared::admin` does). `commands::run` gives it the state,
//! and the other commands ask and tell it.

mod orders;
mod status;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use shared::admin::{Answer, Desk, Question, Token};

use crate::connection::Front;
use crate::farewell::Farewell;
use crate::reload::Bell;
use crate::self_check::Verdict;
use crate::settings::ServiceName;
use crate::virtual_ip::board::Board;

pub use status::{
    ConfigStatus, Machine, MachineService, NodeSessions, NodeStatus, OrderStatus, ServiceStatus,
    Sessions, Status,
};

/// Where `balancer status` asks.
pub const STATUS_PATH: &str = "/api/v1/status";
/// Machines by name; orders to one go below it.
pub const NODES_PATH: &str = "/api/v1/nodes";
/// Services; orders to one go below it.
pub const SERVICES_PATH: &str = "/api/v1/services";
/// How many are inside, and where.
pub const SESSIONS_PATH: &str = "/api/v1/sessions";
/// The settings file is to be read now.
pub const RELOAD_PATH: &str = "/api/v1/reload";

/// What changes besides the picture.
#[derive(Debug, Default)]
struct State {
    stopping: bool,
    config: ConfigStatus,
    listening: Vec<(ServiceName, SocketAddr)>,
    token: Option<Token>,
}

/// Answers for a running balancer, and takes orders.
#[derive(Debug, Clone)]
pub struct StatusDesk {
    front: Arc<Front>,
    state: Arc<Mutex<State>>,
    virtual_ip: Board,
    self_check: Verdict,
    farewell: Option<Farewell>,
    reload: Option<Bell>,
}

impl StatusDesk {
    /// The file is good and in force.
    #[must_use]
    pub fn new(front: Arc<Front>, file: &Path) -> Self {
        let config = ConfigStatus { file: file.display().to_string(), ..ConfigStatus::default() };
        let state = State { config, ..State::default() };
        let (virtual_ip, self_check) = (Board::default(), Verdict::default());
        let state = Arc::new(Mutex::new(state));
        Self { front, state, virtual_ip, self_check, farewell: None, reload: None }
    }

    /// The same, and it knows of these.
    #[must_use]
    pub fn with(self, virtual_ip: Board, self_check: Verdict) -> Self {
        Self { virtual_ip, self_check, ..self }
    }

    /// The same, and these do what it is told.
    #[must_use]
    pub fn with_hands(self, farewell: Farewell, reload: Option<Bell>) -> Self {
        Self { farewell: Some(farewell), reload, ..self }
    }

    /// Where clients come in now.
    #[must_use]
    pub fn doors(&self) -> Vec<SocketAddr> {
        let state = self.state();
        let open = state.listening.iter().filter(|_| !state.stopping);
        open.map(|(_, address)| *address).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is let in any more.
    pub fn stops(&self) {
        self.state().stopping = true;
    }

    /// This has to be shown from now on.
    pub fn guarded_by(&self, token: Option<Token>) {
        self.state().token = token;
    }

    /// The file is in force, and clients come in here.
    pub fn in_force(&self, listening: Vec<(ServiceName, SocketAddr)>) {
        let mut state = self.state();
        state.listening = listening;
        state.config.valid = true;
        state.config.faults.clear();
    }

    /// The file has these faults; the old settings stay in force.
    pub fn refused(&self, faults: Vec<String>) {
        let mut state = self.state();
        state.config.valid = false;
        state.config.faults = faults;
    }

    /// All there is to know.
    #[must_use]
    pub fn status(&self) -> Status {
        let picture = self.front.backends.picture();
        let state = self.state();
        let (services, orders) = (picture.services.iter(), &picture.orders);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stopping: state.stopping,
            connections: self.front.admission.taken(),
            connections_max: self.front.admission.max(),
            config: state.config.clone(),
            virtual_ip: self.virtual_ip.status(),
            services: services.map(|one| status::service(one, orders, &state.listening)).collect(),
            leaving: status::leaving(&self.front.backends),
        }
    }

    fn sessions(&self) -> Sessions {
        Sessions {
            connections: self.front.admission.taken(),
            connections_max: self.front.admission.max(),
            nodes: status::sessions(&self.front.backends.picture()),
            leaving: status::leaving(&self.front.backends),
        }
    }

    fn asked(&self, path: &str) -> Option<Answer> {
        Some(match path {
            STATUS_PATH => json(200, &self.status()),
            NODES_PATH => json(200, &status::machines(&self.front.backends, None)),
            SERVICES_PATH => json(200, &self.status().services),
            SESSIONS_PATH => json(200, &self.sessions()),
            _ => return None,
        })
    }
}

impl Desk for StatusDesk {
    fn ready(&self) -> Result<(), String> {
        if self.state().stopping {
            return Err("stopping".to_owned());
        }
        if let Some(problem) = self.self_check.problem().or_else(|| self.virtual_ip.problem()) {
            return Err(problem);
        }
        let picture = self.front.backends.picture();
        let mut nodes = picture.services.iter().flat_map(|service| service.candidates());
        if nodes.any(|node| node.up && node.open) {
            Ok(())
        } else {
            Err("no node of any service is up".to_owned())
        }
    }

    fn token(&self) -> Option<Token> {
        self.state().token.clone()
    }

    fn answer(&self, question: Question<'_>) -> Option<Answer> {
        let asked = self.asked(question.path);
        match (question.method, asked) {
            ("GET" | "HEAD", Some(answer)) => Some(answer),
            (_, Some(_)) => Some(refusal(405, "this is asked with GET", &["GET"])),
            (_, None) => self.told(question),
        }
    }
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(json) => Answer::json(status, json + "\n"),
        Err(error) => Answer::text(500, &error.to_string()),
    }
}

/// What is wrong, and what is allowed.
fn refusal(status: u16, error: &str, allowed: &[&str]) -> Answer {
    json(status, &serde_json::json!({"error": error, "allowed": allowed}))
}
