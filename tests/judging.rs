//! What is concluded from how nodes behave, and what is done to those who have sessions there?
//! It does not know how it is concluded; nodes are scripted, and packets are lost or answered on a
//! loopback of the test's own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::callers::{self, call};
use harness::wait::same;
use harness::{Balancer, FakeNode, Loopback, MOMENT, Metrics, ReadSome, hold_for, run, wait_until};

/// Lines of a log with these words.
fn lines(balancer: &Balancer, words: &str) -> Vec<String> {
    let log = balancer.log();
    log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

#[test]
fn a_node_that_hangs_up_after_the_header_has_its_likely_cause_told_once() {
    for (proxy_protocol, cause) in
        [("v2", "it may not expect a PROXY header"), ("none", "it may expect a PROXY header")]
    {
        let node = FakeNode::start(drop);
        let settings = format!("proxy_protocol: {proxy_protocol}");
        let balancer = Balancer::before("smtp", &settings, &[node.port()]);
        for _ in 0..30 {
            let refused = call(balancer.port(), callers::SMTP).map(drop);
            assert!(refused.as_ref().is_err_and(|told| told.contains("421 ")), "{refused:?}");
        }
        let hint = "node closes each connection before its first word";
        wait_until("the hint is in the log", MOMENT, || {
            if lines(&balancer, hint).is_empty() { Err(balancer.log()) } else { Ok(()) }
        });
        let told = lines(&balancer, hint);
        assert!(told.len() == 1 && told[0].contains(cause), "{proxy_protocol}: {told:?}");
    }
}

/// Greets clients, and tells whoever asks for the balancer itself (PROXY LOCAL) to come later.
fn refuses_visits() -> FakeNode {
    FakeNode::start(|mut stream| {
        let mut header = [0; 16];
        if stream.read_exact(&mut header).is_err() {
            return;
        }
        let local = header[12] & 0x0f == 0;
        let mut rest = vec![0; usize::from(u16::from_be_bytes([header[14], header[15]]))];
        let _ = stream.read_exact(&mut rest);
        let _ = stream.write_all(if local { b"421 not now\r\n" } else { b"220 node\r\n" });
        let _ = stream.read_some(&mut [0; 64]);
    })
}

#[test]
fn when_all_nodes_fail_at_once_they_are_all_tried_and_an_alarm_is_raised() {
    let nodes: Vec<_> = (0..3).map(|_| refuses_visits()).collect();
    let ports: Vec<_> = nodes.iter().map(FakeNode::port).collect();
    let often = "proxy_protocol: v2\n\
                 health: {interval: 200ms, greeting_interval: 100ms, timeout: 100ms}";
    let balancer = Balancer::before("smtp", often, &ports);
    for node in ["n0", "n1", "n2"] {
        balancer.wait_node(node, false);
    }
    let failing_open = || Metrics::of(balancer.admin()).sum("balancer_service_failing_open", &[]);
    wait_until("the alarm is raised", MOMENT, || same(&failing_open(), &1.0));
    assert_eq!(lines(&balancer, "no node of this service is up").len(), 1, "{}", balancer.log());
    for _ in 0..20 {
        call(balancer.port(), callers::SMTP).expect("it is served all the same");
    }
}

#[test]
fn a_node_that_says_421_and_stays_is_called_busy_not_silent() {
    let node = FakeNode::start(|mut stream| {
        let _ = stream.write_all(b"421 not now\r\n");
        hold_for(Duration::from_secs(2));
    });
    let good = FakeNode::greeter("220 good\r\n");
    // The goodbye is waited for longer than a greeting may take.
    let often = "health: {interval: 200ms, greeting_interval: 100ms, timeout: 100ms}\n\
                 timeouts: {greeting: 300ms}";
    let balancer = Balancer::before("smtp", often, &[node.port(), good.port()]);
    balancer.wait_node("n0", false);
    let told = lines(&balancer, "node is down");
    assert!(told.len() == 1 && told[0].contains("refused_service"), "{told:?}");
}

#[test]
fn a_tls_client_that_says_nothing_is_ended_by_the_deadline_and_that_is_logged() {
    let node = FakeNode::start(|mut stream| {
        let mut hello = [0; 512];
        while stream.read_some(&mut hello).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(b"\x16\x03\x03");
        }
    });
    let balancer = Balancer::before("tls", "timeouts: {idle: 500ms}", &[node.port()]);
    let address = (std::net::Ipv4Addr::LOCALHOST, balancer.port());
    let mut mute = TcpStream::connect(address).expect("the door is open");
    mute.set_read_timeout(Some(MOMENT)).expect("an option");
    let error = mute.read_some(&mut [0; 8]).expect_err("no clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    wait_until("the connection is in the log", MOMENT, || {
        match &lines(&balancer, "\"message\":\"connection\"")[..] {
            [line] if line.contains("\"end\":\"idle\"") => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
}

/// Sessions of each node.
const SESSIONS: usize = 60;

/// Two nodes, and a balancer with so many sessions at each of them.
fn with_sessions(settings: &str) -> ([FakeNode; 2], Balancer, Vec<TcpStream>) {
    let nodes = ["220 n0\r\n", "220 n1\r\n"].map(FakeNode::greeter);
    let ports = nodes.each_ref().map(FakeNode::port);
    let settings = format!("mode: round-robin\n{settings}");
    let balancer = Balancer::before("smtp", &settings, &ports);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    while ours.len() + others.len() < 2 * SESSIONS {
        let (stream, first) = call(balancer.port(), callers::SMTP).expect("it is served");
        if first == "220 n0\r\n" { ours.push(stream) } else { others.push(stream) }
    }
    assert_eq!(ours.len(), SESSIONS);
    // The others' are kept by the first of ours: nobody shall close one of them.
    ours.extend(others);
    (nodes, balancer, ours)
}

fn sessions_of(balancer: &Balancer, node: &str) -> usize {
    balancer.of_node("balancer_node_connections", node, &[]) as usize
}

/// New connections to this port meet `what`; those that stand do not.
fn syns(port: u16, what: &str) -> Vec<String> {
    vec![format!("tcp dport {port} tcp flags & (syn | ack) == syn {what}")]
}

#[test]
fn sessions_of_a_node_that_is_down_are_closed_at_the_pace_that_was_asked_for() {
    const PER_SECOND: usize = 30;
    let loopback = Loopback::enter();
    let settings = format!("failover: {{on_down: close, close_per_second: {PER_SECOND}}}");
    let (nodes, balancer, _held) = with_sessions(&settings);
    // A session that has just carried something is left alone for half a second.
    hold_for(Duration::from_millis(600));
    loopback.rules(&syns(nodes[0].port(), "drop"));
    wait_until("the first one is closed", MOMENT, || match sessions_of(&balancer, "n0") {
        SESSIONS => Err("all are there".to_owned()),
        _ => Ok(()),
    });
    let began = Instant::now();
    wait_until("the last one is closed", MOMENT, || same(&sessions_of(&balancer, "n0"), &0));
    let (took, due) = (began.elapsed(), Duration::from_secs((SESSIONS / PER_SECOND) as u64));
    assert!(took > due * 3 / 5, "all within {took:?}: clients come back in a crowd");
    assert!(took < due * 4, "it took {took:?}");
    assert_eq!(sessions_of(&balancer, "n1"), SESSIONS, "the other node keeps its own");
    loopback.rules(&[]);
}

#[test]
fn sessions_of_a_node_that_is_known_to_be_dead_are_closed_at_once() {
    let loopback = Loopback::enter();
    // One a second, were it not known.
    let (nodes, balancer, _held) = with_sessions("failover: {close_per_second: 1}");
    loopback.rules(&syns(nodes[0].port(), "reject with icmp type host-unreachable"));
    balancer.wait_node("n0", false);
    let began = Instant::now();
    wait_until("all are closed", MOMENT, || same(&sessions_of(&balancer, "n0"), &0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "after {took:?}");
    assert_eq!(sessions_of(&balancer, "n1"), SESSIONS);
    loopback.rules(&[]);
}

/// An address that is not loopback's, though it leads nowhere else.
const HOST: &str = "10.99.0.1";

#[test]
fn what_one_port_of_a_host_tells_is_news_for_its_others() {
    let loopback = Loopback::enter();
    let mut ip = std::process::Command::new("ip");
    run(ip.args(["address", "add", &format!("{HOST}/32"), "dev", "lo"]), b"").exits(0);
    // Nobody looks at the second port by itself for a minute.
    let [smtp, pop3] = [0; 2].map(|_| std::net::TcpListener::bind((HOST, 0)).expect("a port"));
    let [smtp, pop3] = [&smtp, &pop3].map(|one| one.local_addr().expect("an address"));

    let other = FakeNode::greeter("220 node\r\n");
    let balancer = Balancer::before("smtp", "", &[other.port()]);
    let text = std::fs::read_to_string(balancer.yaml()).expect("its file");
    let extra = |name: &str, interval: &str, address: &std::net::SocketAddr| {
        format!(
            "  - name: {name}\n    listen: [\"127.0.0.1:0\"]\n    protocol: tcp\n    \
             health: {{interval: {interval}, timeout: 100ms}}\n    nodes:\n      \
             - {{name: {name}, address: \"{address}\"}}\n"
        )
    };
    let text = text + &extra("fast", "100ms", &smtp) + &extra("slow", "10m", &pop3);
    let new = balancer.yaml().with_extension("new");
    std::fs::write(&new, text).expect("a file beside it");
    std::fs::rename(&new, balancer.yaml()).expect("a rename beside it");
    balancer.wait_reloads(1.0);
    let probes = |node: &str| balancer.of_node("balancer_node_probes_total", node, &[]);
    wait_until("both were looked at", MOMENT, || match (probes("fast"), probes("slow")) {
        (0.0, _) | (_, 0.0) => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(probes("slow"), 1.0);
    loopback.rules(&[format!("ip daddr {HOST} tcp flags & (syn | ack) == syn drop")]);
    balancer.wait_node("fast", false);
    balancer.wait_node("slow", false);
    loopback.rules(&[]);
    balancer.wait_node("fast", true);
}
