//! Every metric of a node: its name, its help, and a function that reads as a sentence.
//! It does not know who counts. Handles are kept: looking one up costs more than counting.

use std::sync::LazyLock;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge};
use ::metrics::{describe_histogram, gauge, histogram};

use crate::tls::certificate::Lifetime;

/// A protocol a node speaks to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Incoming mail.
    Smtp,
    /// Maildrops.
    Pop3,
    /// Maildrops, with TLS from the first byte on.
    Pop3s,
}

impl Protocol {
    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
        }
    }

    /// Whether TLS comes before the first word.
    pub fn begins_with_tls(self) -> bool {
        matches!(self, Self::Pop3s)
    }
}

/// A part of the time between the end of a message and its 250.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// Files written and fsynced.
    File,
    /// Waiting for the writer, and its commit.
    Commit,
}

/// Part of a node that is up or down.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// The SQL database.
    Database,
    /// The mail root with its marker.
    MailStore,
    /// The log root with its marker.
    LogStore,
}

struct Handles {
    connections: [Counter; 3],
    open: [Gauge; 3],
    commits: Counter,
    committed: Counter,
    delivered: Counter,
    octets: Counter,
    file_seconds: Histogram,
    commit_seconds: Histogram,
    parts: [Gauge; 3],
    lines_lost: Counter,
    retrieved: Counter,
    removed: Counter,
}

static HANDLES: LazyLock<Handles> = LazyLock::new(|| {
    let protocols = [Protocol::Smtp, Protocol::Pop3, Protocol::Pop3s].map(Protocol::name);
    Handles {
        connections: protocols
            .map(|name| counter!("mailnode_connections_total", "protocol" => name)),
        open: protocols.map(|name| gauge!("mailnode_connections_open", "protocol" => name)),
        commits: counter!("mailnode_commits_total"),
        committed: counter!("mailnode_commit_deliveries_total"),
        delivered: counter!("mailnode_deliveries_total"),
        octets: counter!("mailnode_delivered_bytes_total"),
        file_seconds: histogram!("mailnode_delivery_seconds", "stage" => "file"),
        commit_seconds: histogram!("mailnode_delivery_seconds", "stage" => "commit"),
        parts: ["database", "mail_store", "log_store"]
            .map(|part| gauge!("mailnode_part_up", "part" => part)),
        lines_lost: counter!("mailnode_event_lines_lost_total"),
        retrieved: counter!("mailnode_messages_retrieved_total"),
        removed: counter!("mailnode_messages_removed_total"),
    }
});

