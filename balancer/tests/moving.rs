//! Does every client reach a living node, whatever the others do?
//! It does not know how nodes are chosen; real sockets on port 0 show it.

mod stage;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use balancer::outcome::End;
use shared::proxy_header::{Parsed, Source, encode_v2_local, parse};
use stage::{LONG, Node, Stage, file, line, read, reset, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const FAILOVER: &str = "mode: failover\ntimeouts: {greeting: 100ms, connect: 200ms}";

#[tokio::test]
async fn a_node_that_cannot_be_used_costs_no_client() {
    let closes = Node::start(|stream| async move { drop(stream) }).await;
    let resets = Node::start(|stream| async move { reset(stream) }).await;
    let (dead, silent, good) =
        (Node::dead().await, Node::silent().await, Node::greeter("good").await);
    let stage = Stage::open("smtp", FAILOVER, &[&dead, &closes, &resets, &silent, &good]);
    for _ in 0..3 {
        let mut client = stage.client().await;
        assert_eq!(line(&mut client).await, "220 good\r\n");
        client.write_all(b"hello\r\n").await.expect("it is sent");
        assert_eq!(line(&mut client).await, "hello\r\n");
    }
    stage.assert_empties().await;
    let service = stage.service();
    let failures = service.nodes.iter().map(|node| node.failures_total).collect::<Vec<_>>();
    assert_eq!(failures[1..], [3, 3, 3, 0], "each client was moved on by each of them");
    assert_eq!(service.retries_total, 9 + failures[0], "the dead one soon was asked no more");
    assert_eq!(service.nodes[3].last_failure.as_deref(), Some("a client's connection: silent"));
    assert_eq!(service.nodes[4].state, "up");
    wait_until("dials that fail are heard by the judge", || {
        stage.service().nodes[0].state == "down"
    })
    .await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_at_all_costs_a_moment() {
    let (silent, good) = (Node::silent().await, Node::greeter("good").await);
    let (unreachable, _held) = Node::unreachable();
    let text = file("smtp", FAILOVER, &[&silent, &good]);
    let mut stage = Stage::open("tcp", "", &[&good]);
    stage.refit(&text.replace(&silent.address.to_string(), &unreachable.to_string()));
    let began = Instant::now();
    assert_eq!(line(&mut stage.client().await).await, "220 good\r\n");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(1), "{took:?}");
    let node = &stage.service().nodes[0];
    assert_eq!(node.last_failure.as_deref(), Some("a client's connection: overtaken"));
}

#[tokio::test]
async fn what_the_client_said_early_reaches_the_node_that_greets() {
    let (silent, good) = (Node::silent().await, Node::greeter("good").await);
    let stage = Stage::open("smtp", FAILOVER, &[&silent, &good]);
    let mut client = stage.client().await;
    client.write_all(b"EHLO early\r\n").await.expect("it is sent");
    assert_eq!(line(&mut client).await, "220 good\r\n");
    assert_eq!(line(&mut client).await, "EHLO early\r\n", "not lost, and not told twice");
}

#[tokio::test]
async fn the_last_node_is_waited_for() {
    let slow = Node::start(|mut stream| async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let _ = stream.write_all(b"220 slow\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let dead = Node::dead().await;
    let stage = Stage::open("pop3", FAILOVER, &[&dead, &slow]);
    let mut client = stage.client().await;
    assert_eq!(line(&mut client).await, "220 slow\r\n");
}

#[tokio::test]
async fn without_a_node_the_client_is_told_so_in_its_protocol() {
    let dead = Node::dead().await;
    for (protocol, start) in
        [("smtp", "421 4.3.2 "), ("pop3", "-ERR [SYS/TEMP] "), ("imap", "* BYE [UNAVAILABLE] ")]
    {
        let stage = Stage::open(protocol, "", &[&dead]);
        for _ in 0..2 {
            let mut client = stage.client().await;
            client.write_all(b"EHLO early\r\n").await.expect("it is sent");
            let mut got = String::new();
            client.read_to_string(&mut got).await.expect("an orderly end");
            assert!(got.starts_with(start) && got.ends_with("\r\n"), "{got:?}");
        }
        stage.assert_empties().await;
        assert_eq!((stage.ends(End::NoNode), stage.service().no_node_total), (2, 2));
    }
    let stage = Stage::open("tcp", "", &[&dead]);
    // The reset may be there before the client has noticed that it was connected.
    let error = match TcpStream::connect(stage.door()).await {
        Ok(mut client) => client.read_u8().await.expect_err("no orderly end"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_address_has_its_share() {
    let good = Node::greeter("good").await;
    let mut stage = Stage::open("smtp", "", &[&good]);
    let text = file("smtp", "", &[&good]);
    stage.refit(&text.replace("per_address_max: 500", "per_address_max: 2"));
    let mut inside = [stage.client().await, stage.client().await];
    for client in &mut inside {
        assert_eq!(line(client).await, "220 good\r\n");
    }
    assert!(line(&mut stage.client().await).await.starts_with("421 4.7.0 "));
    stage.refit(&text.replace("per_address_max: 500", "per_address_max: 9, connections_max: 2"));
    assert!(line(&mut stage.client().await).await.starts_with("421 4.3.2 "));
    drop(inside);
    stage.assert_empties().await;
    assert_eq!((stage.ends(End::RefusedAddress), stage.ends(End::RefusedLimit)), (1, 1));
    assert_eq!(line(&mut stage.client().await).await, "220 good\r\n");
}

#[tokio::test]
async fn a_client_that_leaves_is_not_dialed_for() {
    for by_reset in [true, false] {
        let silent = [Node::silent().await, Node::silent().await];
        let stage = Stage::open("smtp", "timeouts: {greeting: 10m}", &[&silent[0], &silent[1]]);
        let client = stage.client().await;
        wait_until("a node was dialed", || stage.service().nodes[0].connections == 1).await;
        if by_reset {
            reset(client)
        } else {
            drop(client)
        }
        stage.assert_empties().await;
        assert_eq!(stage.ends(End::ClientLeft), 1);
        assert!(stage.service().nodes.iter().all(|node| node.failures_total == 0));
    }
}

/// What a node reads with its first call, and what the client says it is.
async fn introduced(version: &str) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let node = listener.local_addr().expect("an address");
    let silent = Node::silent().await;
    let text = file("smtp", &format!("proxy_protocol: {version}"), &[&silent]);
    let text = text.replace(&silent.address.to_string(), &node.to_string());
    let mut stage = Stage::open("tcp", "", &[&silent]);
    stage.refit(&text);
    let client = stage.client().await;
    loop {
        let (mut stream, _) = listener.accept().await.expect("somebody");
        let mut first = vec![0; 536];
        let length = stream.read(&mut first).await.expect("a header");
        first.truncate(length);
        let door = stage.door();
        // A look at the node's health says that it comes from the balancer itself.
        if matches!(parse(&first), Parsed::Complete { source: Source::Proxied { server, .. }, .. }
            if server == door)
        {
            return (first, client.local_addr().expect("an address"), door);
        }
    }
}

#[tokio::test]
async fn a_node_is_told_who_the_client_is() {
    for version in ["v1", "v2"] {
        let (first, client, server) = introduced(version).await;
        let source = Source::Proxied { client, server };
        assert_eq!(parse(&first), Parsed::Complete { source, length: first.len() }, "{version}");
    }
}

#[tokio::test]
async fn looks_take_a_node_down_and_bring_it_up() {
    let settings = "health: {interval: 10ms, timeout: 500ms, rise: 2, fall: 2}";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let good = Node::greeter("good").await;
    let text = file("smtp", &format!("mode: failover\n{settings}"), &[&good, &good]);
    let text = text.replacen(&good.address.to_string(), &address.to_string(), 1);
    let mut stage = Stage::open("tcp", "", &[&good]);
    stage.refit(&text);
    wait_until("the first is down", || stage.service().nodes[0].state == "down").await;
    assert_eq!(line(&mut stage.client().await).await, "220 good\r\n");
    assert_eq!(stage.service().retries_total, 0, "nobody had to try the dead one");
    let listener = TcpListener::bind(address).await.expect("its old port");
    wait_until("the first is up", || stage.service().nodes[0].state == "up").await;
    drop(listener);
    wait_until("the first is down again", || stage.service().nodes[0].state == "down").await;
}

#[tokio::test]
async fn a_visit_to_a_node_that_expects_a_header_is_polite() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let node = Node::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            let (mut header, mut goodbye) = (vec![0; encode_v2_local().len()], String::new());
            stream.read_exact(&mut header).await.expect("a header");
            for piece in ["2", "20-hel", "lo\r\n220", " and welcome\r\n"] {
                stream.write_all(piece.as_bytes()).await.expect("somebody listens");
                tokio::task::yield_now().await;
            }
            goodbye.push_str(&line(&mut stream).await);
            stream.write_all(b"221 goodbye\r\n").await.expect("somebody listens");
            stream.shutdown().await.expect("an end");
            let ended = stream.read(&mut [0]).await.map_err(|error| error.kind());
            let _ = sender.send((header, goodbye, ended)).await;
        }
    })
    .await;
    let settings = "proxy_protocol: v2\nhealth: {interval: 10ms, greeting_interval: 10ms}";
    let stage = Stage::open("smtp", settings, &[&node]);
    for _ in 0..3 {
        let (header, goodbye, ended) = receiver.recv().await.expect("it looks");
        assert_eq!((header, goodbye.as_str()), (encode_v2_local(), "QUIT\r\n"));
        assert_eq!(ended, Ok(0), "an orderly end, after the node's");
    }
    assert_eq!(stage.service().nodes[0].state, "up");
}

#[tokio::test]
async fn a_new_file_changes_nothing_for_those_inside() {
    let nodes = [Node::greeter("n0").await, Node::greeter("n1").await, Node::greeter("n2").await];
    let mut stage = Stage::open("smtp", "mode: round-robin", &[&nodes[0], &nodes[1], &nodes[2]]);
    let mut held = Vec::new();
    for expected in ["220 n0\r\n", "220 n1\r\n", "220 n2\r\n"] {
        let mut client = stage.client().await;
        assert_eq!(line(&mut client).await, expected);
        held.push(client);
    }
    stage.refit(&file("smtp", "mode: failover", &[&nodes[0], &nodes[1], &nodes[2]]));
    for _ in 0..2 {
        assert_eq!(line(&mut stage.client().await).await, "220 n0\r\n");
    }
    stage.refit(&file("smtp", "mode: least-connections", &[&nodes[0], &nodes[1], &nodes[2]]));
    for client in &mut held {
        client.write_all(b"still here\r\n").await.expect("it is sent");
        assert_eq!(line(client).await, "still here\r\n");
    }
    wait_until("only those held are counted", || {
        stage.service().nodes.iter().all(|node| node.connections == 1)
    })
    .await;
}

#[tokio::test]
async fn connections_of_a_removed_node_go_on_for_a_while() {
    let (going, staying) = (Node::greeter("going").await, Node::greeter("staying").await);
    let mut stage = Stage::open("smtp", "mode: failover", &[&going, &staying]);
    let mut client = stage.client().await;
    assert_eq!(line(&mut client).await, "220 going\r\n");
    let text = file("smtp", "mode: failover", &[&staying]);
    stage.refit(&format!("{text}drain_timeout: 200ms\n"));
    let began = Instant::now();
    client.write_all(b"still here\r\n").await.expect("it is sent");
    assert_eq!(line(&mut client).await, "still here\r\n");
    assert_eq!(line(&mut stage.client().await).await, "220 staying\r\n");
    let error = client.read_u8().await.expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    stage.assert_empties().await;
}

#[tokio::test]
async fn a_door_that_cannot_be_opened_refuses_the_whole_file() {
    let (old, new) = (Node::greeter("old").await, Node::greeter("new").await);
    let mut stage = Stage::open("smtp", "", &[&old]);
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("an address");
    let text =
        file("smtp", "", &[&new]).replace("listen: 127.0.0.1:0", &format!("listen: {}", taken.0));
    let faults = stage.house.refit(read(&text)).expect_err("the port is taken");
    assert!(faults[0].contains(&format!("cannot listen at {}: ", taken.0)), "{faults:?}");
    assert_eq!(line(&mut stage.client().await).await, "220 old\r\n");
}

#[tokio::test]
async fn doors_move_without_a_gap() {
    let node = Node::greeter("n").await;
    let mut stage = Stage::open("smtp", "", &[&node]);
    let old = stage.door();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr();
    let free = free.expect("an address");
    let listen = |addresses: &str| {
        file("smtp", "", &[&node])
            .replace("127.0.0.1:0\n    protocol", &format!("{addresses}\n    protocol"))
    };
    stage.refit(&listen(&format!("[\"127.0.0.1:0\", \"{free}\"]")));
    for door in [old, free] {
        let mut client = TcpStream::connect(door).await.expect("both doors are open");
        assert_eq!(line(&mut client).await, "220 n\r\n");
    }
    stage.refit(&listen(&format!("\"{free}\"")));
    wait_until("the old door is closed", || std::net::TcpStream::connect(old).is_err()).await;
    let mut client = TcpStream::connect(free).await.expect("the new one is open");
    assert_eq!(line(&mut client).await, "220 n\r\n");
}

#[tokio::test]
async fn stopping_waits_for_those_inside() {
    let node = Node::greeter("n").await;
    let stage = Stage::open("smtp", "", &[&node]);
    let mut staying = stage.client().await;
    let mut leaving = stage.client().await;
    for client in [&mut staying, &mut leaving] {
        assert_eq!(line(client).await, "220 n\r\n");
    }
    stage.house.close_doors();
    wait_until("nobody is let in", || std::net::TcpStream::connect(stage.door()).is_err()).await;
    drop(leaving);
    wait_until("one has left", || stage.house.guests() == 1).await;
    staying.write_all(b"still here\r\n").await.expect("it is sent");
    assert_eq!(line(&mut staying).await, "still here\r\n");
    assert_eq!(stage.house.emptied(Duration::from_millis(10)).await, 1);
    assert_eq!(stage.house.clear().await, 0, "they are cut off in time");
    let cut = tokio::time::timeout(LONG, staying.read_u8()).await.expect("at once");
    assert_eq!(cut.expect_err("no orderly end").kind(), ErrorKind::ConnectionReset);
}
