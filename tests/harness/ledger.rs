//! What senders saw of each message, held against what is read afterwards.
//! It does not know what happens to the cluster meanwhile; tests that kill nodes under load use it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::message::{message, subject};
use crate::smtp_client::SmtpClient;
use crate::user::User;
use crate::wait::{MOMENT, wait_until};

/// What a sender saw of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// 250.
    Answered,
    /// The connection broke after the greeting; the sender will come again.
    CutOff,
    /// No connection, no greeting, or a reply that is no 250.
    Refused(String),
}

/// The book of all senders: each message has a name of its own, which is its subject.
#[derive(Debug)]
pub struct Ledger {
    smtp: u16,
    to: User,
    next: AtomicUsize,
    answered: AtomicUsize,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Ledger {
    /// An empty one, for mail to `to` through the port `smtp`.
    pub fn new(smtp: u16, to: User) -> Self {
        let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { smtp, to, next, answered, seen: Mutex::default() }
    }

    /// One sender's work: a message over each connection until all senders together have had
    /// `total` answered 250. After a cut the next message goes under another name; after a refusal
    /// the sender gives up.
    ///
    /// # Panics
    /// When another sender has panicked.
    pub fn send_until(&self, total: usize) {
        while self.answered() < total {
            let name = format!("message {}", self.next.fetch_add(1, Ordering::Relaxed));
            let seen = self.send_one(&name);
            if seen == Seen::Answered {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            let refused = matches!(seen, Seen::Refused(_));
            self.seen.lock().expect("no sender panicked").insert(name, seen);
            if refused {
                return;
            }
        }
    }

    fn send_one(&self, name: &str) -> Seen {
        let mut client = match SmtpClient::connect(self.smtp) {
            Ok(client) if client.greeting().code == 220 => client,
            Ok(client) => return Seen::Refused(client.greeting().to_string()),
            Err(error) => return Seen::Refused(error.to_string()),
        };
        let outcome = client
            .try_say("EHLO client.example.net")
            .and_then(|_| client.deliver(self.to.address, &message(name)));
        match outcome {
            Ok(reply) if reply.code == 250 => Seen::Answered,
            Ok(reply) => Seen::Refused(reply.to_string()),
            Err(_) => Seen::CutOff,
        }
    }

    /// How many messages were answered 250 so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many were answered 250.
    ///
    /// # Panics
    /// When it takes over a minute.
    pub fn wait_answered(&self, count: usize) {
        wait_until(&format!("{count} messages are answered"), MOMENT * 3, || {
            let answered = self.answered();
            if answered >= count { Ok(()) } else { Err(format!("{answered} are")) }
        });
    }

    /// How many sessions broke off in the middle so far.
    ///
    /// # Panics
    /// When a sender has panicked.
    pub fn cut_off(&self) -> usize {
        let seen = self.seen.lock().expect("no sender panicked");
        seen.values().filter(|seen| **seen == Seen::CutOff).count()
    }

    /// Holds the book against all that was read: what was answered 250 is there once, what was
    /// cut off at most once, nobody was refused, and nothing is there that nobody sent.
    ///
    /// # Panics
    /// When it does not agree.
    #[track_caller]
    pub fn settle(self, read: &[Vec<u8>]) {
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        read.iter().for_each(|message| *copies.entry(subject(message)).or_default() += 1);
        for (name, seen) in self.seen.into_inner().expect("no sender panicked") {
            let copies = copies.remove(&name).unwrap_or_default();
            match seen {
                Seen::Answered => assert_eq!(copies, 1, "{name} was answered 250"),
                // Cut off between commit and 250 it may be there; the sender cannot know.
                Seen::CutOff => assert!(copies <= 1, "{name}, cut off, is there {copies} times"),
                Seen::Refused(words) => panic!("{name} was refused: {words}"),
            }
        }
        assert!(copies.is_empty(), "messages that nobody sent: {copies:?}");
    }
}
