//! Do bytes, ends and resets come through as they were sent, both ways?
//! It does not know how they are carried; real sockets on port 0 show it.

mod stage;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balancer::outcome::End;
use stage::{LONG, Node, Stage, line, pattern, reset, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn a_client_that_ends_first_still_gets_everything() {
    for protocol in ["tcp", "smtp"] {
        let node = Node::start(|mut stream| async move {
            stream.write_all(b"220 hello\r\n").await.expect("it greets");
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.expect("the client's end comes through");
            assert_eq!(asked, b"all of it, please");
            for piece in pattern(MEGABYTE).chunks(100_000) {
                stream.write_all(piece).await.expect("the client listens");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let stage = Stage::open(protocol, "", &[&node]);
        let mut client = stage.client().await;
        client.write_all(b"all of it, please").await.expect("it is sent");
        client.shutdown().await.expect("an end");
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("an orderly end");
        assert_eq!(got.len(), 11 + MEGABYTE, "{protocol}");
        assert!(got[11..] == pattern(MEGABYTE), "{protocol}: some byte is wrong");
        stage.assert_empties().await;
        assert_eq!(stage.ends(End::ClientClosed), 1);
        let node = &stage.service().nodes[0];
        assert_eq!((node.bytes_to_node_total, node.bytes_to_client_total), (17, 11 + (1 << 20)));
    }
}

#[tokio::test]
async fn a_node_that_ends_first_still_gets_everything() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let node = Node::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            stream.write_all(b"220 go\r\n").await.expect("it greets");
            stream.shutdown().await.expect("an end");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.expect("an orderly end");
            sender.send(got).await.expect("the test waits");
        }
    })
    .await;
    let stage = Stage::open("smtp", "", &[&node]);
    let mut client = stage.client().await;
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("the node's end comes through");
    assert_eq!(got, b"220 go\r\n");
    for piece in pattern(MEGABYTE).chunks(70_000) {
        client.write_all(piece).await.expect("the node still reads");
    }
    client.shutdown().await.expect("an end");
    let mut got = receiver.recv().await.expect("the node got it");
    if got.is_empty() {
        // That was the look at the node's health.
        got = receiver.recv().await.expect("the node got it");
    }
    assert!(got == pattern(MEGABYTE), "{} bytes", got.len());
    stage.assert_empties().await;
    assert_eq!(stage.ends(End::NodeClosed), 1);
}

#[tokio::test]
async fn a_nodes_reset_is_a_reset_after_what_it_had_said() {
    let node = Node::start(|mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.expect("it greets");
        stream.read_u8().await.expect("the client speaks");
        stream.write_all(b"half an ans").await.expect("it speaks");
        // Only when the client has it all is there nothing left to lose on the way.
        stream.read_u8().await.expect("the client speaks");
        reset(stream);
    })
    .await;
    let stage = Stage::open("smtp", "", &[&node]);
    let mut client = stage.client().await;
    client.write_all(b"?").await.expect("it is sent");
    let mut got = [0; 22];
    client.read_exact(&mut got).await.expect("what the node had said");
    assert_eq!(&got, b"220 hello\r\nhalf an ans");
    client.write_all(b"!").await.expect("it is sent");
    let error = client.read_u8().await.expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    stage.assert_empties().await;
    assert_eq!(stage.ends(End::NodeReset), 1);
}

#[tokio::test]
async fn a_clients_reset_is_a_reset() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let node = Node::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            stream.write_all(b"220 hello\r\n").await.expect("it greets");
            let error = stream.read_to_end(&mut Vec::new()).await.expect_err("no orderly end");
            sender.send(error.kind()).await.expect("the test waits");
        }
    })
    .await;
    let stage = Stage::open("smtp", "", &[&node]);
    let mut client = stage.client().await;
    line(&mut client).await;
    client.write_all(b"DATA, and so").await.expect("it is sent");
    wait_until("it came through", || stage.service().nodes[0].bytes_to_node_total == 12).await;
    reset(client);
    assert_eq!(receiver.recv().await, Some(ErrorKind::ConnectionReset));
    stage.assert_empties().await;
    assert_eq!(stage.ends(End::ClientReset), 1);
}

