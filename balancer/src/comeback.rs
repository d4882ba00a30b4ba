//! Leads a node that is up again back to its whole share of new sessions, step by step.
//! It does not know how a share is kept (`backends` does). The messengers call it when a node
//! goes up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backends::{Backend, Backends, Flip, Service, WHOLE};
use crate::probe::current;
use crate::verdict::report_flip;

/// From one step to the next.
const STEP: Duration = Duration::from_millis(100);
/// It begins with a fifth of the share it comes to.
const STEPS_SKIPPED: f64 = 0.2;

/// Says that a node went up or down, and begins to lead one that went up.
pub(crate) fn flipped(backends: &Arc<Backends>, node: &Arc<Backend>, flip: Flip, reason: &str) {
    report_flip(backends, node, flip, reason);
    if flip == Flip::Up {
        tokio::spawn(lead(node.clone(), backends.clone()));
    }
}

/// Until the time is over, or it went down again.
async fn lead(node: Arc<Backend>, backends: Arc<Backends>) {
    let began = Instant::now();
    while let Some(service) = current(&node, &backends) {
        let time = service.settings.failover.return_time;
        let way = began.elapsed().as_secs_f64() / time.as_secs_f64();
        if way >= 1.0 || time.is_zero() || !node.is_up() {
            break;
        }
        backends.limit_share(&node, share(&service, &node, way));
        drop(service);
        sleep(STEP).await;
    }
    backends.limit_share(&node, WHOLE);
}

/// Thousandths of the new sessions of a service.
fn share(service: &Service, node: &Arc<Backend>, way: f64) -> u32 {
    let up = service.candidates().iter().filter(|one| one.up && one.open);
    let (mut its, mut all) = (0, 0);
    for one in up {
        all += u64::from(one.weight);
        its += if Arc::ptr_eq(&one.backend, node) { u64::from(one.weight) } else { 0 };
    }
    let fair = u64::from(WHOLE) * its / all.max(1);
    let most = fair * u64::from(service.settings.failover.return_percent) / 100;
    let now = f64::from(u32::try_from(most).unwrap_or(WHOLE)) * way.max(STEPS_SKIPPED);
    // Never none at all, and never "no limit" before its time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let thousandths = now.clamp(1.0, f64::from(WHOLE - 1)) as u32;
    thousandths
}
