//! A database server dies under load and its standby is promoted: is a message lost, kept twice,
//! refused, or given a number that another had? How long until mail is taken again?
//! It does not know who promotes; whoever runs the databases does, here the test.
//!
//! `PROMOTIONS=10 ./tests/run promotion` lets ten primaries die in place of two.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::cluster::Plan;
use harness::database::{Kind, Pair};
use harness::ledger::Ledger;
use harness::pop3_client::read_all;
use harness::smtp_client::send;
use harness::{ALICE, Cluster, MOMENT, message, wait_until};

const SENDERS: usize = 8;
/// What is promised on a quiet machine is half a second; CI's machine stops at times.
const PATIENCE: Duration = Duration::from_secs(10);

fn two_nodes() -> Plan {
    Plan { nodes: 2, ..Plan::default() }
}

/// One primary killed under load; the time from its standby's promotion to the next 250.
fn lets_a_primary_die(kind: Kind) -> Duration {
    let pair = Pair::start(kind);
    let cluster = Cluster::on(pair.database(), &two_nodes());
    let ledger = Ledger::new(cluster.smtp(), ALICE);
    let mut waited = Duration::ZERO;
    let mut before = BTreeMap::new();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| ledger.send_until(400));
        }
        ledger.wait_answered(150);
        before = numbers(&pair.primary.sql("mail", NUMBERS));
        pair.primary.kill();
        pair.promote();
        let promoted = Instant::now();
        let answered = ledger.answered();
        wait_until("mail is taken again", MOMENT, || {
            if ledger.answered() > answered { Ok(()) } else { Err(format!("{answered} are")) }
        });
        waited = promoted.elapsed();
    });
    ledger.settle(&cluster.read_all(ALICE));
    let after = numbers(&pair.standby.sql("mail", NUMBERS));
    for (number, guid) in &before {
        assert_eq!(after.get(number), Some(guid), "number {number} before and after");
    }
    let generations = "select generation, server <> '' from generations order by generation";
    assert_eq!(pair.standby.sql("mail", generations).len(), 2, "a promotion, noted once");
    waited
}

const NUMBERS: &str = "select uid, guid from messages";

fn numbers(rows: &[String]) -> BTreeMap<i64, String> {
    let parted = rows.iter().filter_map(|row| row.split_once('|'));
    parted.map(|(uid, guid)| (uid.parse().expect("a number"), guid.to_owned())).collect()
}

fn let_primaries_die(kind: Kind) {
    let rounds = std::env::var("PROMOTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let mut waited: Vec<_> = (0..rounds).map(|_| lets_a_primary_die(kind)).collect();
    waited.sort();
    let (middle, longest) = (waited[waited.len() / 2], waited[waited.len() - 1]);
    println!("{kind:?}: {rounds} promotions, to the next 250 p50 {middle:?} max {longest:?}");
    assert!(longest < PATIENCE, "{waited:?}");
}

#[test]
fn on_postgresql_nothing_is_lost_with_the_primary() {
    let_primaries_die(Kind::Postgresql);
}

#[test]
fn on_mariadb_nothing_is_lost_with_the_primary() {
    let_primaries_die(Kind::Mariadb);
}

/// A standby that lagged is promoted: what it never heard of is lost, and that is for whoever set
/// it up so; but no number is given to another message, for a client may have the first one.
fn gives_no_number_twice(kind: Kind) {
    let pair = Pair::start(kind);
    let mut cluster = Cluster::on(pair.database(), &two_nodes());
    send(cluster.smtp(), ALICE.address, &message("known to both"));
    pair.part();
    for number in 0..5 {
        send(cluster.smtp(), ALICE.address, &message(&format!("lost {number}")));
    }
    let given = numbers(&pair.primary.sql("mail", NUMBERS));
    let highest = *given.keys().last().expect("six");
    assert_eq!(given.len(), 6);
    pair.primary.kill();
    pair.promote();
    send(cluster.smtp(), ALICE.address, &message("after"));
    let after = numbers(&pair.standby.sql("mail", NUMBERS));
    let (new, _) = after.iter().next_back().expect("two");
    assert!(after.len() == 2 && *new > highest, "{after:?} after {highest}");

    // The demoted one comes back and takes itself for the primary: nobody writes to it.
    pair.primary.tell("start");
    pair.primary.wait_ready();
    cluster.kill_node("a");
    cluster.start_node("a");
    for node in ["a", "b"] {
        send(cluster.smtp_of(node), ALICE.address, &message("later"));
    }
    assert_eq!(pair.primary.sql("mail", NUMBERS).len(), 6, "the demoted server was written to");
    assert_eq!(read_all(cluster.pop3_of("a"), ALICE).len(), 4);
}

#[test]
fn on_postgresql_a_standby_that_lagged_gives_no_number_twice() {
    gives_no_number_twice(Kind::Postgresql);
}

#[test]
fn on_mariadb_a_standby_that_lagged_gives_no_number_twice() {
    gives_no_number_twice(Kind::Mariadb);
}
