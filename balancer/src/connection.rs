//! The whole life of one client connection: may it come in, which node, bytes both ways, an end.
//! It does not know how a node is chosen or how bytes are carried, and no settings file. The loop
//! that accepts (`doors`) starts one for each client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::proxy_header::{encode_v1, encode_v2};

use crate::account::{Account, Carried};
use crate::admission::{Admission, Seat};
use crate::backends::{Backends, Lease, Service, Tried};
use crate::eventloop::{Received, Socket};
use crate::greeting::refusal;
use crate::outcome::{Cause, End};
use crate::relay::Relay;
use crate::self_check::OwnCalls;
use crate::settings::ProxyProtocol;
use crate::verdict::{cause_of_dial, cause_of_silence, report_flip};

/// The last node there is gets at least this long to be reached: a lost SYN is sent again after
/// one second.
const LAST_CONNECT_MIN: Duration = Duration::from_secs(3);
/// How long a client that is refused has to take the words and leave.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);

/// What every connection uses.
#[derive(Debug)]
pub struct Front {
    /// Who may come in.
    pub admission: Admission,
    /// Which node.
    pub backends: Arc<Backends>,
    /// Which clients are ourselves, who ask whether a door answers.
    pub own_calls: Arc<OwnCalls>,
}

/// A client that has just been accepted.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its connection.
    pub(crate) socket: Socket,
    /// Its address.
    pub(crate) address: SocketAddr,
}

/// Why one attempt at one node came to nothing.
enum Miss {
    /// The node could not be used: another one may be.
    Node(Cause),
    /// The client is gone: nobody needs a node any more.
    ClientLeft,
}

/// A client that has a place and a node.
struct Open<'c> {
    // The seat and the lease live until the end, so open counts cannot drift.
    _seat: Seat,
    lease: Lease,
    relay: Relay<'c>,
}

/// Serves one client from its first packet to its last; the same client is moved from node to node
/// until one has greeted it, and never afterwards.
///
/// What lives as long as the connection is small, since most connections are idle most of the
/// time: no `async fn` here (it would hold its arguments twice), and what opening needs is boxed
/// and given back before the long part begins.
#[allow(clippy::manual_async_fn, reason = "an async fn is 72 bytes larger")]
pub(crate) fn carry(
    client: Client,
    service: Arc<Service>,
    front: Arc<Front>,
) -> impl Future<Output = ()> {
    async move {
        if front.own_calls.answers(client.address) {
            return client.socket.reset();
        }
        let mut account = Account::open(service);
        match Box::pin(open(&client, &front, &mut account)).await {
            Ok(mut open) => {
                let idle = account.service().settings.timeouts.idle;
                let end = open.relay.both_ways(idle, open.lease.backend()).await;
                let carried = open.relay.carried();
                if Box::pin(open.relay.finish(end)).await {
                    client.socket.reset();
                }
                account.close(client.address, end, carried);
            }
            Err(end) => Box::pin(refuse(client, account, end)).await,
        }
    }
}

/// Finds the client a place and a node.
async fn open<'c>(
    client: &'c Client,
    front: &Front,
    account: &mut Account,
) -> Result<Box<Open<'c>>, End> {
    let _seat = front.admission.admit(client.address.ip())?;
    let (lease, relay) = reach_a_node(client, front, account).await?;
    Ok(Box::new(Open { _seat, lease, relay }))
}

/// Tries one node after the other until one can be used. A node that is refused, silent or gone
/// costs the client a moment, not its connection.
async fn reach_a_node<'c>(
    client: &'c Client,
    front: &Front,
    account: &mut Account,
) -> Result<(Lease, Relay<'c>), End> {
    let service = account.service().clone();
    let mut tried = Tried::default();
    loop {
        // The newest picture each time: a node may have gone down while another was tried.
        let now = front.backends.service(&service.settings.name);
        let now = now.unwrap_or_else(|| service.clone());
        let Some(lease) = now.pick(&tried) else {
            return Err(if now.has_full(&tried) { End::RefusedNodes } else { End::NoNode });
        };
        if tried.count() == 0 && now.is_overfull() {
            return Err(End::RefusedService);
        }
        let is_last = now.untried(&tried) <= 1;
        if tried.count() > 0 {
            now.metrics.retried();
        }
        account.tries(lease.backend());
        match attempt(client, &now, &lease, is_last, account).await {
            Ok(relay) => return Ok((lease, relay)),
            Err(Miss::ClientLeft) => return Err(End::ClientLeft),
            Err(Miss::Node(cause)) => {
                blame(front, &lease, cause);
                tried.add(lease.backend());
            }
        }
    }
}

