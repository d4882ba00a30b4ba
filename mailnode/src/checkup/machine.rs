//! Does this machine allow what a node needs: open files, ports?
//! It does not know database or directories. `checkup` calls it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit};
use shared::checkup::Checkup;
use shared::listener::Listener;

use crate::config::NodeConfig;

/// Descriptors a node needs besides those of its clients.
const DESCRIPTORS_RESERVED: u64 = 200;

pub(super) fn descriptors(checkup: &mut Checkup, config: &NodeConfig) {
    let key = "limits.connections_max";
    let connections = config.limits.connections_max as u64;
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if connections + DESCRIPTORS_RESERVED > limit => checkup.fault(
            key,
            format!("{connections} connections need more than the {limit} open files allowed"),
            format!(
                "raise LimitNOFILE in the systemd unit, or lower this to {}",
                limit.saturating_sub(DESCRIPTORS_RESERVED)
            ),
        ),
        _ => checkup.good(key, format!("open files are enough for {connections} connections")),
    }
}

/// `runs`: this node is running, so that its ports are rightly taken.
pub(super) fn ports(checkup: &mut Checkup, config: &NodeConfig, runs: bool) {
    let lists = [
        ("listen.smtp", &config.smtp),
        ("listen.pop3", &config.pop3),
        ("listen.pop3s", &config.pop3s),
    ];
    if lists.iter().all(|(_, addresses)| addresses.is_empty()) {
        checkup.fault("listen", "no client is served anywhere", "give smtp or pop3 an address");
    }
    for (key, addresses) in lists {
        for (index, address) in addresses.iter().enumerate() {
            port(checkup, &format!("{key}[{index}]"), *address, runs);
        }
    }
    port(checkup, "admin", config.admin, runs);
}

fn port(checkup: &mut Checkup, key: &str, address: SocketAddr, runs: bool) {
    match Listener::bind(address) {
        Ok(_) => checkup.good(key, format!("{address} can be opened")),
        Err(error) if runs && error.kind() == ErrorKind::AddrInUse => {
            checkup.good(key, format!("{address} is open, by this node as it seems"));
        }
        Err(error) => {
            let (what, remedy) = closed(address, &error);
            checkup.fault(key, format!("{address} {what}"), remedy);
        }
    }
}

fn closed(address: SocketAddr, error: &io::Error) -> (String, String) {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => (
            "is taken by another program".to_owned(),
            format!("find it with `ss -ltnp 'sport = :{port}'` and stop it, or listen elsewhere"),
        ),
        ErrorKind::AddrNotAvailable => (
            "cannot be opened: this machine does not have that address".to_owned(),
            format!("put {ip} on an interface (`ip address`), or listen at 0.0.0.0"),
        ),
        ErrorKind::PermissionDenied => (
            "cannot be opened: ports below 1024 need a right".to_owned(),
            "give the systemd unit AmbientCapabilities=CAP_NET_BIND_SERVICE".to_owned(),
        ),
        _ => (format!("cannot be opened: {error}"), "listen at another address".to_owned()),
    }
}
