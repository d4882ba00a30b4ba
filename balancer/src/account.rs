//! What is kept of one connection while it lives: at its end one log line and its counts.
//! It does not know sockets. `connection` fills it in.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use shared::logging::{MANY, Ration};

use crate::backends::{Backend, Service};
use crate::outcome::End;

/// Of connections that came to nothing, which strangers can cause at will, so many lines a second;
/// `hidden` says how many were left out.
static CHEAP_LINES: Ration = Ration::new(100, 1);

/// One connection's figures. Dropped without a close (a panic, a cancelled task) it still gives
/// its place in the service's count back.
#[derive(Debug)]
pub struct Account {
    service: Arc<Service>,
    began: Began,
    node: Option<Arc<Backend>>,
    tries: u32,
    dial: Option<Micros>,
    greeting: Option<Micros>,
}

/// When it began, in microseconds since this program did: half of what an `Instant` takes.
#[derive(Debug, Clone, Copy)]
struct Began(u64);

/// When this program looked at a clock for the first time.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Began {
    fn now() -> Self {
        Self(u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn elapsed(self) -> Duration {
        START.elapsed().saturating_sub(Duration::from_micros(self.0))
    }
}

/// Microseconds, up to an hour of them: every connection carries two while it lives.
#[derive(Debug, Clone, Copy)]
struct Micros(NonZeroU32);

/// What was carried in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes the node has taken.
    pub to_node: u64,
    /// Bytes the client has taken.
    pub to_client: u64,
}

impl Account {
    /// A client came in.
    #[must_use]
    pub fn open(service: Arc<Service>) -> Self {
        service.metrics.connections.add(1);
        service.metrics.active.increment(1.0);
        let began = Began::now();
        Self { service, began, node: None, tries: 0, dial: None, greeting: None }
    }

    /// It is this node's turn.
    pub fn tries(&mut self, node: &Arc<Backend>) {
        self.node = Some(node.clone());
        self.tries += 1;
        (self.dial, self.greeting) = (None, None);
    }

    /// This node was reached.
    pub fn dialed(&mut self, node: &Arc<Backend>, took: Duration) {
        if self.node.as_ref().is_none_or(|last| !Arc::ptr_eq(last, node)) {
            self.node = Some(node.clone());
        }
        self.dial = Some(Micros::of(took));
    }

    /// The node's first byte came.
    pub fn greeted(&mut self, took: Duration) {
        self.greeting = Some(Micros::of(took));
    }

    /// The service it is of.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// It is over: one line, and the counts. Gives back the service it was of.
    pub fn close(&mut self, client: SocketAddr, end: End, carried: Carried) -> Arc<Service> {
        let service = self.service.clone();
        service.metrics.ended(end);
        let hidden = if end.is_cheap() { CHEAP_LINES.line() } else { Some(0) };
        let Some(hidden) = hidden else { return service };
        let node = self.node.as_ref().map_or("", |node| &*node.name);
        tracing::info!(
            target: MANY,
            %client,
            service = &*service.settings.name.0,
            node,
            tries = self.tries,
            bytes_to_node = carried.to_node,
            bytes_to_client = carried.to_client,
            dial_ms = self.dial.map(Micros::millis),
            greeting_ms = self.greeting.map(Micros::millis),
            total_ms = millis(self.began.elapsed()),
            end = end.name(),
            hidden = (hidden > 0).then_some(hidden),
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

impl Micros {
    fn of(time: Duration) -> Self {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }

    fn millis(self) -> f64 {
        f64::from(self.0.get()) / 1000.0
    }
}

/// Milliseconds with three places behind the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
