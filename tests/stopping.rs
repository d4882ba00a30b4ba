//! Does a node that is asked to stop let those inside finish what they are at?
//! It does not know how it waits; clients in the middle of things see what becomes of them.

use std::time::Duration;

use harness::{ALICE, Cluster, Pop3Client, SmtpClient, message, smtp_client};
use rustix::process::Signal;

#[test]
fn a_transaction_is_finished_an_idle_client_is_told_and_marks_count() {
    let mut cluster = Cluster::start(2);
    smtp_client::send(cluster.smtp_of("a"), ALICE.address, &message("before"));
    let mut idle = SmtpClient::hello(cluster.smtp_of("a"));
    let mut busy = SmtpClient::hello(cluster.smtp_of("a"));
    busy.say("MAIL FROM:<x@example.net>").is(250);
    busy.say(&format!("RCPT TO:<{}>", ALICE.address)).is(250);
    let mut reader = Pop3Client::login(cluster.pop3_of("a"), ALICE);
    reader.ok("DELE 1");

    cluster.node_process("a").signal(Signal::TERM);
    idle.read_reply().expect("a goodbye").begins("421 4.3.2");
    busy.say("DATA").is(354);
    busy.line().send(b"Subject: during\r\n\r\nduring\r\n.\r\n").expect("it is sent");
    busy.read_reply().expect("an answer").is(250);
    busy.read_reply().expect("and then a goodbye").is(421);
    // The marks of an open maildrop are still carried out.
    reader.quit();
    let status = cluster.node_process("a").wait(Duration::from_secs(20));
    assert!(status.success(), "{status}: {}", cluster.node_log("a"));

    let left = cluster.read_all(ALICE);
    assert_eq!(left.len(), 1, "the one that was marked is gone, the one that came last is there");
    assert!(String::from_utf8_lossy(&left[0]).contains("Subject: during"));
}
