//! A whole cluster of real processes for one test: N nodes and a balancer in a directory of their
//! own, on ports of their own, with their own database; all gone on drop.
//! It does not know what is tested; every file of `tests/` that needs a cluster starts it here.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::metrics::Metrics;
use crate::ports::Port;
use crate::process::Process;
use crate::program::{Finished, our_command, run};
use crate::wait::{MOMENT, wait_until};
use crate::yaml::{self, DOMAIN, Service};
use crate::{http, pop3_client};

/// Somebody with a mailbox.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// The whole address, which is also the login.
    pub address: &'static str,
    /// In the clear.
    pub password: &'static str,
}

/// The first user of every cluster.
pub const ALICE: User = User { address: "alice@example.test", password: "alice-example" };
/// The second one.
pub const BOB: User = User { address: "bob@example.test", password: "bob-example" };

/// What a test wants of its cluster beyond the usual.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes; they are named a, b, c, ...
    pub nodes: u8,
    /// The mode of the services `smtp` and `pop3`.
    pub mode: &'static str,
    /// More lines for the nodes' YAML.
    pub node_yaml: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: 3, mode: "round-robin", node_yaml: "" }
    }
}

/// A node: its ports stay the same from one start to the next.
#[derive(Debug)]
struct Node {
    name: String,
    smtp: Port,
    pop3: Port,
    admin: Port,
    /// Through these ports of the balancer one reaches this node and no other.
    smtp_alone: Port,
    pop3_alone: Port,
    process: Option<Process>,
}

/// The running cluster.
#[derive(Debug)]
pub struct Cluster {
    // Processes end before the directory goes: fields are dropped in this order.
    balancer: Process,
    nodes: Vec<Node>,
    smtp: Port,
    pop3: Port,
    admin: Port,
    directory: TempDir,
}

impl Cluster {
    /// A cluster of `nodes` nodes, ready.
    ///
    /// # Panics
    /// When anything of it does not start.
    pub fn start(nodes: u8) -> Self {
        Self::planned(&Plan { nodes, ..Plan::default() })
    }

    /// A cluster after a plan, ready.
    ///
    /// # Panics
    /// When anything of it does not start.
    pub fn planned(plan: &Plan) -> Self {
        let directory = tempfile::Builder::new().prefix("mail-cluster-").tempdir();
        let directory = directory.expect("a directory for temporary files");
        std::fs::create_dir(directory.path().join("temp")).expect("a directory in it");
        let config = directory.path().join("mailnode.yaml");
        std::fs::write(&config, yaml::mailnode(directory.path(), plan.node_yaml)).expect("a file");
        administer(&config, &["setup"], "").exits(0);
        administer(&config, &["domain", "add", DOMAIN], "").exits(0);
        for user in [ALICE, BOB] {
            administer(&config, &["user", "add", user.address], user.password).exits(0);
        }
        let mut nodes: Vec<_> = (0..plan.nodes).map(Node::named).collect();
        for node in &mut nodes {
            node.start(directory.path(), &[]);
        }
        nodes.iter_mut().for_each(Node::wait_ready);
        let (smtp, pop3, admin) = (Port::claim(), Port::claim(), Port::claim());
        let services = services(plan.mode, &nodes, smtp.number(), pop3.number());
        let config = directory.path().join("balancer.yaml");
        std::fs::write(&config, yaml::balancer(admin.number(), &services, "")).expect("a file");
        let mut command = our_command("balancer");
        command.args(["run", "--config"]).arg(&config);
        let log = directory.path().join("balancer.log");
        let balancer = Process::start("balancer", &mut command, &log);
        let mut cluster = Self { balancer, nodes, smtp, pop3, admin, directory };
        cluster.wait_balancer_ready();
        cluster
    }

    /// The balancer's SMTP port: any node.
    pub fn smtp(&self) -> u16 {
        self.smtp.number()
    }

    /// The balancer's POP3 port: any node.
    pub fn pop3(&self) -> u16 {
        self.pop3.number()
    }

    /// The balancer's SMTP port that leads to one node.
    pub fn smtp_of(&self, node: &str) -> u16 {
        self.node(node).smtp_alone.number()
    }

