//! Our mail nodes: one alone, or several on one database and one store behind our balancer.
//!
//! It does not know the load. Called by `scenario::delivery`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;

use super::balancer::{self, Header};
use super::{Peer, our_program};
use crate::load::pop3::{self, Reader};
use crate::process::{Failure, Sign, Step, doing, free_address, output_of};

/// How one node is set, for the line of a figure.
pub(crate) const NODE_SETTINGS: &str =
    "1-mailnode,SQLite,local-store,log-level-warn,delivered=answered-250";

/// How the cluster is set, for the line of a figure.
pub(crate) const CLUSTER_SETTINGS: &str =
    "3-mailnodes,one-SQLite,one-store,balancer-least-connections-PROXY-v2,log-level-warn";

/// The password of every mailbox of the bench.
const PASSWORD: &str = "bench-example";

/// Nodes on one database and one store, and the way in.
pub(crate) struct Cluster {
    /// Before the nodes, where there are several: dropped first.
    balancer: Option<Peer>,
    nodes: Vec<Peer>,
    pop3: SocketAddr,
    mail: PathBuf,
}

impl Cluster {
    /// Starts `count` nodes in `dir`, which [`found`] has filled: one alone is spoken to directly
    /// and expects no PROXY header, several stand behind the balancer and expect one.
    pub(crate) async fn start(dir: &Path, count: usize) -> Step<Self> {
        let alone = count == 1;
        let config = write_config(dir, if alone { "[]" } else { "[127.0.0.1/32]" })?;
        let mut nodes = Vec::new();
        let mut pop3 = None;
        for number in 1..=count {
            let (smtp, reading, admin) = (free_address()?, free_address()?, free_address()?);
            let name = format!("node{number}");
            let mut program = Command::new(our_program("mailnode")?);
            program.args(["run", "--config"]).arg(&config);
            environment(&mut program, &name, smtp, reading, admin);
            nodes.push(Peer::start(&name, dir, &program, smtp, Sign::Admin(admin)).await?);
            pop3.get_or_insert(reading);
        }
        let addresses: Vec<SocketAddr> = nodes.iter().map(Peer::address).collect();
        let balancer = match alone {
            true => None,
            false => Some(balancer::start(dir, &addresses, Header::V2, "warn").await?),
        };
        let pop3 = pop3.ok_or_else(|| Failure("a cluster without nodes".to_owned()))?;
        Ok(Self { balancer, nodes, pop3, mail: dir.join("store/mail") })
    }

    /// Where mail goes in.
    pub(crate) fn address(&self) -> SocketAddr {
        self.balancer.as_ref().unwrap_or(&self.nodes[0]).address()
    }

    /// All its process groups.
    pub(crate) fn groups(&self) -> Vec<Pid> {
        self.nodes.iter().chain(&self.balancer).map(Peer::group).collect()
    }

    /// Message files in the store.
    pub(crate) fn files(&self) -> u64 {
        count_files(&self.mail)
    }

    /// Messages that the first node's POP3 shows in mailbox `number`.
    pub(crate) async fn messages(&self, number: u64) -> Step<u64> {
        // A node behind the balancer wants the header on every port, so we say it ourselves.
        let preface = match self.balancer {
            Some(_) => "PROXY TCP4 127.0.0.1 127.0.0.1 1024 110\r\n".to_owned(),
            None => String::new(),
        };
        let reader = Reader {
            user: "user{}@example.test".to_owned(),
            password: PASSWORD.to_owned(),
            mailboxes: number + 1,
            retrieve: 0,
            preface,
        };
        let read = pop3::session(self.pop3, &reader, number).await;
        read.map(|read| read.messages)
            .map_err(|fault| Failure(format!("POP3 of user{number}: {fault}")))
    }
}

/// Copies a founded directory, so that a second cluster need not hash the passwords again.
pub(crate) fn copy(from: &Path, to: &Path) -> Step<()> {
    // The source ends in a dot: what is in it goes into a directory that is there already.
    output_of(Command::new("cp").arg("-a").arg(from.join(".")).arg(to), "").map(|_| ())
}

/// Makes the database, the store and the mailboxes `user0@example.test` and on in `dir`.
pub(crate) fn found(dir: &Path, mailboxes: u64) -> Step<()> {
    for part in ["store", "temp"] {
        doing(part, fs::create_dir_all(dir.join(part)))?;
    }
    let config = write_config(dir, "[]")?;
    let program = our_program("mailnode")?;
    let run = |words: &[&str], input: &str| {
        let mut command = Command::new(&program);
        command.args(words).arg("--config").arg(&config);
        let place = free_address()?;
        environment(&mut command, "node1", place, place, place);
        output_of(&mut command, input)
    };
    run(&["setup"], "")?;
    run(&["domain", "add", "example.test"], "")?;
    let addresses: Vec<String> =
        (0..mailboxes).map(|number| format!("user{number}@example.test")).collect();
    let mut words = vec!["user", "add"];
    words.extend(addresses.iter().map(String::as_str));
    run(&words, &format!("{PASSWORD}\n"))?;
    Ok(())
}

fn environment(
    command: &mut Command,
    name: &str,
    smtp: SocketAddr,
    pop3: SocketAddr,
    admin: SocketAddr,
) {
    command.env("NODE", name);
    for (key, address) in [("SMTP_PORT", smtp), ("POP3_PORT", pop3), ("ADMIN_PORT", admin)] {
        command.env(key, address.port().to_string());
    }
}

/// One file for all nodes of a cluster. All senders come from one address: the limit per address
/// must let them in.
fn write_config(dir: &Path, proxies: &str) -> Step<PathBuf> {
    let config = dir.join("mailnode.yaml");
    let place = dir.display();
    let text = format!(
        "node: ${{NODE}}\nhostname: mx.example.test\nadmin: 127.0.0.1:${{ADMIN_PORT}}\n\
         listen: {{smtp: [\"127.0.0.1:${{SMTP_PORT}}\"], pop3: [\"127.0.0.1:${{POP3_PORT}}\"]}}\n\
         proxy_protocol_from: {proxies}\nplain_text_login: true\n\
         database: [\"sqlite://{place}/mail.db\"]\n\
         directories: {{temp: \"{place}/temp/${{NODE}}\", mail: \"{place}/store/mail\", \
         logs: \"{place}/store/logs\"}}\n\
         log: {{format: json, level: warn}}\n\
         limits: {{connections_per_address_max: 1000}}\n"
    );
    doing(config.display(), fs::write(&config, text))?;
    Ok(config)
}

/// Files under a directory, at any depth; what vanishes meanwhile is not there.
fn count_files(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            Ok(_) => 1,
            Err(_) => 0,
        })
        .sum()
}