/// Says what each metric means; once, after the recorder is installed.
pub fn describe(node: &str) {
    describe_gauge!("mailnode_info", "Always 1; its labels name the node and its version");
    describe_counter!(
        "mailnode_connections_total",
        "Client connections taken, without a balancer's probes"
    );
    describe_gauge!("mailnode_connections_open", "Client connections open now");
    describe_counter!("mailnode_sessions_ended_total", "Client connections ended, by how");
    describe_counter!("mailnode_messages_total", "Messages whose end was seen, by their answer");
    describe_counter!("mailnode_recipients_total", "RCPT commands looked up, by their answer");
    describe_counter!("mailnode_commits_total", "Transactions that kept deliveries");
    describe_counter!("mailnode_commit_deliveries_total", "Deliveries in those transactions");
    describe_counter!("mailnode_deliveries_total", "Messages kept, counted once per mailbox");
    describe_counter!("mailnode_delivered_bytes_total", "Octets of messages taken");
    describe_histogram!("mailnode_delivery_seconds", "Time from end of data to 250, by stage");
    describe_counter!("mailnode_logins_total", "Logins, by protocol and outcome");
    describe_counter!("mailnode_messages_retrieved_total", "Messages sent to clients");
    describe_counter!("mailnode_messages_removed_total", "Messages removed by clients");
    describe_gauge!("mailnode_part_up", "Whether a part the node stands on is up");
    describe_counter!("mailnode_event_lines_lost_total", "Lines the event log does not have");
    describe_counter!("mailnode_swept_files_total", "Files the sweep took away, by kind");
    describe_gauge!(
        "mailnode_certificate_expiry_seconds",
        "Last second of the certificate in force, since 1970"
    );
    describe_counter!(
        "mailnode_certificate_reloads_total",
        "Changed certificate files: new ones, and those refused"
    );
    describe_counter!("mailnode_tls_handshakes_total", "Begins of TLS, by protocol and outcome");
    let labels = [("node", node.to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    gauge!("mailnode_info", &labels).set(1.0);
}

/// A client connection, counted as open until dropped.
#[derive(Debug)]
pub struct OpenConnection(Protocol);

/// A client came.
pub fn connected(protocol: Protocol) -> OpenConnection {
    HANDLES.connections[protocol as usize].increment(1);
    HANDLES.open[protocol as usize].increment(1.0);
    OpenConnection(protocol)
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        HANDLES.open[self.0 as usize].decrement(1.0);
    }
}

/// A client's connection ended like this.
pub fn session_ended(protocol: Protocol, end: &'static str) {
    let labels = [("protocol", protocol.name()), ("end", end)];
    counter!("mailnode_sessions_ended_total", &labels).increment(1);
}

/// A message's end was seen and answered like this.
pub fn message(result: &'static str) {
    counter!("mailnode_messages_total", "result" => result).increment(1);
}

/// A recipient was looked up and answered like this.
pub fn recipient(result: &'static str) {
    counter!("mailnode_recipients_total", "result" => result).increment(1);
}

/// One transaction is about to keep so many deliveries.
pub fn commit_group(deliveries: usize) {
    HANDLES.commits.increment(1);
    HANDLES.committed.increment(deliveries as u64);
}

/// A message of so many octets was kept in so many mailboxes.
pub fn delivered(mailboxes: usize, octets: u64) {
    HANDLES.delivered.increment(mailboxes as u64);
    HANDLES.octets.increment(octets);
}

/// A stage of a delivery took so long.
pub fn stage(stage: Stage, time: Duration) {
    match stage {
        Stage::File => HANDLES.file_seconds.record(time),
        Stage::Commit => HANDLES.commit_seconds.record(time),
    }
}

/// A login ended like this.
pub fn login(protocol: Protocol, result: &'static str) {
    let labels = [("protocol", protocol.name()), ("result", result)];
    counter!("mailnode_logins_total", &labels).increment(1);
}

/// A message was sent to its reader.
pub fn retrieved() {
    HANDLES.retrieved.increment(1);
}

/// Messages were removed by their reader.
pub fn removed(messages: u64) {
    HANDLES.removed.increment(messages);
}

/// A part is up, or down.
pub fn part(part: Part, up: bool) {
    HANDLES.parts[part as usize].set(f64::from(u8::from(up)));
}

/// The event log lacks a line.
pub fn event_line_lost() {
    HANDLES.lines_lost.increment(1);
}

/// The sweep took files away.
pub fn swept(removed: u64, orphans: u64) {
    counter!("mailnode_swept_files_total", "kind" => "removed").increment(removed);
    counter!("mailnode_swept_files_total", "kind" => "orphan").increment(orphans);
}

/// A certificate is in force.
pub fn certificate(lifetime: Option<Lifetime>) {
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let until = lifetime.map_or(f64::NAN, |lifetime| lifetime.until as f64);
    gauge!("mailnode_certificate_expiry_seconds").set(until);
}

/// The certificate's files were changed, and this became of it.
pub fn certificate_reload(result: &'static str) {
    counter!("mailnode_certificate_reloads_total", "result" => result).increment(1);
}

/// A client wanted TLS, and this became of it.
pub fn handshake(protocol: Protocol, result: &'static str) {
    let labels = [("protocol", protocol.name()), ("result", result)];
    counter!("mailnode_tls_handshakes_total", &labels).increment(1);
}
