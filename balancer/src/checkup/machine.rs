//! Does this machine allow what the file asks for: open files, rights, interfaces?
//! It does not know nodes or ports. `checkup` calls it.

use std::path::Path;

use rustix::process::{Resource, getrlimit};
use shared::checkup::Checkup;

use crate::config::Config;
use crate::descriptors::Descriptors;
use crate::virtual_ip::rights;

/// Connections below which a site's balancer is too small, whatever the file says.
const CONNECTIONS_MIN: usize = 1_000;

/// The balancer raises its own limit to the hard one, so that is what counts.
pub(super) fn descriptors(checkup: &mut Checkup, config: &Config) {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let fit = Descriptors::of(limit).connections();
    let key = "limits.connections_max";
    let asked = config.limits.connections_max;
    let raise = "raise LimitNOFILE in the systemd unit (two for each connection and 256 more)";
    match asked {
        Some(asked) if asked > fit => checkup.fault(
            key,
            format!(
                "{asked} connections are more than the {limit} open files allowed carry: {fit}"
            ),
            format!("{raise}, or lower this to {fit}"),
        ),
        None if fit < CONNECTIONS_MIN => {
            checkup.fault(key, format!("{limit} open files allow {fit} connections only"), raise)
        }
        _ => checkup.good(key, format!("{limit} open files allow {fit} connections")),
    }
}

/// Whether the address could be put up; it is not, now.
pub(super) fn virtual_ip(checkup: &mut Checkup, config: &Config) {
    let Some(wish) = &config.virtual_ip else { return };
    let interface = &wish.interface;
    // An interface's name was checked: no `/` in it.
    if Path::new("/sys/class/net").join(interface).exists() {
        checkup.good("virtual_ip.interface", format!("{interface} is there"));
    } else {
        checkup.fault(
            "virtual_ip.interface",
            format!("this machine has no interface {interface}"),
            format!("name one of: {}", interfaces()),
        );
    }
    match rights::check() {
        Ok(()) => checkup.good("virtual_ip", "this user may put it up"),
        Err(sentence) => {
            let (what, remedy) = sentence.split_once("; remedy: ").unwrap_or((&sentence, ""));
            checkup.fault("virtual_ip", what, remedy);
        }
    }
    let meant = |address: std::net::IpAddr| address.is_unspecified() || address == wish.address;
    let mut doors = config.services.iter().flat_map(|service| &service.listen);
    if !doors.any(|door| meant(door.ip()) && door.is_ipv4() == wish.address.is_ipv4()) {
        checkup.fault(
            "virtual_ip.address",
            format!("no service listens at {}: clients that come there are refused", wish.address),
            format!("let a service listen at {} or at all addresses", wish.address),
        );
    }
}

fn interfaces() -> String {
    let all = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<_> =
        all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}
