//! Can the balancer listen where it shall, and dial from where it shall? It tries, and lets go.
//! It does not know nodes. `checkup` calls it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use shared::checkup::{Checkup, Doors};
use shared::listener::{Wishes, listening_socket};

use super::key;
use crate::config::Config;

const DOORS: Doors = Doors {
    open_by: None,
    no_address: ", set `virtual_ip`, or let keepalived do it with `net.ipv4.ip_nonlocal_bind=1`",
    no_right: "run it by configs/systemd/balancer.service, which has \
               AmbientCapabilities=CAP_NET_BIND_SERVICE, or as root",
};

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
    let tried =
        listening_socket(address, Wishes { may_be_away: comes, ..Wishes::default() }).map(drop);
    let open_by = runs.then_some("the balancer that runs");
    Doors { open_by, ..DOORS }.tell(checkup, key, address, tried);
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
