//! What a failed dial says of a node, and what is said when a node goes up or down.
//! It does not know who dialed. `connection` and `probe` both come here.

use std::io;

use crate::backends::{Backend, Flip};
use crate::outcome::Cause;

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

/// Counts and logs that a node went up or down.
pub fn report_flip(node: &Backend, flip: Flip, reason: &str) {
    node.metrics.flipped(flip);
    let (service, name, address) = (&*node.service.0, &*node.name, node.address);
    match flip {
        Flip::Up => tracing::info!(service, node = name, %address, "node is up"),
        Flip::Down => tracing::warn!(service, node = name, %address, reason, "node is down"),
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
