//! A whole cluster of real processes for one test: N nodes and a balancer in a directory of their
//! own, on ports of their own, with their own database; all gone on drop.
//! It does not know what is tested; every file of `tests/` that needs a cluster starts it here.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::database::{Database, Kind};
use crate::metrics::Metrics;
use crate::node::{Node, services};
use crate::ports::Port;
use crate::process::Process;
use crate::program::{Finished, our_command, run};
use crate::user::{ALICE, BOB, User};
use crate::wait::{MOMENT, wait_until};
use crate::yaml::{self, DOMAIN};
use crate::{http, pop3_client};

/// What a test wants of its cluster beyond the usual.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes; they are named a, b, c, ...
    pub nodes: u8,
    /// The mode of the services `smtp` and `pop3`.
    pub mode: &'static str,
    /// More lines for the nodes' YAML.
    pub node_yaml: &'static str,
    /// The database; what is about SQLite's files alone says so.
    pub database: Kind,
}

impl Default for Plan {
    fn default() -> Self {
        Self { nodes: 3, mode: "round-robin", node_yaml: "", database: Kind::chosen() }
    }
}

/// The running cluster.
#[derive(Debug)]
pub struct Cluster {
    // Processes end before the directory goes: fields are dropped in this order.
    balancer: Process,
    nodes: Vec<Node>,
    smtp: Port,
    pop3: Port,
    pop3s: Port,
    admin: Port,
    database: Database,
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
        let directory = place();
        let database = Database::make(plan.database, directory.path());
        Self::built(plan, database, directory)
    }

    /// A cluster after a plan on a database that the test has made, ready.
    ///
    /// # Panics
    /// When anything of it does not start.
    pub fn on(database: Database, plan: &Plan) -> Self {
        Self::built(plan, database, place())
    }

    fn built(plan: &Plan, database: Database, directory: TempDir) -> Self {
        std::fs::create_dir(directory.path().join("temp")).expect("a directory in it");
        let config = directory.path().join("mailnode.yaml");
        let text = yaml::mailnode(directory.path(), &database.urls(), plan.node_yaml);
        std::fs::write(&config, text).expect("a file");
        yaml::make_certificate(&config);
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
        let [smtp, pop3, pop3s, admin] = std::array::from_fn(|_| Port::claim());
        let services = services(plan.mode, &nodes, [&smtp, &pop3, &pop3s].map(Port::number));
        let config = directory.path().join("balancer.yaml");
        std::fs::write(&config, yaml::balancer(admin.number(), &services, "")).expect("a file");
        let mut command = our_command("balancer");
        command.args(["run", "--config"]).arg(&config);
        let log = directory.path().join("balancer.log");
        let balancer = Process::start("balancer", &mut command, &log);
        let mut cluster = Self { balancer, nodes, smtp, pop3, pop3s, admin, database, directory };
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

    /// The balancer's port where TLS comes before POP3: any node.
    pub fn pop3s(&self) -> u16 {
        self.pop3s.number()
    }

    /// The certificate of all nodes, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.directory().join("certificate.pem")
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

    /// Asks the database: one line for each row, columns parted by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> Vec<String> {
        self.database.sql(statement)
    }

    /// The database it was set up on.
    pub fn database(&self) -> &Database {
        &self.database
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
                // The three services that all nodes share, and the node's own two.
                if !node.runs() || up == 5.0 {
                    return Ok(());
                }
                Err(format!("{} is up in {up} of 5 services", node.name))
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

fn place() -> TempDir {
    let directory = tempfile::Builder::new().prefix("mail-cluster-").tempdir();
    directory.expect("a directory for temporary files")
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
