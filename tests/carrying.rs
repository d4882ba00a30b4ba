//! What a session looks like while little happens: a client that is mute, a reader that stalls, a
//! night of silence. It does not know how bytes are carried; nodes are scripted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::callers::{self, Words, call};
use harness::wait::same;
use harness::{Balancer, FakeNode, MOMENT, ReadSome, hold_for, wait_until};

/// Where nobody knows who speaks first.
const TCP: Words = Words { hello: b"", greeting: b"220" };

fn echoed(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"still here")?;
    stream.read_exact(&mut [0; 10])
}

#[test]
fn a_greeting_passes_at_once_and_a_client_may_be_mute() {
    let mut sessions = Vec::new();
    for (protocol, words, greeting) in [
        ("smtp", callers::SMTP, "220 node\r\n"),
        ("pop3", callers::POP3, "+OK node\r\n"),
        ("imap", callers::IMAP, "* OK node\r\n"),
        ("tcp", TCP, "220 node\r\n"),
    ] {
        let node = FakeNode::greeter(greeting);
        let balancer = Balancer::before(protocol, "", &[node.port()]);
        let began = Instant::now();
        let (stream, first) = call(balancer.port(), words).expect("it is served");
        assert_eq!(first, greeting);
        // Whoever waits for the client's first word, as a guess of what it speaks, waits ten.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "{protocol}: after {took:?}");
        sessions.push((protocol, stream, balancer, node));
    }
    hold_for(Duration::from_secs(10));
    for (protocol, stream, balancer, _node) in &mut sessions {
        echoed(stream).unwrap_or_else(|error| panic!("{protocol}: {error}"));
        assert_eq!(balancer.open(), 1.0, "{protocol}");
    }
}

/// Octets of a segment on Ethernet.
const SEGMENT: usize = 1448;
/// A stream of pieces large enough to be carried without being copied.
const STREAM: usize = 1 << 20;
/// More segments than a pipe has places (16), and than 23 KiB are.
const SEGMENTS: usize = 400;

/// Octets that tell their place.
fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// Says a stream at once and then a dribble of single segments.
fn say(stream: &mut TcpStream, all: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&all[..STREAM])?;
    all[STREAM..].chunks(SEGMENT).try_for_each(|segment| stream.write_all(segment))
}

#[test]
fn a_dribble_before_a_reader_that_stalls_arrives_whole() {
    let all = octets(STREAM + SEGMENTS * SEGMENT);
    for down in [true, false] {
        let (said, heard) = (all.clone(), all.clone());
        let (sender, told) = std::sync::mpsc::channel();
        let node = FakeNode::start(move |mut stream| {
            if stream.write_all(b"220 node\r\n").is_err() {
                return;
            }
            let mut word = [0; 4];
            let _ = stream.read_exact(&mut word);
            let done = if down { say(&mut stream, &said) } else { stall(&mut stream, &heard) };
            let _ = sender.send(done);
            let _ = stream.read_some(&mut word);
        });
        let balancer = Balancer::before("smtp", "", &[node.port()]);
        let (mut stream, _) = call(balancer.port(), callers::SMTP).expect("it is served");
        stream.write_all(b"DATA").expect("it is sent");
        let done = if down { stall(&mut stream, &all) } else { say(&mut stream, &all) };
        done.unwrap_or_else(|error| panic!("at the client, downwards {down}: {error}"));
        let other = told.recv_timeout(MOMENT).expect("the node is done");
        other.unwrap_or_else(|error| panic!("at the node, downwards {down}: {error}"));
        drop(stream);
        wait_until("nothing is left", MOMENT, || same(&balancer.open(), &0.0));
    }
}

/// Reads nothing for a moment, then all of it.
fn stall(stream: &mut TcpStream, wanted: &[u8]) -> std::io::Result<()> {
    hold_for(Duration::from_millis(800));
    stream.set_read_timeout(Some(MOMENT))?;
    let mut read = vec![0; wanted.len()];
    stream.read_exact(&mut read)?;
    if read == wanted { Ok(()) } else { Err(std::io::Error::other("other octets")) }
}

/// IMAP's idle time is 35 minutes (its clients renew IDLE every 29, RFC 2177): a minute is 200 ms
/// here.
const MINUTE: Duration = Duration::from_millis(200);

#[test]
fn a_client_that_idles_for_31_minutes_stays_and_one_that_idles_for_ever_does_not() {
    let node = FakeNode::greeter("* OK node\r\n");
    let settings = format!("timeouts: {{idle: {}ms}}", (MINUTE * 35).as_millis());
    let balancer = Balancer::before("imap", &settings, &[node.port()]);
    let (mut idler, _) = call(balancer.port(), callers::IMAP).expect("it is served");
    let (mut mute, _) = call(balancer.port(), callers::IMAP).expect("it is served");
    let began = Instant::now();
    hold_for(MINUTE * 31);
    if began.elapsed() < MINUTE * 34 {
        echoed(&mut idler).expect("31 minutes are allowed");
        assert_eq!(balancer.open(), 2.0);
    }
    mute.set_read_timeout(Some(MOMENT)).expect("an option");
    let ended = mute.read_some(&mut [0; 64]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let took = began.elapsed();
    assert!(took >= MINUTE * 34, "it was ended after {took:?}");
    wait_until("the deadline is the cause that is logged", MOMENT, || {
        let log = balancer.log();
        if log.contains("\"end\":\"idle\"") { Ok(()) } else { Err(log) }
    });
}
