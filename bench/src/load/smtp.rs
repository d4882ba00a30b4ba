//! Mail by SMTP: messages of one size, spread over many mailboxes, one command a step.
//!
//! It does not know how mail is kept. Called by `main` and `scenario::delivery`.
//!
//! A time is taken from the last byte of the message to its reply: the part in which a server
//! makes the message durable. Only a 250 there counts as done.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::conversation::Conversation;
use super::{Amount, Fault, Outcome, Tickets, go_on_after, limited, run_clients};

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// Bytes of a message with its headers, without the final dot.
    pub(crate) size: usize,
    /// Messages go to mailbox 0, 1, ... and around.
    pub(crate) mailboxes: u64,
    /// The address of a mailbox: `{}` stands for its number.
    pub(crate) recipient: String,
    /// Whether a sender keeps its connection for all its messages, or makes one for each.
    pub(crate) keep: bool,
}

impl Mail {
    /// The address of mailbox `number`.
    pub(crate) fn address(&self, number: u64) -> String {
        self.recipient.replace("{}", &number.to_string())
    }
}

/// Sends from `senders` at once.
pub(crate) async fn run(to: SocketAddr, senders: usize, amount: Amount, mail: Mail) -> Outcome {
    let tickets = Tickets::new(amount);
    let mail = Rc::new(mail);
    run_clients(senders, |_| sender(to, tickets.clone(), Rc::clone(&mail))).await
}

async fn sender(to: SocketAddr, tickets: Tickets, mail: Rc<Mail>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept = None;
    while let Some(number) = tickets.take() {
        let mailbox = number % mail.mailboxes;
        match limited(message(to, &mail, &mut kept, number)).await {
            Ok(time) => {
                outcome.finish_step(time);
                outcome.bytes += mail.size as u64;
                *outcome.delivered.entry(mailbox).or_default() += 1;
            }
            Err(fault) => {
                // Whatever state the connection is in: the next message gets a new one.
                kept = None;
                if !go_on_after(&mut outcome, &fault).await {
                    break;
                }
            }
        }
    }
    if let Some(mut conversation) = kept {
        let _ = limited(quit(&mut conversation)).await;
    }
    outcome
}

/// Sends one message and gives the time from its end to the 250.
async fn message(
    to: SocketAddr,
    mail: &Mail,
    kept: &mut Option<Conversation>,
    number: u64,
) -> Result<Duration, Fault> {
    let mut conversation = match kept.take() {
        Some(conversation) => conversation,
        None => open(to).await?,
    };
    conversation.ask("MAIL FROM:<sender@example.net>\r\n", b'2').await?;
    let recipient = mail.address(number % mail.mailboxes);
    conversation.ask(&format!("RCPT TO:<{recipient}>\r\n"), b'2').await?;
    conversation.ask("DATA\r\n", b'3').await?;
    conversation.send(text(mail.size, &recipient, number).as_bytes()).await?;
    let end = Instant::now();
    let code = conversation.reply(b'2').await?;
    let time = end.elapsed();
    if code != 250 {
        return Err(Fault::Refused { code, line: format!("{code} to the end of data") });
    }
    if mail.keep {
        *kept = Some(conversation);
    } else {
        // The message is kept: an end without manners does not make it undelivered.
        let _ = quit(&mut conversation).await;
    }
    Ok(time)
}

async fn open(to: SocketAddr) -> Result<Conversation, Fault> {
    let mut conversation = Conversation::open(to).await?;
    conversation.reply(b'2').await?;
    conversation.ask("EHLO bench.example.net\r\n", b'2').await?;
    Ok(conversation)
}

async fn quit(conversation: &mut Conversation) -> Result<(), Fault> {
    conversation.ask("QUIT\r\n", b'2').await?;
    conversation.rest().await?;
    Ok(())
}

/// A message of `size` bytes and the dot that ends it (RFC 5321 §4.1.1.4).
fn text(size: usize, recipient: &str, number: u64) -> String {
    const LINE: &str =
        "The quick brown fox jumps over the lazy dog and the dog does not mind it.\r\n";
    let mut text = format!(
        "From: <sender@example.net>\r\nTo: <{recipient}>\r\nSubject: bench {number}\r\n\
         Message-ID: <{number}.{}@bench.example.net>\r\n\r\n",
        std::process::id()
    );
    while text.len() < size {
        let left = size - text.len();
        // The last line takes what is left, and keeps its CRLF.
        if left >= LINE.len() + 3 {
            text.push_str(LINE);
        } else {
            text.push_str(&"x".repeat(left.saturating_sub(2)));
            text.push_str("\r\n");
        }
    }
    text.push_str(".\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_ends_once() {
        for size in [400, 401, 402, 475, 476, 477, 4096, 100_000] {
            let text = text(size, "user7@example.test", 42);
            assert_eq!(text.len(), size + 3, "size {size}");
            assert_eq!(text.matches("\r\n.").count(), 1, "size {size}");
            assert!(text.lines().all(|line| line.len() < 998));
        }
    }
}
