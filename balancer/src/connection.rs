//! The whole life of one client connection: may it come in, which node, bytes both ways, an end.
//! It does not know how a node is chosen or how bytes are carried, and no settings file. The loop
//! that accepts (`doors`) starts one for each client.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use shared::listener::ConnectionPermit;
use shared::shutdown::Guest;

use crate::account::{Account, Carried};
use crate::admission::{Admission, Seat};
use crate::backends::{Backends, Lease, Service};
use crate::eventloop::{Received, Socket};
use crate::outcome::End;
use crate::reach::reach_a_node;
use crate::refusal::refusal;
use crate::relay::Relay;
use crate::self_check::OwnCalls;
use crate::verdict::report_reset;

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
    /// Its address and port: smaller than together, since those of IPv6 know more than is asked.
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    /// What counts it, given back with it: its place among what descriptors allow, and the guests.
    #[expect(dead_code, reason = "it is kept for its drop")]
    pub(crate) place: (ConnectionPermit, Guest),
}

impl Client {
    /// Where it comes from.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// A client that has a place and a node.
struct Open<'c> {
    // The seat and the lease live until the end, so open counts cannot drift.
    seat: Seat<'c>,
    lease: Lease,
    relay: Relay<'c>,
}

/// Serves one client from its first packet to its last; the same client is moved from node to node
/// until one has greeted it, and never afterwards.
///
/// What lives as long as the connection is small, since most connections are idle most of the
/// time: no `async fn` here (it would hold its arguments twice), and what opening needs is boxed
/// and given back before the long part begins.
#[allow(clippy::manual_async_fn, reason = "as `async` it is 72 bytes larger")]
pub(crate) fn carry(
    client: Client,
    service: Arc<Service>,
    front: Arc<Front>,
) -> impl Future<Output = ()> {
    async move {
        if front.own_calls.answers(client.address()) {
            return client.socket.reset();
        }
        let mut account = Account::open(service);
        let Some(Open { seat, lease, mut relay }) =
            Box::pin(open(&client, &front, &mut account)).await
        else {
            return;
        };
        let timeouts = &account.service().settings.timeouts;
        let end = relay.both_ways(timeouts, lease.backend()).await;
        if end == End::NodeReset && !relay.client_has_ended() {
            report_reset(&front.backends, lease.backend());
        }
        let carried = relay.carried();
        let is_cut = Box::pin(relay.finish(end, account.service().settings.reuse_sockets)).await;
        drop((seat, lease));
        account.close(client.address(), end, carried);
        if is_cut {
            client.socket.reset();
        }
    }
}

/// Finds the client a place and a node, or tells it that there is none.
async fn open<'c>(client: &'c Client, front: &'c Front, account: &mut Account) -> Option<Open<'c>> {
    let found = async {
        let seat = front.admission.admit(&client.ip)?;
        let (lease, relay) = reach_a_node(client, front, account).await?;
        Ok(Open { seat, lease, relay })
    };
    match found.await {
        Ok(open) => Some(open),
        Err(end) => {
            refuse(client, account, end).await;
            None
        }
    }
}

/// Says no in the words of the protocol, or with a reset where there are none; nothing to a client
/// that has left.
async fn refuse(client: &Client, account: &mut Account, end: End) {
    let service = account.close(client.address(), end, Carried::default());
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

    use shared::listener::ConnectionLimit;
    use shared::shutdown::Stop;

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
        let permit = ConnectionLimit::new(1).try_permit().expect("the first");
        let place = (permit, Stop::new().guest());
        let future =
            carry(Client { socket, ip: address.ip(), port: 1, place }, service, Arc::new(front));
        let bytes = size_of_val(&future);
        assert!(bytes <= 328, "{bytes} bytes for each connection");
    }
}
