//! One node of a test's cluster: its ports, its process, and the balancer's services that lead to
//! it. It does not know what is tested; `cluster` has several.

use std::path::Path;

use crate::cluster::is_ready;
use crate::ports::Port;
use crate::process::Process;
use crate::program::our_command;
use crate::wait::{MOMENT, wait_until};
use crate::yaml::Service;

/// The ports of a node as its YAML names them: `smtp`, `pop3`, `pop3s`, `admin`.
pub const PORT_NAMES: [&str; 4] = ["SMTP_PORT", "POP3_PORT", "POP3S_PORT", "ADMIN_PORT"];

/// A node: its ports stay the same from one start to the next.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) smtp: Port,
    pub(crate) pop3: Port,
    pop3s: Port,
    pub(crate) admin: Port,
    /// Through these ports of the balancer one reaches this node and no other.
    pub(crate) smtp_alone: Port,
    pub(crate) pop3_alone: Port,
    pub(crate) process: Option<Process>,
}

impl Node {
    pub(crate) fn named(number: u8) -> Self {
        Self {
            name: char::from(b'a' + number).to_string(),
            smtp: Port::claim(),
            pop3: Port::claim(),
            pop3s: Port::claim(),
            admin: Port::claim(),
            smtp_alone: Port::claim(),
            pop3_alone: Port::claim(),
            process: None,
        }
    }

    pub(crate) fn start(&mut self, directory: &Path, environment: &[(&str, &str)]) {
        assert!(!self.runs(), "node {} runs already", self.name);
        let mut command = our_command("mailnode");
        command.args(["run", "--config"]).arg(directory.join("mailnode.yaml"));
        command.env("NODE", &self.name);
        let ports = [&self.smtp, &self.pop3, &self.pop3s, &self.admin];
        for (name, port) in PORT_NAMES.into_iter().zip(ports) {
            command.env(name, port.number().to_string());
        }
        command.envs(environment.iter().copied());
        let log = directory.join(format!("node-{}.log", self.name));
        let name = format!("node {}", self.name);
        self.process = Some(Process::start(&name, &mut command, &log));
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    pub(crate) fn wait_ready(&mut self) {
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

/// `smtp`, `pop3` and `pop3s` over all nodes, and `smtp-a`, `pop3-a`, ... for each node alone.
pub(crate) fn services(mode: &str, nodes: &[Node], [smtp, pop3, pop3s]: [u16; 3]) -> Vec<Service> {
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
        service("pop3s", pop3s, "tls", behind(|node| &node.pop3s)),
    ];
    for (number, node) in nodes.iter().enumerate() {
        let (smtp, pop3) = (node.smtp_alone.number(), node.pop3_alone.number());
        let alone = |nodes: &[(String, u16)]| vec![nodes[number].clone()];
        all.push(service(&format!("smtp-{}", node.name), smtp, "smtp", alone(&smtp_nodes)));
        all.push(service(&format!("pop3-{}", node.name), pop3, "pop3", alone(&pop3_nodes)));
    }
    all
}
