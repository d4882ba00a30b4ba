//! Can the balancer listen where it shall, and dial from where it shall? It tries, and lets go.
//! It does not know nodes. `checkup` calls it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use shared::checkup::Checkup;
use shared::listener::{Wishes, listening_socket};

use super::key;
use crate::config::Config;

/// Ports below this need a right (ip(7)).
const FIRST_FREE_PORT: u16 = 1024;

pub(super) fn look(checkup: &mut Checkup, config: &Config, runs: bool) {
    let virtual_ip = config.virtual_ip.as_ref().map(|virtual_ip| virtual_ip.address);
    if let Some(admin) = config.admin.address.socket_address() {
        door(checkup, "admin", admin, virtual_ip, runs);
    }
    for (index, service) in config.services.iter().enumerate() {
        for (place, address) in service.listen.iter().enumerate() {
            door(checkup, &key(index, &format!("listen[{place}]")), *address, virtual_ip, runs);
        }
        for (place, address) in service.source.iter().enumerate() {
            source(checkup, &key(index, &format!("source[{place}]")), *address, virtual_ip);
        }
    }
}

fn door(
    checkup: &mut Checkup,
    key: &str,
    address: SocketAddr,
    virtual_ip: Option<IpAddr>,
    runs: bool,
) {
    let comes = virtual_ip == Some(address.ip());
    match listening_socket(address, Wishes { may_be_away: comes, ..Wishes::default() }) {
        Ok(_) => checkup.good(key, format!("{address} can be opened")),
        Err(error) if runs && error.kind() == ErrorKind::AddrInUse => {
            checkup.good(key, format!("{address} is open, by the balancer that runs"));
        }
        Err(error) => {
            let (what, remedy) = closed(address, &error);
            checkup.fault(key, format!("{address} {what}"), remedy);
        }
    }
}

/// Why a door stays closed, and what opens it.
fn closed(address: SocketAddr, error: &io::Error) -> (String, String) {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => (
            "is taken by another program".to_owned(),
            format!("find it with `ss -ltnp 'sport = :{port}'` and stop it, or listen elsewhere"),
        ),
        ErrorKind::AddrNotAvailable => (
            "cannot be opened: this machine does not have that address".to_owned(),
            format!(
                "put {ip} on an interface (`ip address`), set `virtual_ip`, or let keepalived \
                     do it with `net.ipv4.ip_nonlocal_bind=1`"
            ),
        ),
        ErrorKind::PermissionDenied if port < FIRST_FREE_PORT => (
            "cannot be opened: ports below 1024 need a right".to_owned(),
            "run it by configs/systemd/balancer.service, which has \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, or as root"
                .to_owned(),
        ),
        _ => (format!("cannot be opened: {error}"), "listen at another address".to_owned()),
    }
}

fn source(checkup: &mut Checkup, key: &str, address: IpAddr, virtual_ip: Option<IpAddr>) {
    // Binding a datagram socket asks for the address alone, and disturbs nobody.
    match UdpSocket::bind((address, 0)) {
        Ok(_) => checkup.good(key, format!("{address} is this machine's")),
        Err(_) if virtual_ip == Some(address) => {
            checkup.good(key, format!("{address} comes with virtual_ip"));
        }
        Err(error) => checkup.fault(
            key,
            format!("nodes cannot be dialed from {address}: {error}"),
            format!("put {address} on an interface (`ip address add`), or take it off this list"),
        ),
    }
}
