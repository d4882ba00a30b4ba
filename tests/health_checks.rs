//! How does the balancer look at a node: what does the node see of it, and which nodes pass?
//! It does not know how looks are counted; nodes are scripted.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use harness::wait::same;
use harness::{Balancer, FakeNode, MOMENT, ReadSome, hold_for, http, wait_until};

/// Visits as often as knocks, so that a test need not wait for ten seconds.
const OFTEN: &str = "health: {interval: 100ms, greeting_interval: 100ms, timeout: 100ms}\n\
                     timeouts: {greeting: 500ms}";

/// A node that says the pieces one packet each and then tells what it heard until the end.
fn node_that_says(pieces: Vec<Vec<u8>>) -> (FakeNode, Receiver<String>) {
    let (sender, heard) = channel();
    let welcomes =
        ["2", "+OK", "* OK"].iter().any(|word| pieces.concat().starts_with(word.as_bytes()));
    let refuses = !welcomes && !pieces.is_empty();
    let node = FakeNode::start(move |mut stream: TcpStream| {
        let _ = stream.set_nodelay(true);
        for piece in &pieces {
            if stream.write_all(piece).is_err() {
                return;
            }
        }
        if refuses {
            return; // and closes
        }
        let mut said = Vec::new();
        let mut piece = [0; 512];
        while let Ok(length @ 1..) = stream.read_some(&mut piece) {
            said.extend_from_slice(&piece[..length]);
            if said.ends_with(b"\r\n") {
                let _ = stream.write_all(b"221 bye\r\n");
                break;
            }
        }
        let _ = sender.send(String::from_utf8_lossy(&said).into_owned());
    });
    (node, heard)
}