    /// The balancer's POP3 port that leads to one node.
    pub fn pop3_of(&self, node: &str) -> u16 {
        self.node(node).pop3_alone.number()
    }

    /// A node's own SMTP port, where a PROXY header is due.
    pub fn smtp_behind(&self, node: &str) -> u16 {
        self.node(node).smtp.number()
    }

    /// A node's admin port.
    pub fn admin_of(&self, node: &str) -> u16 {
        self.node(node).admin.number()
    }

    /// The balancer's admin port.
    pub fn admin(&self) -> u16 {
        self.admin.number()
    }

    /// The names of all nodes, in order.
    pub fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The cluster's directory: `mail.db`, `store/`, `temp/`, the YAML files and the logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The balancer's file.
    pub fn balancer_yaml(&self) -> PathBuf {
        self.directory().join("balancer.yaml")
    }

    /// The nodes' file.
    pub fn mailnode_yaml(&self) -> PathBuf {
        self.directory().join("mailnode.yaml")
    }

    /// What the balancer has logged.
    pub fn balancer_log(&self) -> String {
        self.balancer.log()
    }

    /// What a node has logged, since its first start.
    pub fn node_log(&self, node: &str) -> String {
        self.node(node).process.as_ref().expect("it was started").log()
    }

    /// The balancer's metrics now.
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.admin())
    }

    /// A node's metrics now.
    pub fn metrics_of(&self, node: &str) -> Metrics {
        Metrics::of(self.admin_of(node))
    }

    /// Replaces the balancer's file by rename, as editors do.
    ///
    /// # Panics
    /// When files cannot be written.
    pub fn edit_balancer_yaml(&self, edit: impl FnOnce(&str) -> String) {
        let path = self.balancer_yaml();
        let text = std::fs::read_to_string(&path).expect("the balancer's file");
        let new = path.with_extension("new");
        std::fs::write(&new, edit(&text)).expect("a file beside it");
        std::fs::rename(&new, &path).expect("a rename beside it");
    }

    /// The balancer's process.
    pub fn balancer_process(&mut self) -> &mut Process {
        &mut self.balancer
    }

    /// `kill -9` of one node, gone when this returns.
    pub fn kill_node(&mut self, node: &str) {
        self.node_mut(node).process.as_mut().expect("it was started").kill();
    }

    /// A node's process.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_process(&mut self, node: &str) -> &mut Process {
        self.node_mut(node).process.as_mut().expect("it was started")
    }

    /// Starts a node that was killed, and waits until the balancer sends to it again.
    pub fn start_node(&mut self, node: &str) {
        self.start_node_with(node, &[]);
    }

    /// As [`Self::start_node`], with more in its environment.
    pub fn start_node_with(&mut self, node: &str, environment: &[(&str, &str)]) {
        let directory = self.directory.path().to_path_buf();
        let node = self.node_mut(node);
        node.start(&directory, environment);
        node.wait_ready();
        self.wait_balancer_ready();
    }

    /// Runs `mailnode VERB... --config FILE` with something on standard input.
    pub fn mailnode(&self, verbs: &[&str], stdin: &str) -> Finished {
        administer(&self.mailnode_yaml(), verbs, stdin)
    }

    /// Asks the database, by Debian's `sqlite3` in read-only mode: one line for each row.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> Vec<String> {
        let mut command = Command::new("sqlite3");
        command.args(["-readonly", "-cmd", ".timeout 10000"]);
        command.arg(self.directory().join("mail.db")).arg(statement);
        run(&mut command, b"").exits(0).text().lines().map(str::to_owned).collect()
    }

    /// All messages of a user, read through the balancer.
    ///
    /// # Panics
    /// When anything is refused.
    #[track_caller]
    pub fn read_all(&self, user: User) -> Vec<Vec<u8>> {
        pop3_client::read_all(self.pop3(), user)
    }

    /// Waits until the balancer is ready and holds all nodes that run for healthy.
    pub fn wait_balancer_ready(&mut self) {
        let admin = self.admin();
        let Self { balancer, nodes, .. } = self;
        wait_until("the balancer sees its nodes", MOMENT, || {
            if let Some(status) = balancer.ended() {
                panic!("the balancer ended: {status}\n{}", balancer.log_tail());
            }
            is_ready(admin)?;
            let metrics = Metrics::of(admin);
            nodes.iter_mut().try_for_each(|node| {
                let up = metrics.sum("balancer_node_up", &[("node", &node.name)]);
                // Both services that all nodes share, and the node's own two.
                if !node.runs() || up == 4.0 {
                    return Ok(());
                }
                Err(format!("{} is up in {up} of 4 services", node.name))
            })
        });
    }

    fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("there is no node {name:?}"))
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("there is no node {name:?}"))
    }
}

