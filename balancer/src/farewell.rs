//! Sends the connections of a node away one after the other, quiet ones first: all at once they
//! would all come back at once, too.
//! It does not know why a node is to be left (`api` does) or how a connection ends (`relay` does).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backends::{Backend, Backends, Duty};
use crate::crew::Crew;

/// From one group that is sent away to the next.
const STEP: Duration = Duration::from_millis(100);

/// Sees connections off.
#[derive(Debug, Clone)]
pub struct Farewell {
    backends: Weak<Backends>,
    crew: Weak<Crew>,
    millis: Arc<AtomicU64>,
}

impl Farewell {
    /// Of these.
    #[must_use]
    pub fn new(backends: &Arc<Backends>, crew: &Arc<Crew>) -> Self {
        let (backends, crew) = (Arc::downgrade(backends), Arc::downgrade(crew));
        Self { backends, crew, millis: Arc::default() }
    }

    /// How long it may take until a node's last connection has to end.
    pub fn set_within(&self, within: Duration) {
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Begins with all connections of the nodes of this name, in every service, and goes on for
    /// as long as an operator keeps them in maintenance. Has to be called inside a runtime.
    pub fn begin(&self, name: Arc<str>) {
        tokio::spawn(self.clone().see_off(name));
    }

    async fn see_off(self, name: Arc<str>) {
        let deadline = Instant::now() + Duration::from_millis(self.millis.load(Ordering::Relaxed));
        let mut asked: Vec<Arc<Backend>> = Vec::new();
        let mut order = None;
        while let Some(backends) = self.backends.upgrade() {
            let picture = backends.picture();
            let said = picture.orders.duty_said(&name);
            let said = said.filter(|said| said.what == Duty::Maintenance).cloned();
            // An order that was taken back and given again is the matter of another farewell.
            if said.is_none() || *order.get_or_insert_with(|| said.clone()) != said {
                break;
            }
            let nodes = picture.services.iter().flat_map(|service| service.candidates());
            asked = nodes.map(|node| node.backend.clone()).filter(|one| one.name == name).collect();
            let left = deadline.saturating_duration_since(Instant::now());
            let inside = asked.iter().filter(|node| ask(node, left) > 0).count();
            if inside == 0 && left.is_zero() {
                break;
            }
            if let Some(crew) = self.crew.upgrade().filter(|_| inside > 0) {
                crew.look_again();
            }
            drop((picture, backends));
            sleep(STEP).await;
        }
        for node in asked {
            node.ask_to_leave(0);
        }
    }
}

/// Asks as many as have to go in this step so that all are gone in time; says how many there are.
fn ask(node: &Backend, left: Duration) -> usize {
    let inside = node.active();
    let steps = usize::try_from(left.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX);
    node.ask_to_leave(if steps == 0 { usize::MAX } else { inside.div_ceil(steps) });
    inside
}
