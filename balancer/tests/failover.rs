//! Does a client notice that its node has failed? And is a node that is well ever passed over?
//! It does not know how that is decided; real sockets on port 0 show it.

mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stage::{LONG, Node, Stage, line, reset, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const FIRST: &str = "mode: failover\nhealth: {interval: 20ms, timeout: 500ms}";

/// Says this and waits for the client's end.
async fn says(text: &'static str) -> Node {
    Node::start(move |mut stream| async move {
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// Greets until it is told to be quiet, and again once it is told not to be.
async fn moody(name: &'static str) -> (Node, Arc<AtomicBool>) {
    let quiet = Arc::new(AtomicBool::new(false));
    let told = quiet.clone();
    let node = Node::start(move |mut stream| {
        let told = told.clone();
        async move {
            while told.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(1)).await;
            }
            let _ = stream.write_all(format!("220 {name}\r\n").as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    (node, quiet)
}

/// A client's first line, and how long it waited for it.
async fn greeted(stage: &Stage) -> (String, Duration) {
    let began = Instant::now();
    let mut client = stage.client().await;
    let line = timeout(LONG, line(&mut client)).await.expect("somebody greets");
    (line, began.elapsed())
}

#[tokio::test]
async fn a_node_that_refuses_service_is_passed_over() {
    for (protocol, refusal, welcome) in [
        ("smtp", "421 4.3.2 shutting down\r\n", "220 good\r\n"),
        ("smtp", "450-too busy\r\n450 come again\r\n", "220 good\r\n"),
        ("pop3", "-ERR [SYS/TEMP] busy\r\n", "+OK good\r\n"),
        ("imap", "* BYE [UNAVAILABLE] busy\r\n", "* OK good\r\n"),
    ] {
        let (busy, good) = (says(refusal).await, says(welcome).await);
        let stage = Stage::open(protocol, FIRST, &[&busy, &good]);
        for _ in 0..5 {
            assert_eq!(greeted(&stage).await.0, welcome);
        }
        let node = &stage.service().nodes[0];
        assert_eq!(node.failures_total, 3, "after three in a row nobody is sent there");
        let failure = node.last_failure.as_deref().expect("there is one");
        assert!(failure.ends_with("refused_service"), "{failure}");
        wait_until("a visit has found it down", || stage.service().nodes[0].state == "down").await;
        stage.assert_empties().await;
    }
}

#[tokio::test]
async fn the_last_refusal_is_the_clients() {
    let (busy, dead) = (says("421 4.3.2 shutting down\r\n").await, Node::dead().await);
    let stage = Stage::open("smtp", FIRST, &[&dead, &busy]);
    assert_eq!(greeted(&stage).await.0, "421 4.3.2 shutting down\r\n");
    // What a node says of this very client is passed on too, wherever it stands.
    let (never, good) = (says("554 5.7.1 you are on a list\r\n").await, says("220 g\r\n").await);
    let stage = Stage::open("smtp", FIRST, &[&never, &good]);
    assert_eq!(greeted(&stage).await.0, "554 5.7.1 you are on a list\r\n");
}

#[tokio::test]
async fn a_refusal_in_pieces_is_one() {
    let busy = Node::start(|mut stream| async move {
        for piece in ["4", "2", "1", " busy\r\n"] {
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let slow = Node::start(|mut stream| async move {
        for piece in ["2", "2", "0", " good\r\n"] {
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(Duration::from_millis(5)).await;
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let stage = Stage::open("smtp", FIRST, &[&busy, &slow, &slow_copy(&slow)]);
    assert_eq!(greeted(&stage).await.0, "220 good\r\n", "nothing of it is lost or doubled");
}

/// A third node, so that the second is not the last.
fn slow_copy(_: &Node) -> Node {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        let _listener = listener;
        std::future::pending::<()>().await;
    });
    Node::of(address, accepting)
}

#[tokio::test]
async fn a_frozen_node_is_passed_over_in_a_moment_and_comes_back() {
    let (first, quiet) = moody("first").await;
    let (second, _) = moody("second").await;
    let settings = "mode: failover\nhealth: {interval: 20ms, greeting_interval: 20ms}";
    let stage = Stage::open("smtp", settings, &[&first, &second]);
    wait_until("it was visited", || stage.learned(0)).await;
    assert_eq!(greeted(&stage).await.0, "220 first\r\n");
    quiet.store(true, Ordering::SeqCst);
    let mut slow = 0;
    for _ in 0..20 {
        let (line, took) = greeted(&stage).await;
        assert_eq!(line, "220 second\r\n");
        assert!(took < Duration::from_millis(500), "{took:?}");
        slow += u32::from(took >= Duration::from_millis(45));
    }
    assert!((1..=3).contains(&slow), "{slow} clients had to wait for the frozen one");
    quiet.store(false, Ordering::SeqCst);
    let began = Instant::now();
    while greeted(&stage).await.0 != "220 first\r\n" {
        assert!(began.elapsed() < LONG, "it is never trusted again");
    }
    stage.assert_empties().await;
}

#[tokio::test]
async fn where_all_greet_late_all_are_waited_for() {
    let late = |name: &'static str| {
        Node::start(move |mut stream| async move {
            sleep(Duration::from_millis(120)).await;
            let _ = stream.write_all(format!("220 {name}\r\n").as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
    };
    let (first, second) = (late("first").await, late("second").await);
    let settings = "mode: failover\nhealth: {interval: 20ms, greeting_interval: 20ms}";
    let stage = Stage::open("smtp", settings, &[&first, &second]);
    wait_until("both were visited", || stage.learned(0) && stage.learned(1)).await;
    for _ in 0..10 {
        assert_eq!(greeted(&stage).await.0, "220 first\r\n");
    }
    let service = stage.service();
    assert_eq!((service.retries_total, service.nodes[0].failures_total), (0, 0));
}

#[tokio::test]
async fn a_silent_node_is_waited_for_after_all_if_the_others_are_dead() {
    let late = Node::start(|mut stream| async move {
        sleep(Duration::from_millis(300)).await;
        let _ = stream.write_all(b"220 late\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let dead = Node::dead().await;
    let settings = "mode: failover\ntimeouts: {greeting: 50ms}";
    let stage = Stage::open("smtp", settings, &[&late, &dead]);
    assert_eq!(greeted(&stage).await.0, "220 late\r\n");
}

#[tokio::test]
async fn a_dial_that_is_not_answered_is_raced() {
    let good = Node::greeter("good").await;
    let (address, _held) = Node::unreachable();
    let gone = Node::of(address, tokio::spawn(async {}));
    let settings = "mode: failover\nhealth: {interval: 20ms, timeout: 500ms}";
    let stage = Stage::open("smtp", settings, &[&gone, &good]);
    wait_until("the good one was knocked at", || stage.reached(1)).await;
    for _ in 0..5 {
        let (line, took) = greeted(&stage).await;
        assert_eq!(line, "220 good\r\n");
        assert!(took < Duration::from_millis(300), "{took:?}");
    }
    wait_until("it is down", || stage.service().nodes[0].state == "down").await;
    stage.assert_empties().await;
}

#[tokio::test]
async fn a_knock_is_heard_by_nobody() {
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    let node = Node::start(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { drop(stream) }
    })
    .await;
    let stage = Stage::open("smtp", "health: {interval: 10ms, greeting_interval: 1h}", &[&node]);
    let knocks = || stage.reached(0);
    wait_until("it was knocked at", knocks).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(accepted.load(Ordering::SeqCst), 0, "nothing was accepted");
    assert_eq!(stage.service().nodes[0].state, "up");
}

/// Enough of a TLS record to be one.
const HELLO: &[u8] = &[22, 3, 1, 0, 5, b'h', b'e', b'l', b'l', b'o'];

#[tokio::test]
async fn a_tls_clients_first_flight_is_said_again_to_the_next_node() {
    let closes = Node::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    let resets = Node::start(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        reset(stream);
    })
    .await;
    let silent = Node::silent().await;
    let answers = Node::start(|mut stream| async move {
        let mut said = vec![0; HELLO.len()];
        stream.read_exact(&mut said).await.expect("a hello");
        stream.write_all(&said).await.expect("somebody listens");
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await;
    let settings = "mode: failover\ntimeouts: {greeting: 60ms}";
    let stage = Stage::open("tls", settings, &[&closes, &resets, &silent, &answers]);
    for slowly in [false, true] {
        let mut client = stage.client().await;
        for piece in HELLO.chunks(if slowly { 1 } else { 64 }) {
            client.write_all(piece).await.expect("it is sent");
            if slowly {
                sleep(Duration::from_millis(10)).await;
            }
        }
        let mut got = vec![0; HELLO.len()];
        timeout(LONG, client.read_exact(&mut got)).await.expect("in time").expect("an answer");
        assert_eq!(got, HELLO);
        client.write_all(b"and on\n").await.expect("it is sent");
        assert_eq!(line(&mut client).await, "and on\n");
    }
    let failures: Vec<_> = stage.service().nodes.iter().map(|node| node.failures_total).collect();
    assert_eq!(failures, [2, 2, 2, 0]);
    stage.assert_empties().await;
    // All that was said was counted once.
    let carried = (HELLO.len() + b"and on\n".len()) as u64 * 2;
    assert_eq!(stage.service().nodes[3].bytes_to_node_total, carried);
}

#[tokio::test]
async fn a_flight_that_is_too_large_goes_on_with_its_node() {
    let node = Node::start(|mut stream| async move {
        let mut said = vec![0; 40_000];
        stream.read_exact(&mut said).await.expect("all of it");
        assert_eq!(said, stage::pattern(40_000));
        let _ = stream.write_all(b"done\n").await;
    })
    .await;
    let stage = Stage::open("tls", FIRST, &[&node, &node_that_answers().await]);
    let mut client = stage.client().await;
    client.write_all(&stage::pattern(40_000)).await.expect("it is sent");
    assert_eq!(line(&mut client).await, "done\n");
    drop(client);
    stage.assert_empties().await;
}

async fn node_that_answers() -> Node {
    Node::start(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"wrong\n").await;
    })
    .await
}

#[tokio::test]
async fn many_resets_at_once_are_a_nodes_death() {
    let (sender, _) = tokio::sync::broadcast::channel::<()>(1);
    let told = sender.clone();
    let dies = Node::start(move |mut stream| {
        let mut told = told.subscribe();
        async move {
            let _ = stream.write_all(b"220 dies\r\n").await;
            let _ = told.recv().await;
            reset(stream);
        }
    })
    .await;
    let good = Node::greeter("good").await;
    let settings = "mode: failover\nhealth: {interval: 1h}";
    let stage = Stage::open("smtp", settings, &[&dies, &good]);
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = stage.client().await;
        assert_eq!(line(&mut client).await, "220 dies\r\n");
        held.push(client);
    }
    sender.send(()).expect("they wait for it");
    wait_until("it is down", || stage.service().nodes[0].state == "down").await;
    assert_eq!(greeted(&stage).await.0, "220 good\r\n");
    drop(held);
    stage.assert_empties().await;
}

#[tokio::test]
async fn sessions_of_a_node_that_is_down_are_kept_or_closed() {
    for (on_down, kept) in [("keep", true), ("close", false)] {
        let (going, staying) = (Node::greeter("going").await, Node::greeter("staying").await);
        let settings =
            format!("mode: failover\nhealth: {{interval: 10ms}}\nfailover: {{on_down: {on_down}}}");
        let stage = Stage::open("smtp", &settings, &[&going, &staying]);
        let mut client = stage.client().await;
        assert_eq!(line(&mut client).await, "220 going\r\n");
        going.stop().await;
        wait_until("it is down", || stage.service().nodes[0].state == "down").await;
        assert_eq!(greeted(&stage).await.0, "220 staying\r\n");
        if kept {
            sleep(Duration::from_millis(300)).await;
            client.write_all(b"still here\r\n").await.expect("it is sent");
            assert_eq!(line(&mut client).await, "still here\r\n");
        } else {
            let end = timeout(LONG, client.read_u8()).await.expect("it is closed");
            assert!(end.is_err(), "{end:?}");
        }
        drop(client);
        stage.assert_empties().await;
    }
}