/// The trap of every relay that takes "hung up, and nothing more to read" for an end.
#[tokio::test]
async fn resets_after_an_end_leave_nothing_behind() {
    let node = Node::start(|mut stream| async move {
        let _ = stream.write_all(b"220 hello\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        // It never answers, and never ends by itself.
        tokio::time::sleep(LONG * 10).await;
    })
    .await;
    let stage = Stage::open("smtp", "", &[&node]);
    for _ in 0..50 {
        let mut client = stage.client().await;
        line(&mut client).await;
        client.shutdown().await.expect("an end");
        reset(client);
    }
    stage.assert_empties().await;
}

#[tokio::test]
async fn a_slow_reader_stalls_the_sender() {
    const ALL: usize = 64 << 20;
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let node = Node::start(move |mut stream| {
        let count = count.clone();
        async move {
            if stream.read_u8().await.is_err() {
                return; // a look at the node's health
            }
            let piece = pattern(MEGABYTE);
            for _ in 0..ALL / MEGABYTE {
                stream.write_all(&piece).await.expect("the client reads at last");
                count.fetch_add(MEGABYTE as u64, Ordering::Relaxed);
            }
        }
    })
    .await;
    let stage = Stage::open("tcp", "", &[&node]);
    let mut client = stage.client().await;
    client.write_all(b"?").await.expect("it is sent");
    wait_until("it has begun", || sent.load(Ordering::Relaxed) > 0).await;
    // It is stalled when a while has passed in which nothing moved.
    let mut before = u64::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // What the kernel's four buffers hold on the way, and one scratch buffer of ours.
    assert!(before < ALL as u64, "all {before} bytes were taken from the node with nobody reading");
    let piece = pattern(MEGABYTE);
    let mut got = vec![0; MEGABYTE];
    for _ in 0..ALL / MEGABYTE {
        client.read_exact(&mut got).await.expect("it goes on");
        assert!(got == piece, "some byte is wrong");
    }
    assert_eq!(client.read(&mut got).await.expect("an orderly end"), 0);
    drop(client);
    stage.assert_empties().await;
}

#[tokio::test]
async fn any_cut_of_the_bytes_is_exact() {
    let node = Node::greeter("n").await;
    let stage = Stage::open("smtp", "", &[&node]);
    let all = pattern(3 * MEGABYTE);
    for round in 1..6_usize {
        let mut client = stage.client().await;
        assert_eq!(line(&mut client).await, "220 n\r\n");
        let (mut read, mut write) = client.into_split();
        let bytes = all.clone();
        let writing = tokio::spawn(async move {
            let (mut rest, mut length) = (&bytes[..], round);
            while !rest.is_empty() {
                // 1 to about 200,000 bytes, in no order.
                length = (length * 7919 + 13) % 200_003 + 1;
                let (piece, after) = rest.split_at(length.min(rest.len()));
                write.write_all(piece).await.expect("it is taken");
                rest = after;
                if length % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            write.shutdown().await.expect("an end");
        });
        let mut got = Vec::new();
        timeout(LONG, read.read_to_end(&mut got)).await.expect("in time").expect("an end");
        assert!(got == all, "{} of {} bytes, round {round}", got.len(), all.len());
        writing.await.expect("it has written");
    }
    stage.assert_empties().await;
    let node = &stage.service().nodes[0];
    assert_eq!(node.bytes_to_node_total, 5 * all.len() as u64);
    assert_eq!(node.bytes_to_client_total, 5 * (all.len() as u64 + 7));
}

/// Both speak at once and neither listens until it has said all: nothing may wait for a turn.
#[tokio::test]
async fn both_ways_at_once_do_not_wait_for_each_other() {
    let node = Node::start(|mut stream| async move {
        let mut first = [0];
        if stream.read(&mut first).await.is_ok_and(|length| length == 1) {
            talk(stream).await;
        }
    })
    .await;
    let stage = Stage::open("tcp", "", &[&node]);
    let talks = (0..4).map(|_| async {
        let mut client = stage.client().await;
        client.write_all(b"?").await.expect("it is sent");
        talk(client).await;
    });
    let talks: Vec<_> = talks.map(Box::pin).collect();
    for talk in talks {
        timeout(LONG, talk).await.expect("in time");
    }
    stage.assert_empties().await;
    assert_eq!(stage.service().nodes[0].bytes_to_client_total, 4 * 3 * MEGABYTE as u64);
}

/// Says three megabytes and an end, and hears as many of the other, in pieces and with pauses.
async fn talk(stream: tokio::net::TcpStream) {
    let (mut read, mut write) = stream.into_split();
    let speaking = tokio::spawn(async move {
        for (number, piece) in pattern(3 * MEGABYTE).chunks(33_333).enumerate() {
            write.write_all(piece).await.expect("it is taken");
            if number % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        write.shutdown().await.expect("an end");
    });
    let mut got = Vec::new();
    let mut piece = vec![0; 7_777];
    loop {
        match read.read(&mut piece).await.expect("it goes on") {
            0 => break,
            length => got.extend_from_slice(&piece[..length]),
        }
        if got.len() % 11 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(got == pattern(3 * MEGABYTE), "{} bytes", got.len());
    speaking.await.expect("it has said all");
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let node = Node::greeter("n").await;
    let stage = Stage::open("smtp", "timeouts: {idle: 100ms}", &[&node]);
    let mut client = stage.client().await;
    line(&mut client).await;
    for _ in 0..10 {
        // Each byte begins the time anew: all of them take longer than it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.write_all(b".").await.expect("it is not idle");
        assert_eq!(client.read_u8().await.expect("it comes back"), b'.');
    }
    let error = client.read_u8().await.expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    stage.assert_empties().await;
    assert_eq!(stage.ends(End::Idle), 1);
}

#[tokio::test]
async fn a_hundred_odd_ends_leave_no_count_behind() {
    let node = Node::start(|mut stream| async move {
        let mut first = [0; 1];
        let _ = stream.write_all(b"220 hello\r\n").await;
        match stream.read(&mut first).await {
            Ok(1) if first[0] == b'r' => reset(stream),
            Ok(1) if first[0] == b'e' => drop(stream.shutdown().await),
            Ok(1) if first[0] == b'b' => drop(stream.write_all(&pattern(MEGABYTE)).await),
            _ => {}
        }
    })
    .await;
    let dead = Node::dead().await;
    let stage = Stage::open("smtp", "mode: round-robin", &[&node, &dead]);
    for round in 0..100 {
        let mut client = stage.client().await;
        match round % 8 {
            0 => drop(client),
            1 => reset(client),
            2 => drop(client.shutdown().await),
            3 => {
                line(&mut client).await;
                drop(client.write_all(b"r").await);
            }
            4 => {
                drop(client.write_all(b"e").await);
                drop(client.read_to_end(&mut Vec::new()).await);
            }
            5 => {
                line(&mut client).await;
                drop(client.write_all(b"b").await);
                reset(client);
            }
            6 => {
                line(&mut client).await;
                drop(client.write_all(b"b").await);
                drop(client);
            }
            _ => drop(client.write_all(&pattern(MEGABYTE)[..100_000]).await),
        }
    }
    stage.assert_empties().await;
    assert_eq!(stage.service().connections_total, 100);
}
