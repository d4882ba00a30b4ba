//! A hundred local ports and two source addresses: what happens when the first one, and then both,
//! have none left? It does not know how ports are counted; the network is the test's own.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::callers::{self, call};
use harness::{Balancer, FakeNode, Loopback, MOMENT, ReadSome, hold_for, wait_until};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const PORTS: usize = 100;
const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// Ports that somebody else has bound: nobody can dial from them, whatever the address, and the
/// balancer cannot know of them.
const FOREIGN: u16 = 3;
/// The balancer's calls to its own door, and a client's that ends, have a port for a moment.
const STRAY: usize = 5;

/// A connection from an address of ours.
fn from(address: SocketAddr, port: u16) -> TcpStream {
    let made = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&made, &address).expect("an address of this machine");
    connect(&made, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("it listens");
    let stream = TcpStream::from(made);
    stream.set_read_timeout(Some(MOMENT)).expect("an option");
    stream
}

/// A client with an address of its own, so that clients use up no port that is counted here.
fn client(balancer: &Balancer, number: usize) -> (TcpStream, String) {
    let [high, low] = u16::try_from(number).expect("few").to_be_bytes();
    let mut stream = from(SocketAddr::from(([127, 1, high, low], 30_000)), balancer.port());
    let mut first = [0; 128];
    let length = stream.read_some(&mut first).expect("words");
    (stream, String::from_utf8_lossy(&first[..length]).into_owned())
}

fn free(balancer: &Balancer, source: Ipv4Addr) -> f64 {
    let labels = [("source", &*source.to_string())];
    balancer.of_node("balancer_node_free_ports", "n0", &labels)
}

fn wait_free(balancer: &Balancer, wanted: [f64; 2]) {
    wait_until(&format!("the gauges tell {wanted:?}"), MOMENT, || {
        let seen = SOURCES.map(|source| free(balancer, source));
        if seen == wanted { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

#[test]
fn the_next_source_is_used_then_clients_are_refused_and_nobody_else_is_blamed() {
    let _loopback = Loopback::enter();
    std::fs::write(RANGE_FILE, "40000 40099").expect("this network's own range");
    let peers = Arc::<Mutex<Vec<SocketAddr>>>::default();
    let seen = peers.clone();
    let node = FakeNode::start(move |mut stream| {
        let peer = stream.peer_addr().expect("a peer");
        seen.lock().expect("no panic").push(peer);
        if stream.write_all(b"220 node\r\n").is_ok() {
            let _ = stream.read_some(&mut [0; 64]);
        }
    });
    let settings = format!("source: [{}, {}]", SOURCES[0], SOURCES[1]);
    let mut balancer = Balancer::before("smtp", &settings, &[node.port()]);
    wait_free(&balancer, [100.0, 100.0]);
    let own = |number| SocketAddr::from((SOURCES[0], 40_000 + number));
    let _foreign: Vec<_> = (0..FOREIGN).map(|number| from(own(number), node.port())).collect();

    // Clients come until there is no port, and some more.
    let room = SOURCES.len() * (PORTS - usize::from(FOREIGN));
    let all = (0..room + 20).map(|number| client(&balancer, number));
    let (mut held, refused): (Vec<_>, Vec<_>) = all.partition(|(_, first)| first == "220 node\r\n");
    assert!((room - STRAY..=room).contains(&held.len()), "{} of {room} were served", held.len());
    assert!(refused.iter().all(|(_, first)| first.starts_with("421 4.3.2 ")), "{refused:?}");
    let count = |source: Ipv4Addr| {
        let peers = peers.lock().expect("no panic");
        peers.iter().filter(|peer| peer.ip() == source).count()
    };
    let used = SOURCES.map(count);
    assert!(used.iter().all(|used| *used >= PORTS - usize::from(FOREIGN) - STRAY), "{used:?}");
    wait_until("the gauges tell that next to nothing is free", MOMENT, || {
        let seen = SOURCES.map(|source| free(&balancer, source));
        let few = 0.0..=f64::from(FOREIGN) + STRAY as f64;
        if seen.iter().all(|free| few.contains(free)) { Ok(()) } else { Err(format!("{seen:?}")) }
    });

    // Nothing is left: the words of the protocol, at once, and no spinning.
    let before = balancer.process().cpu();
    let more: Vec<_> = (0..20).map(|number| client(&balancer, 2 * room + number)).collect();
    let refused = more.iter().filter(|(_, first)| first.starts_with("421 4.3.2 ")).count();
    assert!(refused >= more.len() - STRAY, "{more:?}");
    hold_for(Duration::from_secs(2));
    let cpu = balancer.process().cpu() - before;
    assert!(cpu < Duration::from_millis(600), "{cpu:?} of CPU in two seconds: it spins");

    let failures =
        |labels: &[(&str, &str)]| balancer.of_node("balancer_node_failures_total", "n0", labels);
    let (all, local) = (failures(&[]), failures(&[("cause", "local")]));
    assert!(all == local && local >= 30.0, "{all} failures, {local} of our own");
    assert_eq!(balancer.of_node("balancer_node_up", "n0", &[]), 1.0);
    assert_eq!(balancer.of_node("balancer_node_suspicions_total", "n0", &[]), 0.0);
    assert_eq!(balancer.falls(), [""; 0]);
    let log = balancer.log();
    let told = log.lines().filter(|line| line.contains("no local port is left")).count();
    assert!((1..=10).contains(&told), "said {told} times:\n{log}");

    // Ports that are free again are used again, without a word from anybody.
    held.truncate(room / 2);
    wait_until("clients are served again", MOMENT, || {
        call(balancer.port(), callers::SMTP).map(drop)
    });
    wait_until("the gauges tell of free ports", MOMENT, || {
        let seen = SOURCES.map(|source| free(&balancer, source));
        if seen.iter().all(|free| *free > 30.0) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}
