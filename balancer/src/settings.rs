//! What a balancer is told: services, nodes, times, limits, as checked values.
//! It does not know YAML (`config` does) or sockets. Everybody here reads it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How a node is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The node with the fewest connections for its weight.
    LeastConnections,
    /// In turn, by weight, in smooth order.
    RoundRobin,
    /// The first healthy one in the order of the file.
    Failover,
}

impl Mode {
    /// The word a user types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LeastConnections => "least-connections",
            Self::RoundRobin => "round-robin",
            Self::Failover => "failover",
        }
    }
}

/// What is spoken, as far as a balancer has to know: who speaks first, and how to say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The node greets first (RFC 5321 §3.1).
    Smtp,
    /// The node greets first (RFC 1939 §4).
    Pop3,
    /// The node greets first (RFC 9051 §7.1).
    Imap,
    /// The client's hello is first.
    Tls,
    /// Nobody knows.
    Tcp,
}

impl Protocol {
    /// The word a user types.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// Whether nothing the client says matters before the node has greeted: until then another
    /// node can be tried for the same client.
    #[must_use]
    pub fn node_greets_first(self) -> bool {
        matches!(self, Self::Smtp | Self::Pop3 | Self::Imap)
    }

    /// How long a connection may be silent where the file does not say.
    #[must_use]
    pub fn default_idle(self) -> Duration {
        let minutes = match self {
            // RFC 5321 §4.5.3.2: a server should wait 5 minutes, a client 10 for the end of DATA.
            Self::Smtp => 11,
            // RFC 1939 §3: an autologout timer of at least 10 minutes.
            Self::Pop3 => 11,
            // RFC 2177: IDLE is renewed every 29 minutes; an idle client must outlive that.
            Self::Imap | Self::Tls | Self::Tcp => 35,
        };
        Duration::from_secs(minutes * 60)
    }
}

/// Whether a node is told who the client is, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// The node sees us as its client.
    None,
    /// The line of version 1.
    V1,
    /// The bytes of version 2.
    V2,
}

/// How a node's health is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// From one look to the next (a tenth more or less, so that looks do not march in step).
    pub interval: Duration,
    /// From one visit to the next, where the node greets first: each is a line in its log.
    pub greeting_interval: Duration,
    /// A look that takes longer has failed.
    pub timeout: Duration,
    /// So many good looks in a row bring a node up.
    pub rise: u32,
    /// So many bad ones in a row take it down.
    pub fall: u32,
}

/// How long each part of a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To reach a node; then the next one is tried.
    pub connect: Duration,
    /// A second node is dialed too once the first takes longer than is usual with it, but never
    /// before this.
    pub connect_min: Duration,
    /// From there to its first byte, where the node greets first; then the next one is tried.
    pub greeting: Duration,
    /// What is learned to be usual may shorten that, but never below this.
    pub greeting_min: Duration,
    /// The same for the last node there is: it is left to wait, since nobody else is left.
    pub last_greeting: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// A peer whose kernel answers nothing for so long, though it is asked, has vanished.
    pub vanished: Duration,
}

/// A node as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique within its service.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of connections, 1 to 256.
    pub weight: u32,
}

/// A service as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Unique.
    pub name: ServiceName,
    /// Where clients come in.
    pub listen: Vec<SocketAddr>,
    /// How a node is chosen.
    pub mode: Mode,
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether nodes are told who the client is.
    pub proxy_protocol: ProxyProtocol,
    /// How a node's health is found out.
    pub health: Health,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What is done when a node goes down or comes back.
    pub failover: Failover,
    /// How many may be inside at once.
    pub limits: ServiceLimits,
    /// Addresses of ours that nodes are dialed from, in turn; empty: the system's choice.
    pub source: Vec<IpAddr>,
    /// A socket to a node whose connection has ended in order serves the next client.
    pub reuse_sockets: bool,
    /// At least one, in failover's order.
    pub nodes: Vec<Node>,
}

/// The name of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(pub Arc<str>);

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many may be inside at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all services; `None`: as many as descriptors allow.
    pub connections_max: Option<usize>,
    /// Connections of one client address (an IPv6 client is its /64).
    pub connections_per_address_max: usize,
    /// New connections of one client address in a minute; `None`: any number.
    pub connections_per_address_per_minute_max: Option<u32>,
}

/// What is done when a node goes down or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failover {
    /// Mode failover goes back to an earlier node as soon as it is up again.
    pub preempt: bool,
    /// A node that is up again gets at most this part of its fair share of new sessions ...
    pub return_percent: u32,
    /// ... rising to it over this time; zero: no limit.
    pub return_time: Duration,
    /// What becomes of the sessions of a node that is down.
    pub on_down: OnDown,
    /// How many of them are closed in a second.
    pub close_per_second: u32,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            preempt: true,
            return_percent: 200,
            return_time: Duration::from_secs(30),
            on_down: OnDown::Keep,
            close_per_second: 100,
        }
    }
}

/// What becomes of the sessions of a node that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// They may go on: what does not answer a new connection may well serve an old one.
    Keep,
    /// They are closed, so that their clients come again and meet another node.
    Close,
}

/// How many may be inside one service at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceLimits {
    /// Connections of the service; `None`: only the limit of all services.
    pub connections_max: Option<usize>,
    /// Connections of each of its nodes; `None`: any number.
    pub connections_per_node_max: Option<usize>,
}

/// An address that only the serving balancer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualIp {
    /// The address clients know.
    pub address: IpAddr,
    /// How many of its bits name its network.
    pub prefix: u8,
    /// The interface it is put on.
    pub interface: String,
}

impl VirtualIp {
    /// As the file has it: `192.0.2.25/24`.
    #[must_use]
    pub fn network(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}
