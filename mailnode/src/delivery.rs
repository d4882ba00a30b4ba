//! Envelope and message → kept files, rows, one answer: the promise behind 250.
//! It does not know SMTP. The order is the whole point: files, their names and their directories on
//! disk, then one transaction for all mailboxes, and only then the word to the client.

use std::time::Instant;

use crate::clock;
use crate::crash;
use crate::journal::{Event, Journal};
use crate::mail::{DeliveryId, Destination, Envelope, Identities, Origin, date};
use crate::metrics::{self, Stage};
use crate::spool::Spooled;
use crate::store::{Delivery, Draft, Kept, NewMessage, Store, StoreError};

/// Takes messages for one run of a node.
#[derive(Debug)]
pub struct Deliveries {
    store: Store,
    identities: Identities,
    hostname: String,
    journal: Journal,
}

impl Deliveries {
    /// `hostname`: what stands in `Received:` lines.
    pub fn new(store: Store, identities: Identities, hostname: String, journal: Journal) -> Self {
        Self { store, identities, hostname, journal }
    }

    /// Keeps a message in every mailbox of its envelope, or in none. `Ok`: it is on disk, files
    /// and rows, whatever dies now.
    ///
    /// # Errors
    /// Nothing was kept, or nobody knows: either way temporary, the sender tries again.
    pub async fn accept(
        &self,
        envelope: &Envelope,
        origin: Origin,
        message: Spooled,
    ) -> Result<DeliveryId, StoreError> {
        let begun = Instant::now();
        let now_us = clock::now_us();
        let id = self.identities.delivery(now_us);
        let destinations = envelope.destinations();
        let head = trace_lines(envelope, origin, &self.hostname, &id, now_us / 1_000_000);
        let drafts = drafts(&id, &destinations, &head);
        let octets = message.length();

        let kept = self.store.files().keep(drafts, message).await?;
        let filed = Instant::now();
        metrics::stage(Stage::File, filed - begun);
        crash::point("before-commit");

        let delivery = rows(&id, now_us, &destinations, kept);
        self.store.deliver(delivery).await?;
        metrics::stage(Stage::Commit, filed.elapsed());
        metrics::delivered(destinations.len(), octets);
        crash::point("after-commit");

        self.journal.write(Event::delivered(&id, envelope, origin, octets, destinations.len()));
        Ok(id)
    }
}

fn drafts(id: &DeliveryId, destinations: &[&Destination], head: &str) -> Vec<Draft> {
    let each = destinations.iter().enumerate();
    each.map(|(index, destination)| Draft {
        directory: destination.directory.clone(),
        name: Identities::file_name(id, index),
        head: head.to_owned(),
    })
    .collect()
}

fn rows(id: &DeliveryId, now_us: i64, destinations: &[&Destination], kept: Vec<Kept>) -> Delivery {
    let each = destinations.iter().zip(kept).enumerate();
    let messages = each
        .map(|(index, (destination, kept))| NewMessage {
            mailbox: destination.mailbox,
            guid: Identities::guid(id, index),
            file: kept.file,
            octets: kept.octets,
            sha256: kept.sha256,
        })
        .collect();
    Delivery { id: id.clone(), internal_date_us: now_us, messages }
}

/// `Return-Path:` and `Received:` (RFC 5321 §4.4), each line with its CRLF.
fn trace_lines(
    envelope: &Envelope,
    origin: Origin,
    hostname: &str,
    id: &DeliveryId,
    now_s: i64,
) -> String {
    let name = harmless(&envelope.greeting.name);
    let address = match origin.client {
        std::net::IpAddr::V4(address) => format!("[{address}]"),
        std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
    };
    // RFC 3848
    let protocol = match (envelope.greeting.extended, origin.encrypted) {
        (true, true) => "ESMTPS",
        (true, false) => "ESMTP",
        (false, _) => "SMTP",
    };
    // Naming several recipients would tell each of the others (RFC 5321 §7.2).
    let only = match &envelope.to[..] {
        [only] => format!("\r\n\tfor <{}>", only.address),
        _ => String::new(),
    };
    format!(
        "Return-Path: <{}>\r\nReceived: from {name} ({address})\r\n\tby {hostname} with {protocol} \
         id {id}{only};\r\n\t{}\r\n",
        envelope.from,
        date::rfc5322(now_s)
    )
}

/// A client's name for itself, fit for a header: what could part or comment is replaced.
fn harmless(name: &str) -> String {
    let fit = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    name.chars().map(|c| if fit(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{EmailAddress, Greeting, MailboxId, Recipient, ReversePath};

    fn recipient(address: &str, mailboxes: &[i64]) -> Recipient {
        let address = EmailAddress::parse(address).unwrap();
        let destination = |mailbox: &i64| Destination {
            mailbox: MailboxId(*mailbox),
            directory: address.directory(),
        };
        let destinations = mailboxes.iter().map(destination).collect();
        Recipient { address, destinations }
    }

    fn envelope(to: Vec<Recipient>) -> Envelope {
        let greeting = Greeting { name: "evil (x)\tname".into(), extended: true };
        let from = ReversePath::Address(EmailAddress::parse("a@b.test").unwrap());
        Envelope { greeting, from, to }
    }

    #[test]
    fn trace_lines_hold_no_foreign_syntax_and_tell_one_recipient_only() {
        let origin = Origin { client: "2001:db8::1".parse().unwrap(), encrypted: false };
        let id = DeliveryId("id1".into());
        let one = envelope(vec![recipient("u@d.test", &[1])]);
        assert_eq!(
            trace_lines(&one, origin, "mx.test", &id, 0),
            "Return-Path: <a@b.test>\r\nReceived: from evil??x??name ([IPv6:2001:db8::1])\r\n\
             \tby mx.test with ESMTP id id1\r\n\tfor <u@d.test>;\r\n\
             \tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        let two = envelope(vec![recipient("u@d.test", &[1]), recipient("v@d.test", &[2])]);
        assert!(!trace_lines(&two, origin, "mx.test", &id, 0).contains("d.test>"));
    }

    #[test]
    fn a_mailbox_that_two_addresses_lead_to_gets_one_copy() {
        let both = envelope(vec![recipient("u@d.test", &[1, 2]), recipient("all@d.test", &[2, 3])]);
        let mailboxes: Vec<i64> = both.destinations().iter().map(|to| to.mailbox.0).collect();
        assert_eq!(mailboxes, [1, 2, 3]);
    }
}