/// Why the first node was of no use when it last was, as `balancer status` tells it.
fn last_failure(balancer: &Balancer) -> String {
    let answer = http::get(balancer.admin(), "/api/v1/status").expect("an answer");
    let json: serde_json::Value = serde_json::from_str(&answer.body)
        .unwrap_or_else(|error| panic!("{error} in {}", answer.body));
    json["services"][0]["nodes"][0]["last_failure"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_visit_hears_the_whole_greeting_and_says_goodbye() {
    for (protocol, greeting, goodbye) in [
        ("smtp", "220-one\r\n220-two\r\n220 three\r\n", "QUIT\r\n"),
        ("pop3", "+OK one\r\n", "QUIT\r\n"),
        ("imap", "* OK [CAPABILITY IMAP4rev1] one\r\n", "a LOGOUT\r\n"),
    ] {
        for in_single_bytes in [false, true] {
            let pieces = if in_single_bytes {
                greeting.bytes().map(|byte| vec![byte]).collect()
            } else {
                vec![greeting.as_bytes().to_vec()]
            };
            let (node, heard) = node_that_says(pieces);
            let balancer = Balancer::before(protocol, OFTEN, &[node.port()]);
            for _ in 0..3 {
                let said = heard.recv_timeout(MOMENT).expect("a visit");
                assert_eq!(said, goodbye, "{protocol}, in single bytes: {in_single_bytes}");
            }
            balancer.wait_node("n0", true);
            assert_eq!(balancer.falls(), [""; 0], "{protocol}");
        }
    }
}

#[test]
fn a_node_that_greets_wrongly_or_not_at_all_is_down_and_the_reason_is_told() {
    let pieces = |text: &str| vec![text.as_bytes().to_vec()];
    for (protocol, says, reason) in [
        ("smtp", pieces("421 4.3.2 shutting down\r\n"), "refused_service"),
        ("smtp", pieces("554 no mail here\r\n"), "refused_service"),
        ("smtp", pieces("HTTP/1.1 400 Bad Request\r\n\r\n"), "not_a_greeting"),
        ("pop3", pieces("-ERR not now\r\n"), "refused_service"),
        ("imap", pieces("* BYE not now\r\n"), "refused_service"),
        ("smtp", vec![], "silent"),
    ] {
        let (node, _heard) = node_that_says(says);
        let good = FakeNode::greeter("220 good\r\n");
        let balancer = Balancer::before(protocol, OFTEN, &[node.port(), good.port()]);
        balancer.wait_node("n0", false);
        let seen = last_failure(&balancer);
        assert!(seen.contains(reason), "{protocol}: {seen:?} in place of {reason:?}");
    }
}

/// Visits are rare and knocks are silent: a node's log has next to nothing of either.
#[test]
fn knocks_are_not_accepted_by_anybody() {
    let (node, heard) = node_that_says(vec![b"220 node\r\n".to_vec()]);
    let often = "health: {interval: 20ms, greeting_interval: 10m, timeout: 100ms}";
    let balancer = Balancer::before("smtp", often, &[node.port()]);
    wait_until("a hundred knocks", MOMENT, || {
        let knocks = balancer.of_node("balancer_node_probes_total", "n0", &[("result", "good")]);
        if knocks >= 100.0 { Ok(()) } else { Err(format!("{knocks}")) }
    });
    let visits = heard.try_iter().collect::<Vec<_>>();
    assert_eq!(visits, [""; 0], "somebody came in");
}

/// A dead node is found dead and a living one alive in the times that `health` says.
#[test]
fn times_are_kept() {
    let mut node = FakeNode::greeter("220 node\r\n");
    let good = FakeNode::greeter("220 good\r\n");
    let health = "health: {interval: 100ms, timeout: 100ms, rise: 3, fall: 3}";
    let balancer = Balancer::before("smtp", health, &[node.port(), good.port()]);
    let probes =
        |result: &str| balancer.of_node("balancer_node_probes_total", "n0", &[("result", result)]);
    wait_until("it is looked at", MOMENT, || match probes("good") {
        0.0 => Err("no look".to_owned()),
        _ => Ok(()),
    });
    let before = probes("good");
    hold_for(Duration::from_secs(1));
    let looks = probes("good") - before;
    assert!((4.0..=13.0).contains(&looks), "{looks} looks in a second of 100 ms each");
    node.kill();
    balancer.wait_node("n0", false);
    assert_eq!(probes("bad"), 3.0, "looks that took it down");
    node.run();
    balancer.wait_node("n0", true);
    wait_until("nothing is in doubt", MOMENT, || same(&balancer.falls().len(), &1));
}

/// A node that hears a hello and says this; it tells what it heard first.
fn node_that_answers(says: &'static [u8]) -> (FakeNode, Receiver<Vec<u8>>) {
    let (sender, heard) = channel();
    let node = FakeNode::start(move |mut stream: TcpStream| {
        let mut hello = vec![0; 2048];
        let length = stream.read_some(&mut hello).unwrap_or(0);
        hello.truncate(length);
        let _ = sender.send(hello);
        let _ = stream.write_all(says);
        while stream.read_some(&mut [0; 64]).is_ok_and(|length| length > 0) {}
    });
    (node, heard)
}

/// Whoever answers a hello as TLS has it is alive, whatever the answer; a plain server is not.
#[test]
fn a_port_of_tls_is_up_only_where_a_hello_is_answered() {
    for (says, down) in [
        (&b"\x16\x03\x03\0\x08\x02\0\0\x04node"[..], None),
        // handshake_failure: it does not like this hello; internal_error: it has no time.
        (b"\x15\x03\x03\0\x02\x02\x28", None),
        (b"\x15\x03\x03\0\x02\x02\x50", Some("refused_service")),
        (b"* OK plain IMAP\r\n", Some("not_a_greeting")),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some("not_a_greeting")),
        (b"", Some("silent")),
    ] {
        let (node, heard) = node_that_answers(says);
        let (good, _heard) = node_that_answers(b"\x16\x03\x03\0\x08\x02\0\0\x04good");
        let balancer = Balancer::before("tls", OFTEN, &[node.port(), good.port()]);
        for _ in 0..3 {
            let hello = heard.recv_timeout(MOMENT).expect("a visit");
            let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            assert_eq!((hello[0], hello[5], length), (22, 1, hello.len() - 5), "a client's hello");
        }
        match down {
            None => assert_eq!(balancer.falls(), [""; 0], "after {says:?}"),
            Some(reason) => {
                balancer.wait_node("n0", false);
                let seen = last_failure(&balancer);
                assert!(seen.contains(reason), "{says:?}: {seen:?} in place of {reason:?}");
            }
        }
    }
}

/// A machine with a port that is dead is down for that service, and for no other.
#[test]
fn of_two_ports_of_a_node_the_dead_one_is_down() {
    let (mut smtp, pop3) = (FakeNode::greeter("220 node\r\n"), FakeNode::greeter("+OK node\r\n"));
    let balancer = Balancer::before("smtp", OFTEN, &[smtp.port()]);
    let text = std::fs::read_to_string(balancer.yaml()).expect("its file");
    let second = format!(
        "  - name: pop3\n    listen: [\"127.0.0.1:0\"]\n    protocol: pop3\n    \
         health: {{interval: 100ms}}\n    nodes:\n      \
         - {{name: n0, address: \"127.0.0.1:{}\"}}\n",
        pop3.port()
    );
    let new = balancer.yaml().with_extension("new");
    std::fs::write(&new, text + &second).expect("a file beside it");
    std::fs::rename(&new, balancer.yaml()).expect("a rename beside it");
    balancer.wait_reloads(1.0);
    let up = |service: &str| balancer.of_node("balancer_node_up", "n0", &[("service", service)]);
    assert_eq!(["smtp", "pop3"].map(up), [1.0, 1.0]);
    smtp.kill();
    wait_until("the dead port is down", MOMENT, || same(&up("smtp"), &0.0));
    hold_for(Duration::from_millis(500));
    assert_eq!(up("pop3"), 1.0, "its other port lives");
    assert_eq!(balancer.falls().len(), 1);
}
