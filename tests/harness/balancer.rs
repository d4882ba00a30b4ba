//! A balancer process alone, before whatever nodes a test has, in a directory of its own.
//! It does not know what the nodes are; tests of single faults start it.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::cluster::is_ready;
use crate::http;
use crate::metrics::Metrics;
use crate::ports::Port;
use crate::process::Process;
use crate::program::our_command;
use crate::wait::{MOMENT, wait_until};

/// The running balancer; its one service is named after its protocol.
#[derive(Debug)]
pub struct Balancer {
    process: Process,
    port: Port,
    admin: Port,
    directory: TempDir,
    protocol: &'static str,
}

impl Balancer {
    /// Starts one with a single service of this protocol. `settings` are more keys of the service,
    /// one a line, e.g. `mode: failover`; health is as in configs/balancer.yaml unless they say so.
    /// Nodes are named `n0`, `n1`, ...
    ///
    /// # Panics
    /// When it does not start.
    pub fn before(protocol: &'static str, settings: &str, nodes: &[u16]) -> Self {
        let directory = tempfile::Builder::new().prefix("balancer-").tempdir();
        let directory = directory.expect("a directory for temporary files");
        let (port, admin) = (Port::claim(), Port::claim());
        let path = directory.path().join("balancer.yaml");
        let text = yaml(protocol, settings, nodes, port.number(), admin.number());
        std::fs::write(&path, text).expect("a file");
        let mut command = our_command("balancer");
        command.args(["run", "--config"]).arg(&path);
        let log = directory.path().join("balancer.log");
        let process = Process::start("balancer", &mut command, &log);
        let mut balancer = Self { process, port, admin, directory, protocol };
        wait_until("the balancer listens", MOMENT, || {
            if let Some(status) = balancer.process.ended() {
                panic!("it ended: {status}\n{}", balancer.process.log_tail());
            }
            http::get(balancer.admin(), "/live").map(drop).map_err(|error| error.to_string())
        });
        balancer
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) {
        wait_until("the balancer is ready", MOMENT, || is_ready(self.admin()));
    }

    /// Where its clients come in.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its admin port.
    pub fn admin(&self) -> u16 {
        self.admin.number()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its file.
    pub fn yaml(&self) -> PathBuf {
        self.directory.path().join("balancer.yaml")
    }

    /// Gives it another list of nodes or other settings, in one step.
    ///
    /// # Panics
    /// When files cannot be written.
    pub fn rewrite(&self, settings: &str, nodes: &[u16]) {
        let text = yaml(self.protocol, settings, nodes, self.port(), self.admin());
        let new = self.yaml().with_extension("new");
        std::fs::write(&new, text).expect("a file beside it");
        std::fs::rename(&new, self.yaml()).expect("a rename beside it");
    }

    /// How many times a changed file was put in force.
    pub fn reloads(&self) -> f64 {
        Metrics::of(self.admin()).sum("balancer_config_reloads_total", &[("result", "good")])
    }

    /// Waits until so many were.
    pub fn wait_reloads(&self, count: f64) {
        wait_until(&format!("{count} files were put in force"), MOMENT, || {
            let seen = self.reloads();
            if seen >= count { Ok(()) } else { Err(format!("{seen} were")) }
        });
    }

    /// The sum of a node's metric now.
    pub fn of_node(&self, name: &str, node: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<_> = labels.iter().copied().chain([("node", node)]).collect();
        Metrics::of(self.admin()).sum(name, &labels)
    }

    /// The lines of its log in which a node is declared dead.
    ///
    /// # Panics
    /// When its metrics have counted another number of them.
    pub fn falls(&self) -> Vec<String> {
        let counted = Metrics::of(self.admin()).sum("balancer_node_flips_total", &[("to", "down")]);
        let told = || {
            let log = self.log();
            let lines = log.lines().filter(|line| line.contains("node is down"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        // The log goes out by a thread of its own.
        wait_until("the log tells what is counted", MOMENT, || match told() {
            told if told.len() as f64 == counted => Ok(told),
            told => Err(format!("{counted} counted, told are {told:?}")),
        })
    }

    /// Open connections by its own count.
    pub fn open(&self) -> f64 {
        Metrics::of(self.admin()).sum("balancer_service_connections", &[])
    }

    /// Waits until a node is up, or is not.
    pub fn wait_node(&self, node: &str, up: bool) {
        let wanted = if up { 1.0 } else { 0.0 };
        wait_until(&format!("{node}'s balancer_node_up is {wanted}"), MOMENT, || {
            let seen = self.of_node("balancer_node_up", node, &[]);
            if seen == wanted { Ok(()) } else { Err(format!("it is {seen}")) }
        });
    }
}

fn yaml(protocol: &str, settings: &str, nodes: &[u16], port: u16, admin: u16) -> String {
    let health = "health: {interval: 200ms, timeout: 100ms, rise: 2, fall: 2}";
    let health = if settings.contains("health:") { "" } else { health };
    let lines = settings.lines().chain([health]).filter(|line| !line.is_empty());
    let keys: String = lines.map(|line| format!("    {line}\n")).collect();
    let nodes = nodes.iter().enumerate().map(|(number, node)| {
        format!("      - {{name: n{number}, address: \"127.0.0.1:{node}\"}}\n")
    });
    format!(
        "admin: 127.0.0.1:{admin}\nlog: {{format: json, level: info}}\n\
         limits: {{connections_per_address_max: 100000}}\nservices:\n  - name: {protocol}\n    \
         listen: [\"127.0.0.1:{port}\"]\n    protocol: {protocol}\n{keys}    nodes:\n{}",
        nodes.collect::<String>()
    )
}
