//! What is left of strangers who knock and say nothing, and of a hundred odd ends?
//! It does not know how the balancer copes; each test has a network of its own.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::callers;
use harness::fake_node::reset;
use harness::wait::same;
use harness::{Balancer, FakeNode, Loopback, MOMENT, ReadSome, wait_until};

const GREETING: &str = "220 node ESMTP\r\n";

fn three() -> (Vec<FakeNode>, Vec<u16>) {
    let nodes: Vec<_> = (0..3).map(|_| FakeNode::greeter(GREETING)).collect();
    let ports = nodes.iter().map(FakeNode::port).collect();
    (nodes, ports)
}

#[test]
fn a_hundred_odd_ends_leave_no_half_closed_socket() {
    let _loopback = Loopback::enter();
    let number = AtomicUsize::new(0);
    let node = FakeNode::start(move |mut stream| {
        if number.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return reset(stream);
        }
        let _ = stream.write_all(GREETING.as_bytes());
        let _ = stream.read_some(&mut [0; 64]);
    });
    let balancer = Balancer::before("smtp", "", &[node.port()]);
    for round in 0..100 {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, balancer.port()));
        let mut stream = stream.expect("the door is open");
        match round % 5 {
            0 => reset(stream),
            1 => drop(stream),
            2 => drop(stream.shutdown(Shutdown::Write)),
            3 => {
                let _ = stream.read_some(&mut [0; 64]);
                let _ = stream.write_all(b"QUIT\r\n");
            }
            _ => drop(stream.write_all(&[b'x'; 100_000])),
        }
    }
    wait_until("no connection is open", MOMENT, || same(&balancer.open(), &0.0));
    wait_until("no socket waits for its own side's end", MOMENT, || same(&close_waits(), &0));
}

/// Sockets of this network in the state CLOSE_WAIT.
fn close_waits() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("a table of sockets");
    let states = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| *state == "08").count()
}

#[test]
fn strangers_who_knock_and_say_nothing_leave_nothing_behind() {
    let loopback = Loopback::enter();
    let (_nodes, ports) = three();
    let balancer = Balancer::before("smtp", "", &ports);
    let door = (Ipv4Addr::LOCALHOST, balancer.port());
    // The last packet of each handshake is lost: for the balancer's kernel they are SYNs alone.
    let rule = format!("tcp dport {} tcp flags & (syn | ack) == ack drop", balancer.port());
    loopback.rules(&[rule]);
    let knock = |_| TcpStream::connect(door).expect("the kernel answers a SYN");
    let half_open: Vec<_> = (0..500).map(knock).collect();
    assert_eq!(balancer.open(), 0.0, "a SYN alone is no connection");
    drop(half_open);
    loopback.rules(&[]);
    for _ in 0..500 {
        drop(TcpStream::connect(door).expect("the door is open"));
    }
    callers::call(balancer.port(), callers::SMTP).expect("a client is served as ever");
    wait_until("no connection is open", MOMENT, || same(&balancer.open(), &0.0));
    for node in ["n0", "n1", "n2"] {
        let held = balancer.of_node("balancer_node_connections", node, &[]);
        assert_eq!(held, 0.0, "connections of {node}");
        let failures = balancer.of_node("balancer_node_failures_total", node, &[]);
        assert_eq!(failures, 0.0, "who leaves is no failure of {node}");
    }
    let log = balancer.log();
    let warnings = log.lines().filter(|line| !line.contains("\"level\":\"INFO\"")).count();
    assert!(warnings < 10, "{warnings} warnings:\n{log}");
}
