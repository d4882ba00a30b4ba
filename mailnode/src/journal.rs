//! The event log: a line of JSON per message in `logs/NODE/events-DAY.jsonl`, written behind the
//! client's back. It does not know what led to an event. A line that cannot be written there (the
//! store is away) goes to the process's own log instead, and is counted.

use serde::Serialize;
use tokio::sync::mpsc;

use crate::clock;
use crate::mail::{DeliveryId, Envelope, Origin, date};
use crate::metrics;
use crate::store::FileStore;

/// Lines that wait; beyond, they go to the process's log.
const QUEUE_MAX: usize = 10_000;
/// Lines in one append.
const BATCH_MAX: usize = 500;

/// What happened to a message.
#[derive(Debug, Serialize)]
pub struct Event {
    time: String,
    event: &'static str,
    delivery: String,
    client: String,
    helo: String,
    from: String,
    to: Vec<String>,
    octets: u64,
    mailboxes: usize,
}

impl Event {
    /// A message was kept in so many mailboxes.
    pub fn delivered(
        id: &DeliveryId,
        envelope: &Envelope,
        origin: Origin,
        octets: u64,
        mailboxes: usize,
    ) -> Self {
        Self {
            time: date::rfc3339(clock::now_us()),
            event: "delivered",
            delivery: id.to_string(),
            client: origin.client.to_string(),
            helo: envelope.greeting.name.clone(),
            from: envelope.from.to_string(),
            to: envelope.to.iter().map(|recipient| recipient.address.to_string()).collect(),
            octets,
            mailboxes,
        }
    }
}

/// The door to the event log.
#[derive(Debug, Clone)]
pub struct Journal {
    lines: mpsc::Sender<Event>,
}

impl Journal {
    /// Starts writing to the directory of `node` beneath the log root `logs`. The returned task
    /// ends when the last door is dropped and every line is written.
    pub fn start(logs: FileStore, node: String) -> (Self, tokio::task::JoinHandle<()>) {
        let (lines, queue) = mpsc::channel(QUEUE_MAX);
        (Self { lines }, tokio::spawn(write(logs, node, queue)))
    }

    /// Writes a line, soon; never waits.
    pub fn write(&self, event: Event) {
        if let Err(full) = self.lines.try_send(event) {
            lose(&[full.into_inner()]);
        }
    }
}

async fn write(logs: FileStore, node: String, mut queue: mpsc::Receiver<Event>) {
    let mut batch = Vec::new();
    let mut directory_there = false;
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let name = format!("{node}/events-{}.jsonl", date::day(clock::now_us() / 1_000_000));
        let lines: String = batch.iter().filter_map(to_line).collect();
        let written = async {
            if !directory_there {
                logs.make_directory(node.clone()).await?;
            }
            logs.append(name, lines.into_bytes()).await
        };
        let written = written.await;
        directory_there = written.is_ok();
        if let Err(error) = written {
            tracing::warn!(%error, "the event log cannot be written");
            lose(&batch);
        }
        batch.clear();
    }
}

fn to_line(event: &Event) -> Option<String> {
    serde_json::to_string(event).ok().map(|line| line + "\n")
}

fn lose(events: &[Event]) {
    for event in events {
        let line = to_line(event).unwrap_or_default();
        tracing::warn!(event = line.trim_end(), "an event that the event log does not have");
        metrics::event_line_lost();
    }
}