impl Node {
    fn named(number: u8) -> Self {
        Self {
            name: char::from(b'a' + number).to_string(),
            smtp: Port::claim(),
            pop3: Port::claim(),
            admin: Port::claim(),
            smtp_alone: Port::claim(),
            pop3_alone: Port::claim(),
            process: None,
        }
    }

    fn start(&mut self, directory: &Path, environment: &[(&str, &str)]) {
        assert!(!self.runs(), "node {} runs already", self.name);
        let mut command = our_command("mailnode");
        command.args(["run", "--config"]).arg(directory.join("mailnode.yaml"));
        command.env("NODE", &self.name);
        for (name, port) in
            [("SMTP_PORT", &self.smtp), ("POP3_PORT", &self.pop3), ("ADMIN_PORT", &self.admin)]
        {
            command.env(name, port.number().to_string());
        }
        command.envs(environment.iter().copied());
        let log = directory.join(format!("node-{}.log", self.name));
        let name = format!("node {}", self.name);
        self.process = Some(Process::start(&name, &mut command, &log));
    }

    fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    fn wait_ready(&mut self) {
        let what = format!("node {} is ready", self.name);
        let admin = self.admin.number();
        let process = self.process.as_mut().expect("it was started");
        wait_until(&what, MOMENT, || {
            if let Some(status) = process.ended() {
                panic!("it ended: {status}\n{}", process.log_tail());
            }
            is_ready(admin)
        });
    }
}

/// Whether an admin port answers `/ready` with 200.
///
/// # Errors
/// What it answers in place of that.
pub fn is_ready(admin: u16) -> Result<(), String> {
    match http::get(admin, "/ready") {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("/ready says {} {}", answer.status, answer.body)),
        Err(error) => Err(format!("/ready: {error}")),
    }
}

/// Runs `mailnode VERB... --config FILE`.
pub fn administer(config: &Path, verbs: &[&str], stdin: &str) -> Finished {
    let mut command = our_command("mailnode");
    command.args(verbs).arg("--config").arg(config);
    run(&mut command, format!("{stdin}\n").as_bytes())
}

/// `smtp` and `pop3` over all nodes, and `smtp-a`, `pop3-a`, ... for each node alone.
fn services(mode: &str, nodes: &[Node], smtp: u16, pop3: u16) -> Vec<Service> {
    let service = |name: &str, port, protocol, nodes| Service {
        name: name.to_owned(),
        port,
        mode: mode.to_owned(),
        protocol,
        nodes,
    };
    let behind = |port: fn(&Node) -> &Port| {
        let pairs = nodes.iter().map(|node| (node.name.clone(), port(node).number()));
        pairs.collect::<Vec<_>>()
    };
    let (smtp_nodes, pop3_nodes) = (behind(|node| &node.smtp), behind(|node| &node.pop3));
    let mut all = vec![
        service("smtp", smtp, "smtp", smtp_nodes.clone()),
        service("pop3", pop3, "pop3", pop3_nodes.clone()),
    ];
    for (number, node) in nodes.iter().enumerate() {
        let (smtp, pop3) = (node.smtp_alone.number(), node.pop3_alone.number());
        let alone = |nodes: &[(String, u16)]| vec![nodes[number].clone()];
        all.push(service(&format!("smtp-{}", node.name), smtp, "smtp", alone(&smtp_nodes)));
        all.push(service(&format!("pop3-{}", node.name), pop3, "pop3", alone(&pop3_nodes)));
    }
    all
}
