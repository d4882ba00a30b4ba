//! Is a message lost, doubled or refused when a node dies in the middle of the day?
//! It does not know how the balancer finds out; a node is killed with `kill -9` under load.

use std::fs;
use std::process::Command;

use harness::ledger::Ledger;
use harness::message::subject;
use harness::pop3_client::read_all;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, MOMENT, Pop3Client, SmtpClient, message, run, wait_until};

const SENDERS: usize = 8;

#[test]
fn a_killed_node_loses_nothing_and_refuses_nobody() {
    let mut cluster = Cluster::start(3);
    // One sender is certain to be cut off: it has said half a message to the node that dies.
    let mut half = SmtpClient::hello(cluster.smtp_of("b"));
    half.say("MAIL FROM:<sender@example.net>").is(250);
    half.say(&format!("RCPT TO:<{}>", ALICE.address)).is(250);
    half.say("DATA").is(354);
    half.line().send(b"Subject: half\r\n\r\nhalf a mess").expect("sent");

    let ledger = Ledger::new(cluster.smtp(), ALICE);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| ledger.send_until(500));
        }
        ledger.wait_answered(200);
        cluster.kill_node("b");
    });
    half.read_reply().expect_err("half a message is not answered by a dead node");
    assert!(ledger.answered() >= 500, "{} were answered", ledger.answered());
    ledger.settle(&read_all(cluster.pop3_of("c"), ALICE));
    comes_back(&mut cluster);
}

#[test]
fn nodes_killed_one_after_the_other_lose_nothing() {
    let mut cluster = Cluster::start(3);
    let ledger = Ledger::new(cluster.smtp(), ALICE);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| ledger.send_until(600));
        }
        for (round, node) in ["a", "b", "c", "a", "b", "c"].into_iter().enumerate() {
            ledger.wait_answered(80 * (round + 1));
            cluster.kill_node(node);
            cluster.start_node(node);
        }
    });
    ledger.settle(&cluster.read_all(ALICE));
    every_row_has_its_file(&cluster);
}

/// Each row names a file of its size and checksum.
fn every_row_has_its_file(cluster: &Cluster) {
    let mail = cluster.directory().join("store/mail");
    let mut sums = String::new();
    for row in cluster.sql("select octets, sha256, file from messages") {
        let [octets, sum, file] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("a row of three: {row}")
        };
        let length = fs::metadata(mail.join(file)).expect("the row's file").len();
        assert_eq!(length.to_string(), octets, "octets of {file}");
        sums.push_str(&format!("{sum}  {file}\n"));
    }
    let mut check = Command::new("sha256sum");
    run(check.args(["--check", "--quiet", "-"]).current_dir(&mail), sums.as_bytes()).exits(0);
}

/// The node starts again and takes mail that is read elsewhere.
fn comes_back(cluster: &mut Cluster) {
    cluster.start_node("b");
    send(cluster.smtp_of("b"), BOB.address, &message("back"));
    let his = read_all(cluster.pop3_of("a"), BOB);
    assert_eq!(his.iter().map(|read| subject(read)).collect::<Vec<_>>(), ["back"]);
    // A node that is back gets its share step by step (tests/returning.rs); here it is led no more.
    cluster.edit_balancer_yaml(|text| {
        text.replace("    health: {", "    failover: {return_time: 0s}\n    health: {")
    });
    wait_until("all three have their turn again", MOMENT, || {
        let clients = (0..6).map(|_| SmtpClient::hello(cluster.smtp()).node());
        let mut reached: Vec<_> = clients.collect();
        reached.sort();
        let equal = reached == ["a", "a", "b", "b", "c", "c"];
        if equal { Ok(()) } else { Err(format!("{reached:?}")) }
    });
}

#[test]
fn with_one_node_left_nobody_is_refused() {
    let mut cluster = Cluster::start(3);
    cluster.kill_node("a");
    cluster.kill_node("c");
    for number in 0..20 {
        let mut client = SmtpClient::hello(cluster.smtp());
        assert_eq!(client.node(), "b", "connection {number}");
        client.deliver(ALICE.address, &message("still")).expect("an answer").is(250);
        client.quit();
    }
    assert_eq!(cluster.read_all(ALICE).len(), 20);
}

#[test]
fn a_reader_of_a_dead_node_finds_all_its_mail_at_another() {
    let mut cluster = Cluster::start(2);
    for number in 0..3 {
        send(cluster.smtp_of("a"), ALICE.address, &message(&format!("mail {number}")));
    }
    let mut reader = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    let names = reader.lines("UIDL");
    reader.ok("DELE 1");
    cluster.kill_node("a");
    reader.say("QUIT").expect_err("a dead node does not answer");

    // Deletes are done at QUIT only, so nothing is gone; and the names are the same everywhere.
    let mut reader = Pop3Client::login(cluster.pop3(), ALICE);
    assert_eq!(reader.lines("UIDL"), names);
    reader.ok("DELE 1");
    reader.quit();
    let mut reader = Pop3Client::login(cluster.pop3(), ALICE);
    assert_eq!(reader.stat().0, 2);
    reader.quit();
}
