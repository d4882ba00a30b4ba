//! Mail by POP3: sessions that log in, ask for the count, read messages and leave.
//!
//! It does not know how mail got there. Called by `main` and, to see that what was answered 250
//! is there, by `scenario::delivery`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::conversation::Conversation;
use super::{Amount, Fault, Outcome, Tickets, go_on_after, limited, run_clients};

/// Who logs in, and how much is read.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// The login: the whole address; `{}` stands for a mailbox number.
    pub(crate) user: String,
    /// The password of all of them.
    pub(crate) password: String,
    /// Sessions go to mailbox 0, 1, ... and around.
    pub(crate) mailboxes: u64,
    /// How many messages a session reads at most.
    pub(crate) retrieve: u64,
    /// What is sent before the greeting: a PROXY header, or nothing.
    pub(crate) preface: String,
}

/// Reads in `clients` sessions at once.
pub(crate) async fn run(to: SocketAddr, clients: usize, amount: Amount, reader: Reader) -> Outcome {
    let tickets = Tickets::new(amount);
    let reader = Rc::new(reader);
    run_clients(clients, |_| client(to, tickets.clone(), Rc::clone(&reader))).await
}

async fn client(to: SocketAddr, tickets: Tickets, reader: Rc<Reader>) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(number) = tickets.take() {
        let start = Instant::now();
        match limited(session(to, &reader, number % reader.mailboxes)).await {
            Ok(read) => {
                outcome.finish_step(start.elapsed());
                outcome.bytes += read.bytes;
            }
            Err(fault) => {
                if !go_on_after(&mut outcome, &fault).await {
                    break;
                }
            }
        }
    }
    outcome
}

/// What a session saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Messages in the maildrop, from STAT.
    pub(crate) messages: u64,
    /// Bytes of the messages read.
    pub(crate) bytes: u64,
}

/// One session with mailbox `number`.
pub(crate) async fn session(to: SocketAddr, reader: &Reader, number: u64) -> Result<Read, Fault> {
    let user = reader.user.replace("{}", &number.to_string());
    let mut conversation = Conversation::open(to).await?;
    conversation.pop3(&reader.preface).await?;
    conversation.pop3(&format!("USER {user}\r\n")).await?;
    conversation.pop3(&format!("PASS {}\r\n", reader.password)).await?;
    let messages = count(&conversation.pop3("STAT\r\n").await?);
    let mut bytes = 0;
    for message in 1..=messages.min(reader.retrieve) {
        conversation.pop3(&format!("RETR {message}\r\n")).await?;
        loop {
            let line = conversation.line().await?;
            if line == ".\r\n" {
                break;
            }
            bytes += line.len() as u64;
        }
    }
    conversation.pop3("QUIT\r\n").await?;
    conversation.rest().await?;
    Ok(Read { messages, bytes })
}

/// The first number of `+OK 2 320`.
fn count(stat: &str) -> u64 {
    stat.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
