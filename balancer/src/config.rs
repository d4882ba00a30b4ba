//! The balancer's settings file, read and checked: `configs/balancer.yaml` shows every key.
//! It does not know YAML's syntax (`shared::config` does) or what is done with a setting.
//! `commands` and `reload` call it.

mod failover;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use shared::config::{Faults, Map, Place, Value, read_file};
use shared::listener::VANISHED;
use shared::logging::LogConfig;

use crate::admin_door::AdminDoor;
use crate::rate::PER_MINUTE_MAX;
use crate::settings::{
    Health, Limits, Mode, Node, Protocol, ProxyProtocol, Service, ServiceLimits, ServiceName,
    Timeouts, VirtualIp,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const CONNECTIONS_MAX: usize = 10_000_000;

/// A whole settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where `/metrics`, `/ready` and `status` are answered, and orders taken.
    pub admin: AdminDoor,
    /// At least one.
    pub services: Vec<Service>,
    /// How many may be inside at once.
    pub limits: Limits,
    /// How long those inside may stay when their node is taken away or the balancer stops.
    pub drain_timeout: Duration,
    /// How lines are logged.
    pub log: LogConfig,
    /// The address that only the serving balancer has, if it is ours to put up.
    pub virtual_ip: Option<VirtualIp>,
}

impl Config {
    /// How many nodes all services have together.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.services.iter().map(|service| service.nodes.len()).sum()
    }
}

/// Reads a settings file.
///
/// # Errors
/// Every fault of it at once.
pub fn read(path: &Path) -> Result<Config, Faults> {
    read_file(path, from_map)
}

/// Reads the settings out of the root of a file.
pub fn from_map(root: &mut Map<'_>) -> Option<Config> {
    let admin = AdminDoor::read(root);
    let log = LogConfig::read(root);
    let limits = limits(root);
    let drain_timeout = root.within("drain_timeout", 30 * SECOND, Duration::ZERO..=24 * HOUR);
    let virtual_ip = root.map("virtual_ip").and_then(virtual_ip);
    let admin_port = admin.as_ref().and_then(|admin| admin.address.socket_address());
    let services = services(root, admin_port);
    if services.is_empty() {
        root.fault("services", "missing; needed: at least one service");
    }
    Some(Config { admin: admin?, services, limits, drain_timeout, log, virtual_ip })
}

fn limits(root: &mut Map<'_>) -> Limits {
    let mut limits = Limits {
        connections_max: None,
        connections_per_address_max: 1000,
        connections_per_address_per_minute_max: None,
    };
    let Some(mut map) = root.map("limits") else { return limits };
    limits.connections_max = limit(&mut map, "connections_max");
    limits.connections_per_address_max =
        map.within("connections_per_address_max", 1000, 1..=CONNECTIONS_MAX);
    let key = "connections_per_address_per_minute_max";
    limits.connections_per_address_per_minute_max =
        map.has(key).then(|| map.within(key, 1, 1..=PER_MINUTE_MAX));
    limits
}

/// A limit that is off where it is not in the file.
fn limit(map: &mut Map<'_>, key: &'static str) -> Option<usize> {
    map.has(key).then(|| map.within(key, 1, 1..=CONNECTIONS_MAX))
}

fn service_limits(service: &mut Map<'_>) -> ServiceLimits {
    let Some(mut map) = service.map("limits") else { return ServiceLimits::default() };
    ServiceLimits {
        connections_max: limit(&mut map, "connections_max"),
        connections_per_node_max: limit(&mut map, "connections_per_node_max"),
    }
}

/// Where nodes are dialed from.
fn source(service: &mut Map<'_>) -> Vec<IpAddr> {
    let source: Vec<_> =
        service.list::<OwnAddress>("source").into_iter().map(|own| own.0).collect();
    for (index, address) in source.iter().enumerate() {
        if source[..index].contains(address) {
            let place = service.place(&format!("source[{index}]"));
            service.fault_at(&place, format!("`{address}` is there twice"));
        }
    }
    source
}

fn virtual_ip(mut map: Map<'_>) -> Option<VirtualIp> {
    let address = map.required::<HostAddress>("address");
    let interface = map.required::<Interface>("interface");
    let (HostAddress { address, prefix }, Interface(interface)) = (address?, interface?);
    Some(VirtualIp { address, prefix, interface })
}

/// What has been named so far, with its place, so that a second one of the kind is found.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    listen: Vec<(SocketAddr, String)>,
    nodes: Vec<(SocketAddr, Place)>,
}

