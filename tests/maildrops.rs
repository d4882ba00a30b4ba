//! Has a maildrop one reader at a time, over all nodes, whatever becomes of node and reader? And
//! does nobody delete what he no longer holds (RFC 1939 §4, §6, §8)?
//! It does not know how a hold is kept; it logs in at one node and another.

use std::time::Instant;

use harness::database::Kind;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, MOMENT, Plan, Pop3Client, message, wait_until};
use rustix::process::Signal;

/// USER and PASS at a node; the answer to the latter.
fn try_login(port: u16) -> (Pop3Client, String) {
    let mut client = Pop3Client::connect(port).expect("a greeting");
    client.ok(&format!("USER {}", ALICE.address));
    let answer = client.say(&format!("PASS {}", ALICE.password)).expect("an answer");
    (client, answer)
}

/// Tries at a node until it is let in.
fn login_at_last(what: &str, port: u16) -> Pop3Client {
    wait_until(what, MOMENT, || match try_login(port) {
        (client, answer) if answer.starts_with("+OK") => Ok(client),
        (_, answer) => Err(answer),
    })
}

fn with_three_messages(nodes: u8) -> (Cluster, Vec<String>) {
    let cluster = Cluster::start(nodes);
    for subject in ["one", "two", "three"] {
        send(cluster.smtp(), ALICE.address, &message(subject));
    }
    let mut reader = Pop3Client::login(cluster.pop3(), ALICE);
    let uids = reader.lines("UIDL");
    assert_eq!(uids.len(), 3);
    reader.quit();
    (cluster, uids)
}

#[test]
fn a_second_reader_is_told_at_once_and_let_in_when_the_first_has_left() {
    let (cluster, uids) = with_three_messages(2);
    let [a, b] = ["a", "b"].map(|node| cluster.pop3_of(node));
    let mut first = Pop3Client::login(a, ALICE);
    for port in [a, b] {
        let begun = Instant::now();
        let (mut second, answer) = try_login(port);
        assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
        eprintln!("told after {:?}", begun.elapsed());
        // He is in nobody's way, and another maildrop is open to him.
        second.ok(&format!("USER {}", BOB.address));
        second.ok(&format!("PASS {}", BOB.password));
        second.quit();
    }
    first.ok("DELE 2");
    first.quit();
    // After the answer to QUIT, without waiting.
    let mut second = Pop3Client::login(b, ALICE);
    let left = second.lines("UIDL");
    assert_eq!(left.len(), 2);
    for (line, before) in left.iter().zip([&uids[0], &uids[2]]) {
        assert_eq!(line.split(' ').nth(1), before.split(' ').nth(1));
    }
    second.quit();
    // One who asks for nothing to be deleted leaves no later.
    Pop3Client::login(a, ALICE).quit();
    Pop3Client::login(b, ALICE).quit();
}

#[test]
fn a_reader_who_vanishes_leaves_the_maildrop_free_and_nothing_deleted() {
    let (cluster, uids) = with_three_messages(2);
    let mut first = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    first.ok("DELE 1");
    drop(first);
    let mut second = login_at_last("the dropped one is gone", cluster.pop3_of("b"));
    assert_eq!(second.lines("UIDL"), uids);
    second.quit();
}

#[test]
fn a_node_that_dies_leaves_the_maildrop_free_and_nothing_deleted() {
    let (mut cluster, uids) = with_three_messages(2);
    let mut first = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    first.ok("DELE 1");
    let (_, answer) = try_login(cluster.pop3_of("b"));
    assert!(answer.starts_with("-ERR [IN-USE] "), "{answer}");
    let begun = Instant::now();
    cluster.kill_node("a");
    let mut second = login_at_last("the dead node's hold is void", cluster.pop3_of("b"));
    eprintln!("free {:?} after the kill", begun.elapsed());
    assert_eq!(second.lines("UIDL"), uids);
    second.quit();
    drop(first);
    // The next run under the same name has nothing of it.
    cluster.start_node("a");
    let mut again = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    assert_eq!(again.lines("UIDL"), uids);
    again.quit();
}

#[test]
fn a_node_that_was_frozen_deletes_nothing_when_it_goes_on() {
    let (mut cluster, uids) = with_three_messages(2);
    let mut first = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    first.ok("DELE 1");
    let begun = Instant::now();
    cluster.node_process("a").signal(Signal::STOP);
    let mut second = login_at_last("the frozen node's hold is void", cluster.pop3_of("b"));
    eprintln!("free {:?} after the freeze", begun.elapsed());
    assert_eq!(second.lines("UIDL"), uids);
    cluster.node_process("a").signal(Signal::CONT);
    // The balancer may have ended that connection meanwhile; if it has not, it is told no.
    if let Ok(answer) = first.say("QUIT") {
        assert!(answer.starts_with("-ERR [SYS/TEMP] "), "{answer}");
        eprintln!("the frozen session was answered {answer:?}");
    }
    assert_eq!(second.lines("UIDL"), uids);
    second.quit();
    let mut third = Pop3Client::login(cluster.pop3_of("b"), ALICE);
    assert_eq!(third.lines("UIDL"), uids);
    third.quit();
}

#[test]
fn logins_come_no_sooner_than_the_delay_allows() {
    let node_yaml = "login_delay: 5s\n";
    let cluster = Cluster::planned(&Plan { nodes: 2, node_yaml, ..Plan::default() });
    let mut first = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    assert!(first.lines("CAPA").contains(&"LOGIN-DELAY 5".to_owned()));
    let begun = Instant::now();
    first.quit();
    let (_, answer) = try_login(cluster.pop3_of("b"));
    if begun.elapsed().as_secs() < 4 {
        assert!(answer.starts_with("-ERR [LOGIN-DELAY] "), "{answer}");
    }
    login_at_last("the delay is over", cluster.pop3_of("b")).quit();
}

#[test]
fn a_hundred_thousand_messages() {
    let cluster = Cluster::planned(&Plan { nodes: 1, ..Plan::default() });
    send(cluster.smtp(), ALICE.address, &message("the only one with a file"));
    let digits = "(select 0 as d union all select 1 union all select 2 union all select 3 union \
                  all select 4 union all select 5 union all select 6 union all select 7 union all \
                  select 8 union all select 9)";
    let number = "(a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d)";
    let pipes = match Kind::chosen() {
        Kind::Mariadb => "set sql_mode = 'PIPES_AS_CONCAT'; ",
        _ => "",
    };
    cluster.sql(&format!(
        "{pipes}insert into messages (mailbox_id, uid, guid, file, octets, sha256, \
         internal_date_us, flags, modseq, delivery_id) select m.mailbox_id, {number} + 10, \
         m.guid || {number}, \
         'example.test/alice/' || m.guid || {number} || '.eml', 1000, m.sha256, 0, 0, 1, \
         m.delivery_id || {number} from messages m, {digits} a, {digits} b, {digits} c, \
         {digits} e, {digits} f"
    ));
    // Once for a database that has not seen them yet.
    let mut client = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    client.quit();
    client = Pop3Client::connect(cluster.pop3_of("a")).expect("a greeting");
    client.ok(&format!("USER {}", ALICE.address));
    let begun = Instant::now();
    client.ok(&format!("PASS {}", ALICE.password));
    let opened = begun.elapsed();
    assert_eq!(client.stat().0, 100_001);
    let uids = client.lines("UIDL");
    eprintln!("opened in {opened:?}; with STAT and UIDL {:?}", begun.elapsed());
    assert_eq!(uids.len(), 100_001);
    assert_eq!(client.lines("LIST").len(), 100_001);
    assert!(!client.retr(1).is_empty());
    client.quit();
}
