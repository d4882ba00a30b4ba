//! What every connection of a node may use, and the door: who is let in, as whom.
//! It does not know protocols beyond their names; `run` builds it, the listeners call [`welcome`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use shared::address_limit::AddressLimit;
use shared::listener::Accepted;
use shared::proxy_header::Source;
use shared::shutdown::{Guest, Stop};

use crate::auth::Authority;
use crate::condition::Condition;
use crate::config::Limits;
use crate::delivery::Deliveries;
use crate::mail::Origin;
use crate::metrics::{self, Protocol};
use crate::pulse::Pulse;
use crate::spool::Temp;
use crate::store::{Holder, Store};
use crate::tls::Tls;
use crate::wire::{Wire, WireError};
use crate::{pop3, smtp};

/// One running node.
#[derive(Debug)]
pub struct Node {
    /// What SMTP sessions go by.
    pub smtp: smtp::session::Policy,
    /// What POP3 sessions go by.
    pub pop3: pop3::session::Policy,
    /// Limits of all connections.
    pub limits: Limits,
    /// From here, and only from here, a connection begins with a PROXY header.
    pub balancers: Vec<IpNet>,
    /// Connections per client address.
    pub addresses: AddressLimit,
    /// What is kept.
    pub store: Store,
    /// Who may log in.
    pub authority: Authority,
    /// How mail is taken.
    pub deliveries: Deliveries,
    /// Messages on their way.
    pub temp: Temp,
    /// How the node is.
    pub condition: Arc<Condition>,
    /// The certificate; `None`: nothing is encrypted here.
    pub tls: Option<Tls>,
    /// Who holds what this node's sessions hold.
    pub holder: Holder,
    /// Whether it still does.
    pub pulse: Arc<Pulse>,
    /// The wish to end.
    pub stop: Stop,
}

impl Node {
    /// After a client's wish for TLS, and its answer.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn start_tls(&self, wire: &mut Wire, protocol: Protocol) -> Result<(), WireError> {
        let Some(tls) = &self.tls else { return Err(WireError::Closed) };
        let begun = wire.start_tls(&tls.acceptor(), self.limits.tls_handshake_max).await;
        metrics::handshake(protocol, if begun.is_ok() { "done" } else { "failed" });
        begun
    }

    /// TLS before the first word.
    async fn begin_with_tls(
        &self,
        wire: &mut Wire,
        protocol: Protocol,
        probe: bool,
    ) -> Result<(), WireError> {
        let Some(tls) = &self.tls else { return Err(WireError::Closed) };
        let begun = wire.begin_with_tls(&tls.acceptor(), self.limits.tls_handshake_max).await;
        if !probe {
            metrics::handshake(protocol, if begun.is_ok() { "done" } else { "failed" });
        }
        begun
    }
}

/// The whole life of one client connection: who is it, is there room, then the protocol.
///
/// `guest` keeps a stop waiting until the client has left.
pub async fn welcome(accepted: Accepted, protocol: Protocol, guest: Guest, node: Arc<Node>) {
    let Accepted { stream, peer, permit: _permit } = accepted;
    let patience = match protocol {
        Protocol::Smtp => node.limits.smtp_patience,
        Protocol::Pop3 | Protocol::Pop3s => node.limits.pop3_patience,
    };
    let mut wire = Wire::new(stream, patience, node.stop.clone());
    let (probe, served) = match client(&mut wire, peer, protocol, &node).await {
        Ok(client) => (client.probe, serve(&mut wire, client, protocol, &node).await),
        Err(error) => (false, Err(error)),
    };
    metrics::session_ended(protocol, if probe { "probe" } else { end(&served) });
    if let Err(error) = served {
        tracing::debug!(%peer, protocol = protocol.name(), %error, "a connection ended early");
    }
    wire.close().await;
    drop(guest);
}

/// How a connection ended, in a word.
fn end(served: &Result<(), WireError>) -> &'static str {
    match served {
        Ok(()) => "orderly",
        Err(WireError::Closed) => "client_closed",
        Err(WireError::TooSlow) => "too_slow",
        Err(WireError::Stopping) => "stopping",
        Err(WireError::Broken(_)) => "broken",
        Err(WireError::ProxyHeader(_)) => "proxy_header",
        Err(WireError::Tls(_)) => "tls",
        Err(WireError::EndlessLine) => "endless_line",
    }
}

async fn serve(
    wire: &mut Wire,
    client: Client,
    protocol: Protocol,
    node: &Node,
) -> Result<(), WireError> {
    let Client { address, probe } = client;
    // Counted from here on: a balancer's probes are no clients.
    let _open = (!probe).then(|| metrics::connected(protocol));
    let room = node.addresses.admit(address);
    if protocol.begins_with_tls() {
        if room.is_none() && !probe {
            return Ok(()); // A handshake is dear, and a word before it would be none.
        }
        // A balancer that only looks in finds a server that waits for it to begin.
        node.begin_with_tls(wire, protocol, probe).await?;
    } else if room.is_none() && !probe {
        let refusal = match protocol {
            Protocol::Smtp => {
                smtp::reply::Reply::too_many_connections(&node.smtp.hostname).to_wire()
            }
            Protocol::Pop3 | Protocol::Pop3s => {
                pop3::reply::Reply::too_many_connections().to_wire()
            }
        };
        return wire.say(refusal.as_bytes()).await;
    }
    match protocol {
        Protocol::Smtp => {
            let origin = Origin { client: address, encrypted: false };
            smtp::serve(wire, origin, node).await
        }
        Protocol::Pop3 | Protocol::Pop3s => pop3::serve(wire, protocol, node).await,
    }
}

/// Who stands at the door.
#[derive(Debug, Clone, Copy)]
struct Client {
    address: IpAddr,
    /// A balancer of its own accord (PROXY LOCAL), to see whether somebody is here.
    probe: bool,
}

/// Who the client is: behind a balancer its PROXY header says so.
///
/// An address from such a header is never trusted more than any other.
async fn client(
    wire: &mut Wire,
    peer: SocketAddr,
    protocol: Protocol,
    node: &Node,
) -> Result<Client, WireError> {
    let peer = peer.ip().to_canonical();
    if !node.balancers.iter().any(|network| network.contains(&peer)) {
        return Ok(Client { address: peer, probe: false });
    }
    match wire.proxy_header().await {
        Ok(Source::Proxied { client, .. }) => {
            Ok(Client { address: client.ip().to_canonical(), probe: false })
        }
        Ok(Source::Local) => Ok(Client { address: peer, probe: true }),
        Err(WireError::ProxyHeader(what)) => {
            // The most common mistake of all: the balancer's `proxy_protocol` and the node's
            // `proxy_protocol_from` do not agree. Say it where it is looked for.
            tracing::warn!(
                %peer, protocol = protocol.name(), what,
                "no PROXY header from an address of proxy_protocol_from: is proxy_protocol set \
                 for this service in the balancer?"
            );
            Err(WireError::ProxyHeader(what))
        }
        Err(error) => Err(error),
    }
}