fn services(root: &mut Map<'_>, admin: Option<SocketAddr>) -> Vec<Service> {
    let mut seen = Seen::default();
    seen.listen.extend(admin.map(|admin| (admin, "admin".to_owned())));
    let maps = root.maps("services");
    let services: Vec<_> = maps.into_iter().filter_map(|map| service(map, &mut seen)).collect();
    for (address, place) in &seen.nodes {
        if seen.listen.iter().any(|(listen, _)| reaches(*address, *listen)) {
            root.fault_at(place, format!("`{address}` is where this balancer itself listens"));
        }
    }
    services
}

fn service(mut map: Map<'_>, seen: &mut Seen) -> Option<Service> {
    let name = map.required::<Name>("name").map(|name| name.0);
    if let Some(name) = &name {
        if seen.names.contains(name) {
            map.fault("name", format!("`{name}` names two services; names are unique"));
        }
        seen.names.push(name.clone());
    }
    let label = name.clone().unwrap_or_else(|| format!("service {}", seen.names.len() + 1));
    let listen = listen(&mut map, &label, seen);
    let mode = map.or("mode", Mode::LeastConnections);
    let protocol = map.required::<Protocol>("protocol");
    let proxy_protocol = map.or("proxy_protocol", ProxyProtocol::None);
    let health = health(&mut map);
    let timeouts = timeouts(&mut map, protocol.unwrap_or(Protocol::Tcp), protocol.is_some());
    let (limits, source) = (service_limits(&mut map), source(&mut map));
    let failover = failover::read(&mut map);
    let reuse_sockets = map.or("reuse_sockets", true);
    let nodes = nodes(&mut map, seen);
    Some(Service {
        name: ServiceName(name?.into()),
        listen,
        mode,
        protocol: protocol?,
        proxy_protocol,
        health,
        timeouts,
        failover,
        limits,
        source,
        reuse_sockets,
        nodes,
    })
}

fn listen(map: &mut Map<'_>, service: &str, seen: &mut Seen) -> Vec<SocketAddr> {
    let listen = map.list::<SocketAddr>("listen");
    if listen.is_empty() {
        map.fault("listen", "needs at least one ADDRESS:PORT");
    }
    for (index, address) in listen.iter().enumerate() {
        if let Some((_, other)) = seen.listen.iter().find(|(other, _)| overlap(*address, *other)) {
            let place = map.place(&format!("listen[{index}]"));
            map.fault_at(&place, format!("`{address}` is taken by {other}"));
        }
        seen.listen.push((*address, service.to_owned()));
    }
    listen
}

/// Whether the kernel would refuse the second of two listeners. Port 0 is any free one.
pub(crate) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
    a.port() != 0 && a.port() == b.port() && same
}

/// Whether a node's address leads back to a listener of ours, as far as the file can tell.
fn reaches(node: SocketAddr, listen: SocketAddr) -> bool {
    let here = node.ip() == listen.ip() || (node.ip().is_loopback() && overlap(node, listen));
    here && node.port() == listen.port()
}

fn health(map: &mut Map<'_>) -> Health {
    let mut health = Health {
        interval: SECOND,
        greeting_interval: 10 * SECOND,
        timeout: SECOND / 2,
        rise: 2,
        fall: 2,
    };
    if let Some(mut map) = map.map("health") {
        health.interval = map.within("interval", health.interval, 10 * MILLISECOND..=HOUR);
        health.greeting_interval =
            map.within("greeting_interval", health.greeting_interval, 10 * MILLISECOND..=HOUR);
        health.timeout = map.within("timeout", health.timeout, MILLISECOND..=MINUTE);
        health.rise = map.within("rise", health.rise, 1..=100);
        health.fall = map.within("fall", health.fall, 1..=100);
    }
    health
}

fn timeouts(map: &mut Map<'_>, protocol: Protocol, known: bool) -> Timeouts {
    let mut timeouts = Timeouts {
        connect: SECOND / 2,
        connect_min: 20 * MILLISECOND,
        greeting: 3 * SECOND,
        greeting_min: 50 * MILLISECOND,
        last_greeting: MINUTE,
        idle: protocol.default_idle(),
        vanished: VANISHED,
    };
    let Some(mut map) = map.map("timeouts") else { return timeouts };
    for key in ["greeting", "greeting_min", "last_greeting"] {
        if known && protocol == Protocol::Tcp && map.has(key) {
            map.fault(key, "has no meaning with tcp: it is not known who speaks first");
        }
    }
    timeouts.connect = map.within("connect", timeouts.connect, MILLISECOND..=5 * MINUTE);
    timeouts.connect_min =
        map.within("connect_min", timeouts.connect_min, MILLISECOND..=5 * MINUTE);
    timeouts.greeting_min =
        map.within("greeting_min", timeouts.greeting_min, MILLISECOND..=10 * MINUTE);
    timeouts.greeting = map.within("greeting", timeouts.greeting, MILLISECOND..=10 * MINUTE);
    timeouts.last_greeting =
        map.within("last_greeting", timeouts.last_greeting, MILLISECOND..=10 * MINUTE);
    timeouts.idle = map.within("idle", timeouts.idle, 10 * MILLISECOND..=7 * 24 * HOUR);
    timeouts.vanished = map.within("vanished", timeouts.vanished, 2 * SECOND..=HOUR);
    timeouts
}

