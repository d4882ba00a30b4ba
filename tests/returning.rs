//! What happens when a node comes, comes back or comes and goes: who is sent to it, how soon, and
//! do counts stay true? It does not know how a node is chosen; nodes say their name.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::callers::{self, Callers, call};
use harness::wait::same;
use harness::{Balancer, FakeNode, MOMENT, Metrics, wait_until};

#[test]
fn with_all_nodes_dead_each_protocol_says_so_and_the_first_to_return_is_used_at_once() {
    for (protocol, words, refusal, greeting) in [
        ("smtp", callers::SMTP, "421 4.3.2 ", "220 back\r\n"),
        ("pop3", callers::POP3, "-ERR [SYS/TEMP] ", "+OK back\r\n"),
        ("imap", callers::IMAP, "* BYE [UNAVAILABLE] ", "* OK back\r\n"),
    ] {
        let mut nodes: Vec<_> =
            (0..3).map(|_| FakeNode::stopped(harness::fake_node::echo_after(greeting))).collect();
        let ports: Vec<_> = nodes.iter().map(FakeNode::port).collect();
        let balancer = Balancer::before(protocol, "", &ports);
        for _ in 0..5 {
            let (mut stream, first) = refused(balancer.port(), words);
            assert!(first.starts_with(refusal) && first.ends_with("\r\n"), "{first:?}");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("an orderly end");
            assert_eq!(rest, b"", "after {first:?}");
        }
        nodes[1].run();
        let began = Instant::now();
        wait_until("the node that is back serves", MOMENT, || {
            call(balancer.port(), words).map(drop)
        });
        // Two good looks, 200 ms and a tenth apart, and what a busy machine adds.
        let took = began.elapsed();
        assert!(took < Duration::from_millis(900), "{protocol}: after {took:?}");
    }
}

/// What a client hears that is not served.
#[track_caller]
fn refused(port: u16, words: callers::Words) -> (TcpStream, String) {
    let any = callers::Words { greeting: b"", ..words };
    call(port, any).expect("words, not an end alone")
}

