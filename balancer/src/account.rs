//! What is kept of one connection while it lives: at its end one log line and its counts.
//! It does not know sockets. `connection` fills it in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::logging::MANY;
use tokio::time::Instant;

use crate::backends::{Backend, Service};
use crate::outcome::End;

/// One connection's figures. Dropped without a close (a panic, a cancelled task) it still gives
/// its place in the service's count back.
#[derive(Debug)]
pub struct Account {
    service: Arc<Service>,
    client: SocketAddr,
    began: Instant,
    node: Option<Arc<Backend>>,
    tries: u32,
    dial: Option<Duration>,
    greeting: Option<Duration>,
    bytes_to_node: u64,
    bytes_to_client: u64,
}

impl Account {
    /// A client came in.
    #[must_use]
    pub fn open(client: SocketAddr, service: Arc<Service>) -> Self {
        service.metrics.connections.add(1);
        service.metrics.active.increment(1.0);
        Self {
            service,
            client,
            began: Instant::now(),
            node: None,
            tries: 0,
            dial: None,
            greeting: None,
            bytes_to_node: 0,
            bytes_to_client: 0,
        }
    }

    /// It is this node's turn.
    pub fn tries(&mut self, node: &Arc<Backend>) {
        self.node = Some(node.clone());
        self.tries += 1;
        (self.dial, self.greeting) = (None, None);
    }

    /// The node was reached.
    pub fn dialed(&mut self, took: Duration) {
        self.dial = Some(took);
    }

    /// The node's first byte came.
    pub fn greeted(&mut self, took: Duration) {
        self.greeting = Some(took);
    }

    /// What was carried in all.
    pub fn carried(&mut self, to_node: u64, to_client: u64) {
        (self.bytes_to_node, self.bytes_to_client) = (to_node, to_client);
    }

    /// It is over: one line, and the counts. Gives back the service it was of.
    pub fn close(self, end: End) -> Arc<Service> {
        let service = self.service.clone();
        service.metrics.ended(end);
        let node = self.node.as_ref().map_or("", |node| &*node.name);
        tracing::info!(
            target: MANY,
            client = %self.client,
            service = &*service.settings.name.0,
            node,
            tries = self.tries,
            bytes_to_node = self.bytes_to_node,
            bytes_to_client = self.bytes_to_client,
            dial_ms = millis(self.dial),
            greeting_ms = millis(self.greeting),
            total_ms = millis(Some(self.began.elapsed())),
            end = end.name(),
            "connection"
        );
        service
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.service.metrics.active.decrement(1.0);
    }
}

/// Milliseconds with three places behind the point; `None` stays out of the line.
fn millis(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1_000_000.0).round() / 1000.0)
}