fn nodes(map: &mut Map<'_>, seen: &mut Seen) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let maps = map.maps("nodes");
    if maps.is_empty() {
        map.fault("nodes", "needs at least one node: - {name: node1, address: \"10.0.0.11:25\"}");
    }
    for mut map in maps {
        let name = map.required::<Name>("name").map(|name| name.0);
        let address = map.required::<SocketAddr>("address");
        let weight = map.within("weight", 1, 1..=256);
        let named = |name: &&String| nodes.iter().any(|node| *node.name == ***name);
        if let Some(name) = name.as_ref().filter(named) {
            let message = format!("`{name}` names two nodes; names are unique in a service");
            map.fault("name", message);
        }
        if let Some(address) = address {
            check_node_address(&mut map, address, &nodes);
            seen.nodes.push((address, map.place("address")));
        }
        if let (Some(name), Some(address)) = (name, address) {
            nodes.push(Node { name: name.into(), address, weight });
        }
    }
    nodes
}

fn check_node_address(map: &mut Map<'_>, address: SocketAddr, nodes: &[Node]) {
    if let Some(other) = nodes.iter().find(|node| node.address == address) {
        let other = other.name.clone();
        map.fault("address", format!("`{address}` is {other}'s already; addresses are unique"));
    }
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        let allowed = "allowed: the address and port of one machine";
        map.fault("address", format!("`{address}` cannot be connected to; {allowed}"));
    }
}

/// A name that suits a metric's label and a command line.
struct Name(String);

impl Value for Name {
    const ALLOWED: &'static str =
        "1 to 63 letters, digits and - _ . beginning with a letter or digit";

    fn parse(text: &str) -> Option<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=63).contains(&text.len()) && text.bytes().all(word);
        (fits && !text.starts_with(['-', '_', '.'])).then(|| Self(text.to_owned()))
    }
}

/// An address that this machine may have.
struct OwnAddress(IpAddr);

impl Value for OwnAddress {
    const ALLOWED: &'static str = "an address of this machine such as 10.0.0.5 or 2001:db8::5";

    fn parse(text: &str) -> Option<Self> {
        let address: IpAddr = text.parse().ok()?;
        (!address.is_unspecified() && !address.is_multicast()).then_some(Self(address))
    }
}

/// An address of one machine, and its network.
struct HostAddress {
    address: IpAddr,
    prefix: u8,
}

impl Value for HostAddress {
    const ALLOWED: &'static str = "the address of one machine with the length of its network's \
                                   prefix, such as 192.0.2.25/24 or 2001:db8::25/64";

    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let of_one = !address.is_unspecified() && !address.is_multicast();
        let fits = match address {
            IpAddr::V4(address) => {
                let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or_default();
                let host = u32::from(address) & hosts;
                // The first and the last address of a network are nobody's (RFC 1122 §3.2.1.3).
                let nobody = prefix < 31 && (host == 0 || host == hosts);
                prefix <= 32 && !nobody && address != Ipv4Addr::BROADCAST
            }
            IpAddr::V6(_) => prefix <= 128,
        };
        (of_one && fits && prefix > 0).then_some(Self { address, prefix })
    }
}

/// The name of a network interface, as the kernel would take it.
struct Interface(String);

impl Value for Interface {
    const ALLOWED: &'static str = "the name of a network interface such as eth0 (`ip link`)";

    fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        let good = (1..=15).contains(&text.len()) && text.chars().all(fits);
        (good && text != "." && text != "..").then(|| Self(text.to_owned()))
    }
}

impl Value for Mode {
    const ALLOWED: &'static str = "least-connections, round-robin, failover";

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::LeastConnections, Self::RoundRobin, Self::Failover];
        all.into_iter().find(|mode| mode.name() == text)
    }
}

impl Value for Protocol {
    const ALLOWED: &'static str = "smtp, pop3, imap, tls, tcp";

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Smtp, Self::Pop3, Self::Imap, Self::Tls, Self::Tcp];
        all.into_iter().find(|protocol| protocol.name() == text)
    }
}

impl Value for ProxyProtocol {
    const ALLOWED: &'static str = "none, v1, v2";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "v1" => Some(Self::V1),
            "v2" => Some(Self::V2),
            _ => None,
        }
    }
}