#[test]
fn a_node_that_is_added_gets_clients_and_one_that_is_removed_keeps_its_own() {
    let nodes: Vec<_> =
        ["220 n0\r\n", "220 n1\r\n", "220 n2\r\n"].map(FakeNode::greeter).into_iter().collect();
    let ports: Vec<_> = nodes.iter().map(FakeNode::port).collect();
    let balancer = Balancer::before("smtp", "mode: round-robin", &ports[..2]);
    let reached = || {
        let texts = (0..6).map(|_| call(balancer.port(), callers::SMTP).map(|(_, text)| text));
        texts.collect::<Result<Vec<_>, _>>()
    };
    let seen = reached().expect("everybody is served");
    assert!(seen.iter().all(|text| text != "220 n2\r\n"), "{seen:?}");
    let mut held = Vec::new();
    while held.len() < 2 {
        held.push(call(balancer.port(), callers::SMTP).expect("it is served"));
    }
    balancer.rewrite("mode: round-robin", &ports);
    wait_until("the new one has clients", MOMENT, || {
        let seen = reached()?;
        if seen.contains(&"220 n2\r\n".to_owned()) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    balancer.rewrite("mode: round-robin", &ports[1..]);
    // Names move up with the places: what was n1 is now called n0, and greets as before.
    wait_until("the removed one has no new clients", MOMENT, || {
        let seen = reached()?;
        if seen.contains(&"220 n0\r\n".to_owned()) { Err(format!("{seen:?}")) } else { Ok(()) }
    });
    for (stream, text) in &mut held {
        std::io::Write::write_all(stream, b"still here").expect("it is sent");
        let mut back = [0; 10];
        stream.read_exact(&mut back).unwrap_or_else(|error| panic!("of {text:?}: {error}"));
    }
}

/// Threads that come and go as fast as they can.
const CALLERS: usize = 8;
/// How many connections; a hundred thousand were tried, which takes half a minute here.
const CHURN: u64 = 15_000;

#[test]
fn no_count_is_left_when_thousands_have_come_and_gone() {
    let nodes: Vec<_> = (0..3).map(|_| FakeNode::greeter("220 node\r\n")).collect();
    let ports: Vec<_> = nodes.iter().map(FakeNode::port).collect();
    let balancer = Balancer::before("smtp", "mode: least-connections", &ports);
    let callers = Callers::start(balancer.port(), callers::SMTP, CALLERS);
    let goal = |share: u64| callers.wait_served(share);
    goal(CHURN / 2);
    balancer.rewrite("mode: least-connections\nproxy_protocol: none", &ports);
    balancer.rewrite("mode: round-robin", &ports);
    wait_until("the new file is in force", MOMENT, || {
        let reloads = "balancer_config_reloads_total";
        let good = Metrics::of(balancer.admin()).sum(reloads, &[("result", "good")]);
        if good >= 1.0 { Ok(()) } else { Err(format!("{good} reloads")) }
    });
    for node in ["n0", "n1", "n2"] {
        let held = balancer.of_node("balancer_node_connections", node, &[]);
        assert!((0.0..=CALLERS as f64).contains(&held), "{node} has {held} right after a reload");
    }
    goal(CHURN / 2);
    let heard = callers.stop();
    assert_eq!(heard.failures, [""; 0], "of {} served", heard.served);
    wait_until("no connection is open", MOMENT, || same(&balancer.open(), &0.0));
    for node in ["n0", "n1", "n2"] {
        let held = balancer.of_node("balancer_node_connections", node, &[]);
        assert_eq!(held, 0.0, "connections of {node} after {} clients", heard.served);
    }
}

/// Clients held at each of the two that live.
const HELD: usize = 1_000;

#[test]
fn a_node_that_returns_with_none_is_not_sent_everybody() {
    files_open_max();
    let (mut nodes, ports) = holders();
    nodes[0].kill();
    let ramp = "mode: least-connections\nfailover: {return_percent: 200, return_time: 5s}";
    let balancer = Balancer::before("smtp", ramp, &ports);
    balancer.wait_node("n0", false);
    let fetch = || call(balancer.port(), callers::SMTP).expect("everybody is served");
    let mut held: Vec<_> = (0..2 * HELD).map(|_| fetch()).collect();
    let at = |name: &str, of: &[(TcpStream, String)]| of.iter().filter(|h| h.1 == name).count();
    assert_eq!((at("220 n1\r\n", &held), at("220 n2\r\n", &held)), (HELD, HELD));

    nodes[0].run();
    let began = Instant::now();
    balancer.wait_node("n0", true);
    let first: Vec<_> = (0..150).map(|_| fetch()).collect();
    // 200 % of a third, and of that a fifth at first: 13 %, then a little more each moment.
    let (came, share) = (at("220 n0\r\n", &first), first.len() * 2 / 3 * 2 / 5);
    if began.elapsed() < Duration::from_secs(1) {
        assert!((1..=share).contains(&came), "{came} of {} went to the returned", first.len());
    }
    held.extend(first);
    // When the time is over there is no limit any more: it has the fewest by far.
    wait_until("all new ones go there", MOMENT, || {
        let next: Vec<_> = (0..10).map(|_| fetch()).collect();
        let came = at("220 n0\r\n", &next);
        let seen = format!("{came} of 10 after {:?}", began.elapsed());
        held.extend(next);
        if came == 10 { Ok(()) } else { Err(seen) }
    });
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4), "the limit was gone after {took:?}");
}

/// Three nodes that greet with their name and keep every connection without a thread for each.
fn holders() -> (Vec<FakeNode>, Vec<u16>) {
    let greetings = ["220 n0\r\n", "220 n1\r\n", "220 n2\r\n"];
    let nodes: Vec<_> = greetings
        .map(|greeting| {
            let kept = std::sync::Mutex::new(Vec::new());
            FakeNode::start(move |mut stream| {
                if std::io::Write::write_all(&mut stream, greeting.as_bytes()).is_ok() {
                    kept.lock().expect("nobody panics with it").push(stream);
                }
            })
        })
        .into_iter()
        .collect();
    let ports = nodes.iter().map(FakeNode::port).collect();
    (nodes, ports)
}

/// Both ends of thousands of connections are in this process.
fn files_open_max() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, limit).expect("up to its maximum");
}
