//! Is a message lost, doubled or refused when a node dies in the middle of the day?
//! It does not know how the balancer finds out; a node is killed with `kill -9` under load.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::message::subject;
use harness::pop3_client::read_all;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, MOMENT, Pop3Client, SmtpClient, message, wait_until};

const MESSAGES: usize = 500;
const SENDERS: usize = 8;
/// The node dies when so many have been answered.
const KILLED_AFTER: usize = 200;

/// What a sender saw of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// 250.
    Answered,
    /// The connection broke after the greeting; the sender will come again.
    CutOff,
    /// No connection, no greeting, or a reply that is no 250: this must never be.
    Refused(String),
}

#[test]
fn a_killed_node_loses_nothing_and_refuses_nobody() {
    let mut cluster = Cluster::start(3);
    // One sender is certain to be cut off: it has said half a message to the node that dies.
    let mut half = SmtpClient::hello(cluster.smtp_of("b"));
    half.say("MAIL FROM:<sender@example.net>").is(250);
    half.say(&format!("RCPT TO:<{}>", ALICE.address)).is(250);
    half.say("DATA").is(354);
    half.line().send(b"Subject: half\r\n\r\nhalf a mess").expect("sent");

    let smtp = cluster.smtp();
    let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ledger = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| sends(smtp, &next, &answered, &ledger));
        }
        wait_until("half of the messages are sent", MOMENT * 3, || {
            let count = answered.load(Ordering::Relaxed);
            if count >= KILLED_AFTER { Ok(()) } else { Err(format!("{count} are answered")) }
        });
        cluster.kill_node("b");
    });
    let ledger = ledger.into_inner().expect("no sender panicked");

    let refused: Vec<_> =
        ledger.iter().filter(|(_, seen)| matches!(seen, Seen::Refused(_))).collect();
    assert!(refused.is_empty(), "{} were refused: {:?}", refused.len(), &refused[..1]);
    half.read_reply().expect_err("half a message is not answered by a dead node");

    let mut read: HashMap<String, usize> = HashMap::new();
    for message in read_all(cluster.pop3_of("c"), ALICE) {
        *read.entry(subject(&message)).or_default() += 1;
    }
    for (name, seen) in &ledger {
        let copies = read.remove(name).unwrap_or_default();
        match seen {
            Seen::Answered => assert_eq!(copies, 1, "{name} was answered 250"),
            // Cut off between commit and 250 it may be there; then SMTP lets it come twice.
            _ => assert!(copies <= 1, "{name} was {seen:?} and is there {copies} times"),
        }
    }
    assert!(read.is_empty(), "messages that nobody sent: {read:?}");
    let count = ledger.values().filter(|seen| **seen == Seen::Answered).count();
    assert!(count >= MESSAGES, "{count} were answered");
    comes_back(&mut cluster);
}

/// Sends until there are enough; one that was cut off is followed by another under a new name.
fn sends(
    smtp: u16,
    next: &AtomicUsize,
    answered: &AtomicUsize,
    ledger: &Mutex<HashMap<String, Seen>>,
) {
    while answered.load(Ordering::Relaxed) < MESSAGES {
        let name = format!("message {}", next.fetch_add(1, Ordering::Relaxed));
        let seen = send_one(smtp, &name);
        if seen == Seen::Answered {
            answered.fetch_add(1, Ordering::Relaxed);
        }
        let refused = matches!(seen, Seen::Refused(_));
        ledger.lock().expect("no sender panicked").insert(name, seen);
        if refused {
            return;
        }
    }
}

fn send_one(smtp: u16, name: &str) -> Seen {
    let mut client = match SmtpClient::connect(smtp) {
        Ok(client) if client.greeting().code == 220 => client,
        Ok(client) => return Seen::Refused(client.greeting().to_string()),
        Err(error) => return Seen::Refused(error.to_string()),
    };
    let outcome = client
        .try_say("EHLO client.example.net")
        .and_then(|_| client.deliver(ALICE.address, &message(name)));
    match outcome {
        Ok(reply) if reply.code == 250 => Seen::Answered,
        Ok(reply) => Seen::Refused(reply.to_string()),
        Err(_) => Seen::CutOff,
    }
}

/// The node starts again and takes mail that is read elsewhere.
fn comes_back(cluster: &mut Cluster) {
    cluster.start_node("b");
    send(cluster.smtp_of("b"), BOB.address, &message("back"));
    let his = read_all(cluster.pop3_of("a"), BOB);
    assert_eq!(his.iter().map(|read| subject(read)).collect::<Vec<_>>(), ["back"]);
    let mut reached: Vec<_> = (0..6).map(|_| SmtpClient::hello(cluster.smtp()).node()).collect();
    reached.sort();
    assert_eq!(reached, ["a", "a", "b", "b", "c", "c"], "all three have their turn again");
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
