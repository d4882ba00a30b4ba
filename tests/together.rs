//! Do three nodes serve one mailbox at the same time? (DESIGN §2, promise 2)
//! It does not know how they agree; senders at all nodes and a reader at one meet in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::message::subject;
use harness::{ALICE, Cluster, Pop3Client, SmtpClient, message};

const SENDERS: usize = 12;
const MESSAGES_OF_EACH: usize = 25;
const ALL: usize = SENDERS * MESSAGES_OF_EACH;

/// Twelve senders, four at each node, each with one connection for all its messages.
fn send_all(cluster: &Cluster) {
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let port = cluster.smtp_of(["a", "b", "c"][sender % 3]);
            scope.spawn(move || {
                let mut client = SmtpClient::hello(port);
                for number in 0..MESSAGES_OF_EACH {
                    let name = format!("{sender}-{number}");
                    client.deliver(ALICE.address, &message(&name)).expect("an answer").is(250);
                }
                client.quit();
            });
        }
    });
}

/// Sets the flag when it is dropped, also by a panic: whoever watches must not wait for ever.
struct Done<'f>(&'f AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn numbers_are_given_once_and_seen_in_order() {
    let cluster = Cluster::start(3);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _done = Done(&done);
            send_all(&cluster);
        });
        // Whoever sees UID 11 must see UID 10 too: a client that asks for "12 and up" the next
        // time would miss it for ever.
        while !done.load(Ordering::Relaxed) {
            let seen = cluster.sql("select count(*), coalesce(max(uid), 0) from messages");
            let (count, max) = seen[0].split_once('|').expect("two numbers");
            assert_eq!(count, max, "messages that are seen, and the highest number");
        }
    });
    let seen = "select count(*), count(distinct uid), count(distinct guid), max(uid) from messages";
    assert_eq!(cluster.sql(seen), [format!("{ALL}|{ALL}|{ALL}|{ALL}")]);
    let sums = "select uidnext, messages, octets - (select sum(octets) from messages) \
                from mailboxes order by id limit 1";
    assert_eq!(cluster.sql(sums), [format!("{}|{ALL}|0", ALL + 1)]);
    assert_eq!(cluster.read_all(ALICE).len(), ALL);
}

#[test]
fn a_reader_that_empties_the_mailbox_meanwhile_gets_each_message_once() {
    let cluster = Cluster::start(3);
    let done = AtomicBool::new(false);
    let mut read: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _done = Done(&done);
            send_all(&cluster);
        });
        loop {
            let last = done.load(Ordering::Relaxed);
            let mut reader = Pop3Client::login(cluster.pop3_of("b"), ALICE);
            let (count, _) = reader.stat();
            for number in 1..=count {
                *read.entry(subject(&reader.retr(number))).or_default() += 1;
                reader.ok(&format!("DELE {number}"));
            }
            reader.quit();
            if last {
                break;
            }
        }
    });
    let twice: Vec<_> = read.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "read more than once: {twice:?}");
    assert_eq!(read.len(), ALL);
    assert_eq!(cluster.sql("select messages, octets from mailboxes order by id limit 1"), ["0|0"]);
    // Numbers are never used twice, not even when the mailbox is empty.
    let uidnext = cluster.sql("select uidnext from mailboxes order by id limit 1");
    assert_eq!(uidnext, [(ALL + 1).to_string()]);
}
