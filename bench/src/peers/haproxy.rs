//! HAProxy in TCP mode: two threads, least connections, health checks, as people run it.
//!
//! It does not know what stands behind. Called by `scenario::proxy` and `scenario::failover`.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::Peer;
use super::front::{Counts, Front, ServiceOf};
use crate::faults::Voice;
use crate::process::{Daemon, Sign, Step, doing, free_address};

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

/// How it is set before nodes that go wrong: all it has for a quick and quiet failover. Without
/// `on-marked-down shutdown-sessions`, which would cut those who only wait.
pub(crate) const TUNED: &str = "nbthread 2, leastconn, timeout connect 50ms, retries 3, option \
    redispatch 1, check inter 50ms fastinter 20ms downinter 100ms fall 1 rise 2, \
    timeout check 80ms, tcp-check that reads the greeting (TLS: sends a hello) and says \
    QUIT, observe layer4, error-limit 1, on-error mark-down";

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
         defaults\n  mode tcp\n{tcplog}  timeout connect 1s\n  timeout client 5m\n\
         \x20 timeout server 5m\n\
         \x20 retries 2\n  option redispatch 1\n{splice}\
         listen mail\n  bind {address}\n  balance leastconn\n\
         \x20 default-server check inter 200ms fall 2 rise 2 \
         on-marked-down shutdown-sessions{header}\n"
    );
    for (number, node) in nodes.iter().enumerate() {
        let _ = writeln!(text, "  server node{} {node}", number + 1);
    }
    text
}

/// Starts HAProxy before several services, set for failover.
pub(crate) async fn start_tuned(dir: &Path, services: &[ServiceOf]) -> Step<Front> {
    let (config, socket) = (dir.join("haproxy.cfg"), dir.join("s"));
    let mut text = format!(
        "global\n  maxconn 9900\n  fd-hard-limit 20000\n  nbthread 2\n\
         \x20 stats socket {} mode 600 level admin\n\
         defaults\n  mode tcp\n  timeout connect 50ms\n  timeout client 5m\n\
         \x20 timeout server 5m\n  timeout check 80ms\n  retries 3\n  option redispatch 1\n",
        socket.display()
    );
    for service in services {
        let (name, front) = (service.voice.name(), service.front);
        let _ = write!(
            text,
            "listen {name}\n  bind {front}\n  balance leastconn\n  option tcp-check\n{}\
             \x20 default-server check inter 50ms fastinter 20ms downinter 100ms fall 1 rise 2 \
             observe layer4 error-limit 1 on-error mark-down\n",
            greeting_check(service.voice)
        );
        for (number, node) in service.nodes.iter().enumerate() {
            let _ = writeln!(text, "  server node{} {node}", number + 1);
        }
    }
    doing(config.display(), fs::write(&config, text))?;
    let mut program = Command::new("/usr/sbin/haproxy");
    program.args(["-db", "-f"]).arg(&config);
    let mut daemon = Daemon::start("haproxy", dir, &program)?;
    for service in services {
        daemon.ready(Sign::Answer(service.front, service.voice.hello())).await?;
    }
    Ok(Front::new(daemon, Counts::Stats(socket)))
}

fn greeting_check(voice: Voice) -> String {
    let (greeting, farewell) = match voice {
        Voice::Smtp => ("^220 ", "QUIT"),
        Voice::Pop3 => (r"^\+OK ", "QUIT"),
        Voice::Imap => (r"^\* OK ", r"a\ LOGOUT"),
        Voice::Tls => {
            let hello: String = voice.hello().iter().map(|byte| format!("{byte:02x}")).collect();
            return format!("  tcp-check send-binary {hello}\n  tcp-check expect binary 160303\n");
        }
    };
    let greeting = greeting.replace('\\', r"\\").replace(' ', r"\ ");
    format!("  tcp-check expect rstring {greeting}\n  tcp-check send {farewell}\\r\\n\n")
}