/// One node: reach it, tell it who the client is, and where it greets first wait until it has.
async fn attempt<'c>(
    client: &'c Client,
    service: &Service,
    lease: &Lease,
    is_last: bool,
    account: &mut Account,
) -> Result<Relay<'c>, Miss> {
    let (settings, node) = (&service.settings, lease.backend());
    let timeouts = &settings.timeouts;
    let greets = settings.protocol.node_greets_first();

    let patience = if is_last { timeouts.connect.max(LAST_CONNECT_MIN) } else { timeouts.connect };
    let began = Instant::now();
    let dialed = Socket::connect(node.address, client.socket.core());
    let socket = dialed.map_err(|error| Miss::Node(cause_of_dial(&error)))?;
    wait(client, greets, patience, Cause::Timeout, || socket.connected())
        .await?
        .map_err(|error| Miss::Node(cause_of_dial(&error)))?;
    node.metrics.connected(began.elapsed());
    account.dialed(began.elapsed());

    introduce(client, &socket, settings.proxy_protocol).map_err(Miss::Node)?;

    let mut relay = Relay::new(&client.socket, socket);
    if greets {
        let patience =
            if is_last { timeouts.last_greeting.max(timeouts.greeting) } else { timeouts.greeting };
        let began = Instant::now();
        wait(client, greets, patience, Cause::Silent, || relay.first_word())
            .await?
            .map_err(|error| Miss::Node(cause_of_silence(&error)))?;
        node.metrics.greeted(began.elapsed());
        account.greeted(began.elapsed());
    }
    Ok(relay)
}

/// Waits until `look` finds what it looks for; in vain if the client leaves or it takes too long.
async fn wait<T>(
    client: &Client,
    greets: bool,
    patience: Duration,
    too_late: Cause,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, Miss> {
    let core = client.socket.core();
    let found = core.until(core.now().after(patience), || match look() {
        Some(found) => Some(Ok(found)),
        None if client.socket.has_left(greets) => Some(Err(Miss::ClientLeft)),
        None => None,
    });
    found.await.unwrap_or(Err(Miss::Node(too_late)))
}

/// The PROXY header, in one write: some servers read it with one call.
fn introduce(client: &Client, node: &Socket, version: ProxyProtocol) -> Result<(), Cause> {
    let encode = match version {
        ProxyProtocol::None => return Ok(()),
        ProxyProtocol::V1 => encode_v1,
        ProxyProtocol::V2 => encode_v2,
    };
    let came_to = client.socket.local_address().map_err(|_| Cause::Local)?;
    let header = encode(client.address, came_to);
    match node.send(&header, false) {
        Ok(sent) if sent == header.len() => Ok(()),
        Ok(_) => Err(Cause::Local),
        Err(error) => Err(cause_of_silence(&error)),
    }
}

/// Counts a miss, and tells the node's judge of those that say something of the node's life.
fn blame(front: &Front, lease: &Lease, cause: Cause) {
    let node = lease.backend();
    node.metrics.failed(cause);
    if cause == Cause::Local {
        tracing::debug!(node = %node.name, "no way out: no port, descriptor or memory is left");
        return;
    }
    node.remember_failure(format!("a client's connection: {}", cause.name()));
    if !matches!(cause, Cause::Refused | Cause::Timeout | Cause::Unreachable) {
        return;
    }
    if let Some(flip) = front.backends.hear(node, false) {
        report_flip(node, flip, cause.name());
    }
}

/// Says no in the words of the protocol, or with a reset where there are none; nothing to a client
/// that has left.
async fn refuse(client: Client, account: Account, end: End) {
    let service = account.close(client.address, end, Carried::default());
    if end == End::ClientLeft {
        return;
    }
    let Some(words) = refusal(service.settings.protocol, end) else {
        return client.socket.reset();
    };
    if client.socket.send(words.as_bytes(), true).is_err() || client.socket.end().is_err() {
        return;
    }
    // A close while the client's own first bytes are unread would reset it, words and all.
    let core = client.socket.core();
    let heard_out = core.until(core.now().after(REFUSAL_TIMEOUT), || {
        let mut ignored = [0; 512];
        while client.socket.is_readable() {
            match client.socket.receive(&mut ignored) {
                Ok(Received::End | Received::Last(_)) | Err(_) => return Some(()),
                Ok(Received::Nothing) => return None,
                Ok(Received::Bytes(_)) => {}
            }
        }
        None
    });
    heard_out.await;
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::eventloop::Core;

    /// Most connections are idle most of the time: what one costs then is this and its sockets.
    #[test]
    fn a_connection_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("its address"));
        let core = Core::new().expect("an epoll");
        let socket = Socket::accepted(stream.expect("it listens").into(), core);
        let socket = socket.expect("it is registered");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/balancer.yaml");
        let config = crate::config::read(example.as_ref()).expect("it is good");
        let backends = Arc::new(Backends::default());
        backends.replace(config.services);
        let service = backends.picture().services[0].clone();
        let own_calls = Arc::default();
        let front = Front { admission: Admission::new(1, 1), backends, own_calls };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let future = carry(Client { socket, address }, service, Arc::new(front));
        let bytes = size_of_val(&future);
        assert!(bytes <= 400, "{bytes} bytes for each connection");
    }
}
