//! Does this machine allow what a node needs: open files, ports?
//! It does not know database or directories. `checkup` calls it.

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit};
use shared::checkup::{Checkup, Doors};
use shared::listener::Listener;

use crate::config::NodeConfig;

/// Descriptors a node needs besides those of its clients.
const DESCRIPTORS_RESERVED: u64 = 200;
const DOORS: Doors = Doors {
    open_by: None,
    no_address: ", or listen at 0.0.0.0",
    no_right: "give the systemd unit AmbientCapabilities=CAP_NET_BIND_SERVICE",
};

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
    let open_by = runs.then_some("this node as it seems");
    Doors { open_by, ..DOORS }.tell(checkup, key, address, Listener::bind(address).map(drop));
}
