//! Our balancer, set as like HAProxy's configuration as its own allows.
//!
//! It does not know what stands behind. Called by both scenarios.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::front::{Counts, Front, ServiceOf};
use super::{Peer, our_program};
use crate::process::{Daemon, Sign, Step, doing, free_address};

/// How it is set before the greeting nodes, for the line of a figure.
pub(crate) const SETTINGS: &str =
    "least-connections,check-200ms-rise-2-fall-2,no-PROXY-header,log-level-warn";

/// The same as it is shipped: a PROXY header for each node, a log line for each connection.
pub(crate) const SHIPPED_SETTINGS: &str =
    "as-ours,PROXY-v2,log-level-info(a-line-per-connection,to-a-file)";

/// How it is set before nodes that go wrong.
pub(crate) const SHIPPED: &str = "least-connections, health 200 ms / 100 ms / rise 2 / fall 2 as \
    in configs/balancer.yaml, every other setting its default, no PROXY header";

/// Whether the nodes are told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// No PROXY header, as for HAProxy and nginx here.
    None,
    /// PROXY v2, as a cluster runs.
    V2,
}

/// Starts the balancer before the nodes. `level`: of its log, which goes to a file.
pub(crate) async fn start(
    dir: &Path,
    nodes: &[SocketAddr],
    header: Header,
    level: &str,
) -> Step<Peer> {
    let address = free_address()?;
    let config = dir.join("balancer.yaml");
    doing(
        config.display(),
        fs::write(&config, text(address, free_address()?, nodes, header, level)),
    )?;
    let mut program = Command::new(our_program("balancer")?);
    program.args(["run", "--config"]).arg(&config);
    Peer::start("balancer", dir, &program, address, Sign::Greeting(address)).await
}

fn text(
    address: SocketAddr,
    admin: SocketAddr,
    nodes: &[SocketAddr],
    header: Header,
    level: &str,
) -> String {
    let header = match header {
        Header::None => "none",
        Header::V2 => "v2",
    };
    let mut text = format!(
        "admin: {admin}\nlog: {{format: json, level: {level}}}\n\
         limits: {{connections_per_address_max: 100000}}\nservices:\n  - name: smtp\n\
         \x20   listen: [\"{address}\"]\n    mode: least-connections\n    protocol: smtp\n\
         \x20   proxy_protocol: {header}\n    timeouts: {{connect: 1s, idle: 5m}}\n\
         \x20   health: {{interval: 200ms, timeout: 100ms, rise: 2, fall: 2}}\n    nodes:\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "      - {{name: node{}, address: \"{node}\"}}", number + 1);
    }
    text
}

/// Starts the balancer before several services, set as it is shipped.
pub(crate) async fn start_as_shipped(dir: &Path, services: &[ServiceOf]) -> Step<Front> {
    let (admin, config) = (free_address()?, dir.join("balancer.yaml"));
    let mut text = format!(
        "admin: {admin}\nlog: {{format: json, level: warn}}\ndrain_timeout: 100ms\n\
         limits: {{connections_per_address_max: 100000}}\nservices:\n"
    );
    for service in services {
        let (name, front) = (service.voice.name(), service.front);
        let _ = write!(
            text,
            "  - name: {name}\n    listen: [\"{front}\"]\n    mode: least-connections\n    \
             protocol: {name}\n    \
             health: {{interval: 200ms, timeout: 100ms, rise: 2, fall: 2}}\n    nodes:\n"
        );
        for (number, node) in service.nodes.iter().enumerate() {
            let _ = writeln!(text, "      - {{name: node{}, address: \"{node}\"}}", number + 1);
        }
    }
    doing(config.display(), fs::write(&config, text))?;
    let mut program = Command::new(our_program("balancer")?);
    program.args(["run", "--config"]).arg(&config);
    let mut daemon = Daemon::start("balancer", dir, &program)?;
    for service in services {
        daemon.ready(Sign::Answer(service.front, service.voice.hello())).await?;
    }
    Ok(Front::new(daemon, Counts::Metrics(admin)))
}
