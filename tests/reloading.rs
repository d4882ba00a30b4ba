//! Does anybody notice that the settings are read again, however often, and do counts stay true?
//! It does not know what a reload does inside; clients come and go meanwhile.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use harness::callers::{self, Callers, call};
use harness::wait::same;
use harness::{Balancer, FakeNode, MOMENT, ReadSome, http, wait_until};
use rustix::process::Signal;

const NODES: [&str; 3] = ["n0", "n1", "n2"];

fn three() -> (Vec<FakeNode>, Vec<u16>) {
    let nodes: Vec<_> = (0..3).map(|_| FakeNode::greeter("220 node\r\n")).collect();
    let ports = nodes.iter().map(FakeNode::port).collect();
    (nodes, ports)
}

#[test]
fn a_hundred_reloads_under_fifty_clients_and_nobody_notices() {
    let (_nodes, ports) = three();
    let mut balancer = Balancer::before("smtp", "mode: round-robin", &ports);
    let callers = Callers::start(balancer.port(), callers::SMTP, 50);
    callers.wait_served(500);
    for number in 1..=100 {
        let mode = if number % 2 == 0 { "round-robin" } else { "least-connections" };
        // Now and then a node is taken out, with those it has, and put back by the next one.
        let nodes = if number % 10 == 5 { &ports[..2] } else { &ports[..] };
        balancer.rewrite(&format!("mode: {mode}"), nodes);
        if number % 4 >= 2 {
            balancer.process().signal(Signal::HUP);
        }
        balancer.wait_reloads(f64::from(number));
    }
    callers.wait_served(500);
    let heard = callers.stop();
    assert_eq!(heard.failures, [""; 0], "of {} served", heard.served);
    wait_until("no connection is open", MOMENT, || same(&balancer.open(), &0.0));
    for node in NODES {
        let held = balancer.of_node("balancer_node_connections", node, &[]);
        assert_eq!(held, 0.0, "connections of {node} after {} clients", heard.served);
    }
    let status = http::get(balancer.admin(), "/api/v1/status").expect("an answer").body;
    // Of the balancer, and of each node.
    let counts =
        ["\"connections\":", "\"connections\":0,"].map(|what| status.matches(what).count());
    assert_eq!(counts, [4; 2], "{status}");
}

/// What is heard at this address of the machine.
fn at(address: Ipv4Addr, port: u16) -> Result<String, String> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), MOMENT);
    let mut stream = stream.map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(MOMENT)).expect("an option");
    let mut first = [0; 64];
    let length = stream.read_some(&mut first).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&first[..length]).into_owned())
}

#[test]
fn a_door_that_becomes_narrower_or_wider_is_never_closed() {
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
    let (_nodes, ports) = three();
    let balancer = Balancer::before("smtp", "", &ports);
    let narrow = std::fs::read_to_string(balancer.yaml()).expect("its file");
    let wide = narrow.replace("listen: [\"127.0.0.1:", "listen: [\"0.0.0.0:");
    assert_ne!(narrow, wide);
    let write = |text: &str| {
        let new = balancer.yaml().with_extension("new");
        std::fs::write(&new, text).expect("a file beside it");
        std::fs::rename(&new, balancer.yaml()).expect("a rename beside it");
    };
    at(OTHER, balancer.port()).expect_err("nobody listens there");
    for round in 0..2 {
        write(&wide);
        balancer.wait_reloads(f64::from(2 * round + 1));
        assert_eq!(at(OTHER, balancer.port()).as_deref(), Ok("220 node\r\n"));
        let callers = Callers::start(balancer.port(), callers::SMTP, 8);
        callers.wait_served(100);
        write(&narrow);
        balancer.wait_reloads(f64::from(2 * round + 2));
        callers.wait_served(200);
        let heard = callers.stop();
        assert_eq!(heard.failures, [""; 0], "of {} served", heard.served);
        wait_until("the wide door is closed", MOMENT, || match at(OTHER, balancer.port()) {
            Err(_) => Ok(()),
            Ok(heard) => Err(heard),
        });
    }
    call(balancer.port(), callers::SMTP).expect("it is served as ever");
}
