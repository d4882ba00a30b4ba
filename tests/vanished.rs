//! Who vanishes without a word in the middle of a session: when is that found out, and what is it
//! called? It does not know how the kernel is told to ask; packets are dropped on a loopback of
//! the test's own.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::callers::{self, call};
use harness::wait::same;
use harness::{Balancer, FakeNode, Loopback, MOMENT, ReadSome, hold_for, wait_until};

/// The time that both sides are given.
const VANISHED: Duration = Duration::from_secs(3);
/// Whole seconds are asked in: it may be noticed a little before or after.
const EARLY: Duration = Duration::from_secs(1);
/// A question more, and a busy machine.
const LATE: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_millis(100);

/// Greets, and from the first word on says something again and again.
fn talker() -> FakeNode {
    FakeNode::start(|mut stream| {
        if stream.write_all(b"220 node\r\n").is_err() {
            return;
        }
        if stream.read_some(&mut [0; 64]).is_ok_and(|length| length > 0) {
            while stream.write_all(b"250 more\r\n").is_ok() {
                hold_for(TICK);
            }
        }
    })
}

fn session(balancer: &Balancer) -> TcpStream {
    call(balancer.port(), callers::SMTP).expect("it is served").0
}

fn port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("an address").port()
}

/// All packets of these ports are lost from now on, both ways.
fn lose(loopback: &Loopback, ports: &[u16]) {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let rules = ["dport", "sport"].map(|side| format!("tcp {side} {{ {list} }} drop"));
    loopback.rules(&rules);
}

/// Waits for the line of a client's connection and says how it ended.
fn end_of(balancer: &Balancer, client: u16) -> String {
    let at = format!("\"client\":\"127.0.0.1:{client}\"");
    wait_until("the connection is in the log", VANISHED + LATE, || {
        let log = balancer.log();
        let line = log.lines().find(|line| line.contains(&at)).ok_or("no line of it yet")?;
        let end = line.split("\"end\":\"").nth(1).and_then(|rest| rest.split('"').next());
        end.map(str::to_owned).ok_or_else(|| line.to_owned())
    })
}

#[track_caller]
fn in_time(began: Instant, of: &str) {
    let took = began.elapsed();
    let good = VANISHED.saturating_sub(EARLY)..VANISHED + LATE;
    assert!(good.contains(&took), "{of}: after {took:?} in place of {VANISHED:?}");
}

#[test]
fn a_client_that_vanished_is_found_out_and_no_other_one() {
    let loopback = Loopback::enter();
    let node = talker();
    let settings = format!("timeouts: {{vanished: {}s}}", VANISHED.as_secs());
    let balancer = Balancer::before("smtp", &settings, &[node.port()]);
    // Two that are silent, and one that is spoken to.
    let (silent, mut spoken_to, mut stays) =
        (session(&balancer), session(&balancer), session(&balancer));
    spoken_to.write_all(b"talk\r\n").expect("it is sent");
    assert!(spoken_to.read_some(&mut [0; 64]).expect("an answer") > 0);
    let began = Instant::now();
    lose(&loopback, &[port(&silent), port(&spoken_to)]);
    for (client, what) in [(&silent, "silent"), (&spoken_to, "spoken to")] {
        assert_eq!(end_of(&balancer, port(client)), "client_vanished", "of the one {what}");
        in_time(began, what);
    }
    wait_until("one is left", MOMENT, || same(&balancer.open(), &1.0));
    stays.write_all(b"talk\r\n").expect("it is sent");
    assert!(stays.read_some(&mut [0; 64]).expect("it is answered as ever") > 0);
    assert_eq!(balancer.falls(), [""; 0], "that is no fault of the node");
}

#[test]
fn a_node_that_vanished_in_the_middle_is_found_out_and_its_clients_are_told() {
    let loopback = Loopback::enter();
    let node = FakeNode::greeter("220 node\r\n");
    // A reload sets the time for sessions that begin after it.
    let balancer = Balancer::before("smtp", "", &[node.port()]);
    let settings = format!("timeouts: {{vanished: {}s}}", VANISHED.as_secs());
    balancer.rewrite(&settings, &[node.port()]);
    balancer.wait_reloads(1.0);
    let (mut silent, mut speaks) = (session(&balancer), session(&balancer));
    // A session of two seconds is watched.
    let mut heard = [0; 64];
    for _ in 0..12 {
        hold_for(TICK * 2);
        for stream in [&mut silent, &mut speaks] {
            stream.write_all(b"NOOP\r\n").expect("it is sent");
            assert!(stream.read_some(&mut heard).expect("an answer") > 0);
        }
    }
    let began = Instant::now();
    lose(&loopback, &[node.port()]);
    speaks.write_all(b"NOOP\r\n").expect("it is sent");
    for (client, what) in [(&silent, "silent"), (&speaks, "speaking")] {
        assert_eq!(end_of(&balancer, port(client)), "node_vanished", "of the one {what}");
        in_time(began, what);
    }
    loopback.rules(&[]);
    for stream in [&mut silent, &mut speaks] {
        let error = stream.read_some(&mut heard).expect_err("no clean end: it fakes success");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    wait_until("none is left", MOMENT, || same(&balancer.open(), &0.0));
}
