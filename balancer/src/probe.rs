//! The messenger that knocks: does a node's kernel answer, and listens somebody there?
//! It does not know how many good or bad looks matter, any client, or whether what listens there
//! works (`interview` asks that). `house` starts one per node.
//!
//! A knock is silent: it is taken back before the connection is complete, so nothing at the node
//! accepts it and no log has a line of it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backends::{Aspect, Backend, Backends, Service};
use crate::comeback::flipped;
use crate::outcome::Cause;
use crate::socket::Socket;
use crate::verdict::cause_of_dial;

/// A look knocks so many times, spread over its time: one packet that is lost is no verdict.
const KNOCKS: u32 = 4;
/// A node in doubt is looked at this often, if not more often anyway, until it is clear.
const DOUBT_INTERVAL: Duration = Duration::from_millis(50);

/// Looks at `node` until it is no longer in the picture: once in a while, and at once when asked.
pub async fn watch(node: Arc<Backend>, backends: Arc<Backends>) {
    let mut next = Instant::now();
    loop {
        let due = tokio::select! {
            () = sleep_until(next) => next,
            () = node.reach_asked.rung() => Instant::now(),
        };
        let Some(service) = current(&node, &backends) else { return };
        let health = &service.settings.health;
        let late = due.elapsed();
        let looked = look(&node, health.timeout).await;
        if looked.is_err() && stood_still(late, due.elapsed(), health.timeout) {
            say_that_it_stood_still(&node);
        } else {
            tell(&backends, &node, looked.map(|()| due.elapsed().saturating_sub(late)));
        }
        let in_doubt = node.is_doubted(Aspect::Reach) && node.is_up();
        let pause = if in_doubt { health.interval.min(DOUBT_INTERVAL) } else { health.interval };
        next = Instant::now() + spread(pause);
    }
}

/// The service of a node that is still in the picture.
pub(crate) fn current(node: &Arc<Backend>, backends: &Backends) -> Option<Arc<Service>> {
    let service = backends.service(&node.service)?;
    let has = service.candidates().iter().any(|one| Arc::ptr_eq(&one.backend, node));
    has.then_some(service)
}

/// Whether it was we who did not run: a timer that rings late says nothing of a node.
pub(crate) fn stood_still(late: Duration, took: Duration, allowed: Duration) -> bool {
    late > allowed || took > late + allowed * 2
}

/// Says that a look is thrown away.
pub(crate) fn say_that_it_stood_still(node: &Backend) {
    let (service, node) = (&*node.service.0, &*node.name);
    tracing::warn!(service, node, "this machine stood still; a failed look is not counted");
}

fn tell(backends: &Arc<Backends>, node: &Arc<Backend>, looked: Result<Duration, Cause>) {
    let good = looked.is_ok();
    match looked {
        Err(Cause::Local) => return,
        Err(cause) => {
            node.remember_failure(format!("a health check: {}", cause.name()));
            if matches!(cause, Cause::Timeout | Cause::Unreachable) {
                spread_the_news(backends, node);
            }
        }
        Ok(took) => {
            node.dials.took(took);
            node.trust(Aspect::Reach);
        }
    }
    node.metrics.probed(good);
    if let Some(flip) = backends.hear(node, Aspect::Reach, good) {
        flipped(backends, node, flip, looked.err().map_or("", Cause::name));
    }
}

/// Where one port of a machine does not answer, the others are doubted until they have.
fn spread_the_news(backends: &Backends, node: &Backend) {
    let picture = backends.picture();
    let all = picture.services.iter().flat_map(|service| service.candidates());
    let neighbours = all.map(|one| &one.backend).filter(|one| {
        one.address.ip() == node.address.ip()
            && !one.address.ip().is_loopback()
            && one.address != node.address
    });
    for neighbour in neighbours.filter(|one| one.is_up() && !one.is_doubted(Aspect::Reach)) {
        neighbour.doubt(Aspect::Reach);
    }
}

/// One look: the first knock that is answered decides.
async fn look(node: &Backend, allowed: Duration) -> Result<(), Cause> {
    let mut knocks = JoinSet::new();
    let deadline = Instant::now() + allowed;
    loop {
        knocks.spawn(Socket::knock(node.address));
        tokio::select! {
            Some(answer) = knocks.join_next() => {
                let answer = answer.map_err(|_| Cause::Local)?;
                return answer.map_err(|error| cause_of_dial(&error));
            }
            () = sleep(allowed / KNOCKS) => {}
        }
        if Instant::now() >= deadline {
            return Err(Cause::Timeout);
        }
    }
}

/// The interval, a tenth more or less, so that looks at many nodes do not march in step.
pub(crate) fn spread(interval: Duration) -> Duration {
    // A new hasher has new keys each time: dice enough.
    let dice = RandomState::new().build_hasher().finish() % 2001;
    let factor = 0.9 + f64::from(u32::try_from(dice).unwrap_or(1000)) / 10_000.0;
    interval.mul_f64(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_spread_by_a_tenth() {
        let second = Duration::from_secs(1);
        let spread: Vec<_> = (0..200).map(|_| spread(second)).collect();
        assert!(spread.iter().all(|one| (second * 9 / 10..=second * 11 / 10).contains(one)));
        assert!(spread.iter().any(|one| *one < second) && spread.iter().any(|one| *one > second));
    }

    #[test]
    fn a_late_timer_is_told_from_a_slow_node() {
        let ms = Duration::from_millis;
        assert!(!stood_still(ms(1), ms(105), ms(100)));
        assert!(stood_still(ms(2000), ms(2100), ms(100)), "it rang late");
        assert!(stood_still(ms(1), ms(2050), ms(100)), "it took longer than it may");
    }
}
