//! Who is one too many is told so, and nobody else: of a service, of a node, of an address.
//! It does not know who decides it; real sockets on port 0 show it.

mod stage;

use balancer::outcome::End;
use stage::{Node, Stage, file, line, wait_until};
use tokio::net::TcpStream;

/// The first line of a client that comes now.
async fn said(stage: &Stage) -> (String, TcpStream) {
    let mut client = stage.client().await;
    (line(&mut client).await, client)
}

#[tokio::test]
async fn a_service_has_its_limit() {
    let (one, other) = (Node::greeter("n").await, Node::greeter("n").await);
    let stage = Stage::open("imap", "limits: {connections_max: 3}", &[&one, &other]);
    let mut inside = Vec::new();
    for _ in 0..3 {
        let (said, client) = said(&stage).await;
        assert_eq!(said, "220 n\r\n");
        inside.push(client);
    }
    for _ in 0..5 {
        let (said, _) = said(&stage).await;
        assert_eq!(said, "* BYE [UNAVAILABLE] Too many connections, try later\r\n");
    }
    inside.pop();
    let held = || stage.service().nodes.iter().map(|node| node.connections).sum::<usize>();
    wait_until("a place is free", || held() == 2).await;
    assert_eq!(said(&stage).await.0, "220 n\r\n", "those refused hold no place");
    drop(inside);
    stage.assert_empties().await;
    assert_eq!(stage.ends(End::RefusedService), 5);
    assert_eq!(stage.service().nodes.iter().map(|node| node.failures_total).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_full_node_is_passed_over_and_the_dead_are_not_asked_for_want_of_it() {
    for mode in ["round-robin", "least-connections", "failover"] {
        let (one, other, dead) =
            (Node::greeter("n0").await, Node::greeter("n1").await, Node::dead().await);
        let settings = format!(
            "mode: {mode}\nlimits: {{connections_per_node_max: 2}}\nhealth: {{interval: 10ms}}"
        );
        let stage = Stage::open("pop3", &settings, &[&one, &other, &dead]);
        wait_until("the dead one is down", || stage.service().nodes[2].state == "down").await;
        let mut inside = Vec::new();
        for _ in 0..4 {
            let (said, client) = said(&stage).await;
            inside.push((said, client));
        }
        let mut greetings: Vec<_> = inside.iter().map(|(said, _)| said.as_str()).collect();
        greetings.sort_unstable();
        assert_eq!(greetings, ["220 n0\r\n", "220 n0\r\n", "220 n1\r\n", "220 n1\r\n"], "{mode}");
        let (said_now, _) = said(&stage).await;
        assert!(said_now.starts_with("-ERR [SYS/TEMP] Too many connections"), "{said_now}");
        assert_eq!(stage.ends(End::RefusedNodes), 1);
        drop(inside);
        stage.assert_empties().await;
    }
}

#[tokio::test]
async fn an_address_may_come_so_often() {
    let node = Node::greeter("n").await;
    let mut stage = Stage::open("smtp", "", &[&node]);
    let text = file("smtp", "", &[&node]);
    let limited = "connections_per_address_per_minute_max: 5, connections_per_address_max";
    stage.refit(&text.replace("connections_per_address_max", limited));
    let mut lines = Vec::new();
    for _ in 0..9 {
        lines.push(said(&stage).await.0);
    }
    assert!(lines[..5].iter().all(|line| line == "220 n\r\n"), "{lines:?}");
    assert!(lines[5..].iter().all(|line| line.starts_with("421 4.7.0 ")), "{lines:?}");
    assert_eq!(stage.ends(End::RefusedRate), 4);
    stage.refit(&text);
    assert_eq!(said(&stage).await.0, "220 n\r\n");
}
