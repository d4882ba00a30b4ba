//! What a failed dial says of a node, and what is said when a node goes up or down.
//! It does not know who dialed. `connection` and `probe` both come here.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::backends::{Backend, Backends, Flip, Service};
use crate::outcome::Cause;
use crate::settings::ProxyProtocol;

/// What a dial that failed says. Only what can come from the other machine is held against it;
/// anything unknown is our own trouble (no descriptor, no port, no route), and a node is never
/// taken down for that.
#[must_use]
pub fn cause_of_dial(error: &io::Error) -> Cause {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    match error.kind() {
        ConnectionRefused => Cause::Refused,
        io::ErrorKind::TimedOut => Cause::Timeout,
        io::ErrorKind::HostUnreachable => Cause::Unreachable,
        ConnectionReset | ConnectionAborted | io::ErrorKind::BrokenPipe => Cause::Reset,
        _ => Cause::Local,
    }
}

/// What it says when the connection stood and ended before a word.
#[must_use]
pub fn cause_of_silence(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Closed,
        _ => cause_of_dial(error),
    }
}

/// A node hangs up on one client after the other before it has said a word: most often it and we
/// do not agree on the PROXY header. Said once in a while.
pub fn suspect_proxy_header(service: Option<&Service>, node: &Backend) {
    let Some(service) = service else { return };
    if !node.may_be_explained(Instant::now()) {
        return;
    }
    let cause = match service.settings.proxy_protocol {
        ProxyProtocol::None => {
            "it may expect a PROXY header (proxy_protocol: v1 or v2 here), or allow no connection \
             from this machine"
        }
        ProxyProtocol::V1 | ProxyProtocol::V2 => {
            "it may not expect a PROXY header, not one of this version, or not from this machine \
             (its proxy_protocol_from, haproxy_trusted_networks, or the like)"
        }
    };
    let (service, node, address) = (&*node.service.0, &*node.name, node.address);
    tracing::warn!(
        service, node, %address, cause,
        "node closes each connection before its first word"
    );
}

/// Counts and logs that a node went up or down, and that a service has none left or one again.
pub fn report_flip(backends: &Backends, node: &Backend, flip: Flip, reason: &str) {
    node.metrics.flipped(flip);
    node.set_known_dead(flip == Flip::Down && reason == Cause::Unreachable.name());
    let (service, name, address) = (&*node.service.0, &*node.name, node.address);
    match flip {
        Flip::Up => tracing::info!(service, node = name, %address, "node is up"),
        Flip::Down => tracing::warn!(service, node = name, %address, reason, "node is down"),
    }
    let Some(service_now) = backends.service(&node.service) else { return };
    let none_up = !service_now.candidates().iter().any(|one| one.up);
    if service_now.metrics.failing_open(none_up) {
        tracing::error!(
            service,
            "no node of this service is up: all are tried for each client; if they are well, it \
             is this machine or its network that is not"
        );
    }
}

/// A node has reset a session in the middle: one is nothing, a burst is its death.
pub fn report_reset(backends: &Backends, node: &Arc<Backend>) {
    if let Some(flip) = backends.hear_of_reset(node, Instant::now()) {
        node.remember_failure("it reset many sessions at once".to_owned());
        report_flip(backends, node, flip, "resets");
        node.reach_asked.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_from_the_other_machine_is_held_against_it() {
        let named = |number| cause_of_dial(&io::Error::from_raw_os_error(number)).name();
        // ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ECONNRESET, EPIPE
        for (number, name) in [
            (111, "refused"),
            (110, "timeout"),
            (113, "unreachable"),
            (104, "reset"),
            (32, "reset"),
        ] {
            assert_eq!(named(number), name);
        }
        // EADDRNOTAVAIL, EMFILE, ENFILE, ENETUNREACH, ENOBUFS, ENOMEM, EPERM, EACCES
        for number in [99, 24, 23, 101, 105, 12, 1, 13] {
            assert_eq!(named(number), "local", "of {number}");
        }
    }
}
