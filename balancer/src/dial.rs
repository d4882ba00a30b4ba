//! The begin of a connection to a node: from the next of our addresses that has a port left.
//! It does not know which node is chosen or what is said to it. `reach` calls it.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use shared::logging::Ration;

use crate::backends::Lease;
use crate::eventloop::{Core, Socket};
use crate::ports;

/// A machine that is out of ports is so for each connection: one line a second says enough.
static LINES: Ration = Ration::new(1, 1);

/// Begins to connect to the node of this lease. `reuse`: with a socket that has served another
/// client, if there is one; never from an address of `source`, which it would have to be bound to.
///
/// # Errors
/// It failed at once. `AddrNotAvailable`: no source has a port left, which is no fault of the node.
pub(crate) fn dial(lease: &mut Lease, core: &Rc<Core>, reuse: bool) -> io::Result<Socket> {
    let node = lease.backend().clone();
    let Some(sources) = node.sources() else {
        if ports::is_used_up(node.active()) {
            return Err(no_port(&node.name, None));
        }
        let again = reuse.then(|| Socket::connect_again(node.address, core));
        let anew = || Socket::connect(node.address, None, core);
        let socket = again.flatten().unwrap_or_else(anew);
        return socket.inspect_err(|error| {
            if error.kind() == io::ErrorKind::AddrNotAvailable {
                no_port(&node.name, None);
            }
        });
    };
    let mut last = None;
    for source in sources.in_turn().filter(|source| !source.is_used_up()) {
        match Socket::connect(node.address, Some(source.address), core) {
            Ok(socket) => {
                lease.set_port(source.take());
                return Ok(socket);
            }
            // No port is left here, or the address is not this machine's: the next one may do.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                last = Some(source.address);
            }
            Err(error) => return Err(error),
        }
    }
    Err(no_port(&node.name, last))
}

fn no_port(node: &str, source: Option<IpAddr>) -> io::Error {
    if let Some(hidden) = LINES.line() {
        let source = source.map(|source| source.to_string());
        tracing::warn!(node, source, hidden, "no local port is left, or `source` is not ours");
    }
    io::ErrorKind::AddrNotAvailable.into()
}
