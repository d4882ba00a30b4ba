//! What becomes of the sessions of a node that went down: kept, or closed one after the other.
//! It does not know how a node is judged, or how a session ends (`relay` does). `house` starts it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use crate::backends::{Backend, Backends, Service};
use crate::crew::Crew;
use crate::settings::OnDown;

/// From one group of sessions to the next.
const STEP: Duration = Duration::from_millis(100);

/// Looks after the nodes that are down for as long as there is a balancer.
pub(crate) async fn watch(backends: Weak<Backends>, crew: Weak<Crew>) {
    let mut asked: Vec<Arc<Backend>> = Vec::new();
    loop {
        sleep(STEP).await;
        let Some(backends) = backends.upgrade() else { return };
        let picture = backends.picture();
        let mut now = Vec::new();
        for service in &picture.services {
            now.extend(dead(service).into_iter().map(|node| (step(service, &node), node)));
        }
        asked.retain(|before| {
            let still = now.iter().any(|(_, node)| Arc::ptr_eq(before, node));
            if !still {
                before.ask_to_leave(0);
            }
            still
        });
        for (sessions, node) in &now {
            node.ask_to_leave(*sessions);
            if !asked.iter().any(|before| Arc::ptr_eq(before, node)) {
                asked.push(node.clone());
            }
        }
        if let Some(crew) = crew.upgrade().filter(|_| !now.is_empty()) {
            crew.look_again();
        }
    }
}

/// The nodes whose sessions are to be closed. Where none is up it may be our own network that is
/// gone: nobody is cut off for that.
fn dead(service: &Service) -> Vec<Arc<Backend>> {
    if !service.candidates().iter().any(|one| one.up) {
        return Vec::new();
    }
    let close = service.settings.failover.on_down == OnDown::Close;
    let down = service.candidates().iter().filter(|one| !one.up && one.backend.active() > 0);
    let down = down.filter(|one| close || one.backend.is_known_dead());
    down.map(|one| one.backend.clone()).collect()
}

/// How many of them in this step.
fn step(service: &Service, node: &Backend) -> usize {
    if node.is_known_dead() {
        return usize::MAX;
    }
    // Rounded up: a pace of less than one a step is one a step.
    usize::try_from(service.settings.failover.close_per_second.div_ceil(10)).unwrap_or(usize::MAX)
}
