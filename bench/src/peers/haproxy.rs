//! HAProxy in TCP mode: two threads, least connections, health checks, as people run it.
//!
//! It does not know what stands behind. Called by `scenario::proxy`.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Peer;
use crate::process::{Sign, Step, doing, free_address};

/// How it is set, for the line of a figure.
pub(crate) const SETTINGS: &str =
    "nbthread-2,leastconn,check-200ms-rise-2-fall-2,no-PROXY-header,no-log";

/// The same with what ours is shipped with.
pub(crate) const SHIPPED_SETTINGS: &str =
    "as-haproxy,send-proxy-v2,option-tcplog(a-line-per-connection,to-a-file)";

/// What it does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Besides {
    /// Nothing.
    Nothing,
    /// A PROXY v2 header for each node, a log line for each connection.
    HeaderAndLog,
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bulk {
    /// HAProxy's default: copied.
    Copy,
    /// `splice-request` and `splice-response`: 2.6 never splices with `splice-auto` here.
    Splice,
}

/// Starts HAProxy before the nodes.
pub(crate) async fn start(
    dir: &Path,
    nodes: &[SocketAddr],
    bulk: Bulk,
    besides: Besides,
) -> Step<Peer> {
    let address = free_address()?;
    let config = dir.join("haproxy.cfg");
    doing(config.display(), fs::write(&config, text(address, nodes, bulk, besides)))?;
    let mut program = Command::new("/usr/sbin/haproxy");
    program.args(["-db", "-f"]).arg(&config);
    Peer::start("haproxy", dir, &program, address, Sign::Greeting(address)).await
}

/// maxconn is what 20,000 open files allow: a proxied connection takes two, and where pipes are
/// used HAProxy keeps descriptors for them beside.
fn text(address: SocketAddr, nodes: &[SocketAddr], bulk: Bulk, besides: Besides) -> String {
    let (connections_max, splice) = match bulk {
        Bulk::Copy => (9_900, ""),
        Bulk::Splice => (5_000, "  option splice-request\n  option splice-response\n"),
    };
    let (log, tcplog, header) = match besides {
        Besides::Nothing => ("", "", ""),
        Besides::HeaderAndLog => (
            "  log stdout format raw local0\n",
            "  log global\n  option tcplog\n",
            " send-proxy-v2",
        ),
    };
    let mut text = format!(
        "global\n  maxconn {connections_max}\n  fd-hard-limit 20000\n  nbthread 2\n{log}\
         defaults\n  mode tcp\n{tcplog}  timeout connect 1s\n  timeout client 5m\n  timeout server 5m\n\
         \x20 retries 2\n  option redispatch 1\n{splice}\
         listen mail\n  bind {address}\n  balance leastconn\n\
         \x20 default-server check inter 200ms fall 2 rise 2 on-marked-down shutdown-sessions{header}\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "  server node{} {node}", number + 1);
    }
    text
}
