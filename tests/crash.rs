//! What is left when a node dies between the message's file and its row, or between its row and
//! the 250? (DESIGN §4) It does not know how mail is kept: `MAILNODE_CRASH`, an environment
//! variable that test builds obey, makes the node kill itself at such a place.

use std::fs;
use std::path::{Path, PathBuf};

use harness::cluster::Plan;
use harness::message::subject;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, MOMENT, SmtpClient, message, of_size, wait_until};

/// Orphans are swept soon, so that a test can see it.
const SWEEP: &str = "sweep: {interval: 1s, orphan_age: 5s}\n";

#[test]
fn before_the_commit_nothing_is_kept_and_the_orphan_is_swept() {
    let mut cluster = with_a_crash("before-commit");
    send(cluster.smtp_of("b"), ALICE.address, &message("kept"));
    dies_without_an_answer(&mut cluster, "lost");

    let files = files_below(&cluster.directory().join("store/mail"));
    assert_eq!(files.len(), 2, "one that is kept, one orphan: {files:?}");
    assert_eq!(cluster.sql("select count(*) from messages"), ["1"]);
    assert_eq!(subjects(&cluster), ["kept"]);

    // The sender comes again, as senders do, and gets its message through the other node.
    send(cluster.smtp(), ALICE.address, &message("lost"));
    assert_eq!(subjects(&cluster), ["kept", "lost"]);

    wait_until("the orphan is swept, and it alone", MOMENT, || {
        let files = files_below(&cluster.directory().join("store/mail"));
        if files.len() == 2 { Ok(()) } else { Err(format!("{files:?}")) }
    });
    assert_eq!(subjects(&cluster), ["kept", "lost"]);
    comes_back_with_a_clean_temp(&mut cluster);
}

#[test]
fn after_the_commit_the_message_is_there_once() {
    let mut cluster = with_a_crash("after-commit");
    dies_without_an_answer(&mut cluster, "unanswered");

    // No answer, yet kept: the sender cannot know and will come again, which SMTP allows.
    assert_eq!(subjects(&cluster), ["unanswered"]);
    comes_back_with_a_clean_temp(&mut cluster);
    assert_eq!(subjects(&cluster), ["unanswered"]);
    let files = files_below(&cluster.directory().join("store/mail/example.test/alice"));
    assert_eq!(files.len(), 1, "its one file: {files:?}");
}

#[test]
fn a_message_to_two_is_kept_for_both_or_for_none() {
    for (place, kept) in [("before-commit", 0), ("after-commit", 1)] {
        let mut cluster = with_a_crash(place);
        let mut client = SmtpClient::hello(cluster.smtp_of("a"));
        let answer = client.deliver_to(&[ALICE.address, BOB.address], &message("to two"));
        answer.expect_err("the node died before it could answer");
        cluster.node_process("a").wait(MOMENT);
        for user in [ALICE, BOB] {
            let found = cluster.read_all(user).len();
            assert_eq!(found, kept, "{place}: messages of {}", user.address);
        }
    }
}

/// Two nodes; the first kills itself at `place` of its next delivery.
fn with_a_crash(place: &str) -> Cluster {
    let mut cluster = Cluster::planned(&Plan { nodes: 2, node_yaml: SWEEP, ..Plan::default() });
    cluster.kill_node("a");
    cluster.start_node_with("a", &[("MAILNODE_CRASH", place)]);
    cluster
}

fn dies_without_an_answer(cluster: &mut Cluster, name: &str) {
    let mut client = SmtpClient::hello(cluster.smtp_of("a"));
    let answer = client.deliver(ALICE.address, &message(name));
    answer.expect_err("the node died before it could answer");
    cluster.node_process("a").wait(MOMENT);
}

/// A node dies with a message half taken; what it left in its own temp goes at its next start.
fn comes_back_with_a_clean_temp(cluster: &mut Cluster) {
    cluster.start_node("a");
    let temp = cluster.directory().join("temp/a");
    let mut half = SmtpClient::hello(cluster.smtp_of("a"));
    half.say("MAIL FROM:<sender@example.net>").is(250);
    half.say(&format!("RCPT TO:<{}>", BOB.address)).is(250);
    half.say("DATA").is(354);
    half.line().send(&of_size("half", 1 << 20)).expect("sent");
    wait_until("half a message lies in temp", MOMENT, || {
        let files = files_below(&temp);
        if files.len() == 1 { Ok(()) } else { Err(format!("{files:?}")) }
    });
    cluster.kill_node("a");
    assert_eq!(files_below(&temp).len(), 1, "a dead node tidies nothing up");
    cluster.start_node("a");
    let left = files_below(&temp);
    assert!(left.is_empty(), "left in temp: {left:?}");
    send(cluster.smtp_of("a"), BOB.address, &message("alive"));
    assert_eq!(cluster.read_all(BOB).len(), 1);
}

fn subjects(cluster: &Cluster) -> Vec<String> {
    cluster.read_all(ALICE).iter().map(|read| subject(read)).collect()
}

/// All files below a directory but those that begin with a dot (the store's marker).
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    let paths = paths.filter(|path| !hidden(path));
    let found = paths.flat_map(|path| match path.is_dir() {
        true => files_below(&path),
        false => vec![path],
    });
    found.collect()
}
