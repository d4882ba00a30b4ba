//! From whom, to whom, and through which door a message came.
//! It does not know the message itself; SMTP makes it, delivery and the store read it.

use std::fmt;
use std::net::IpAddr;

use super::EmailAddress;

/// `MAIL FROM:<…>` (RFC 5321 §4.1.2 Reverse-path).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: a notice that must never be answered (RFC 5321 §4.5.5).
    Null,
    /// Where a bounce would go.
    Address(EmailAddress),
}

impl fmt::Display for ReversePath {
    /// Without the angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// How the client introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The name given, as given (printable ASCII, checked); it proves nothing.
    pub name: String,
    /// EHLO (true) or HELO.
    pub extended: bool,
}

/// The client behind a connection, as the `Received:` line and the event log tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// What it says is encrypted on the way.
    pub encrypted: bool,
    /// The client's address (from a PROXY header where a balancer stands before us).
    pub client: IpAddr,
}

/// One mailbox a message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The mailbox, as the store numbers it.
    pub mailbox: MailboxId,
    /// The account's directory beneath the mail root: `DOMAIN/USER`.
    pub directory: String,
}

/// A mailbox's number in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub i64);

/// A recipient that was answered 250.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the client gave it, canonical.
    pub address: EmailAddress,
    /// Where its mail goes: one mailbox, or an alias's several; never empty.
    pub destinations: Vec<Destination>,
}

/// A transaction that is ready for its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// How the client introduced itself.
    pub greeting: Greeting,
    /// The sender.
    pub from: ReversePath,
    /// The recipients, in the order given; never empty.
    pub to: Vec<Recipient>,
}

impl Envelope {
    /// Every mailbox the message goes to, each once, however many addresses lead there.
    pub fn destinations(&self) -> Vec<&Destination> {
        let mut all: Vec<&Destination> = Vec::new();
        for destination in self.to.iter().flat_map(|recipient| &recipient.destinations) {
            if all.iter().all(|known| known.mailbox != destination.mailbox) {
                all.push(destination);
            }
        }
        all
    }
}
