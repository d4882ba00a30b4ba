//! The messenger: dials one node again and again and tells its judge whether that went well.
//! It does not know how many good or bad looks matter, or any client. `house` starts one per node.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use shared::proxy_header::{encode_v1, encode_v2_local};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backends::{Backend, Backends, Service};
use crate::outcome::Cause;
use crate::settings::ProxyProtocol;
use crate::socket::Socket;
use crate::verdict::{cause_of_dial, report_flip};

/// A node that says more than a greeting is not listened to for long.
const PIECES_MAX: usize = 16;

/// Looks at `node` until it is no longer in the picture.
pub async fn watch(node: Arc<Backend>, backends: Arc<Backends>) {
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        let Some(service) = backends.service(&node.service) else { return };
        if !service.candidates().iter().any(|one| Arc::ptr_eq(&one.backend, &node)) {
            return;
        }
        let allowed = service.settings.health.timeout;
        let late = next.elapsed();
        let looked = look(&node, &service).await;
        let took = next.elapsed();
        if looked.is_err() && (late > allowed || took > late + allowed * 2) {
            // It was we who stood still: a timer that rings late says nothing of the node.
            let (service, node) = (&*node.service.0, &*node.name);
            tracing::warn!(service, node, "this machine stood still; a failed look is not counted");
        } else {
            tell(&backends, &node, looked);
        }
        next = Instant::now() + spread(service.settings.health.interval);
    }
}

fn tell(backends: &Backends, node: &Arc<Backend>, looked: Result<(), Cause>) {
    let good = match looked {
        Ok(()) => true,
        Err(Cause::Local) => return,
        Err(cause) => {
            node.remember_failure(format!("a health check: {}", cause.name()));
            false
        }
    };
    node.metrics.probed(good);
    if let Some(flip) = backends.hear(node, good) {
        report_flip(node, flip, looked.err().map_or("", Cause::name));
    }
}

/// One look: a connection that stands is good; then it is ended as politely as time allows.
async fn look(node: &Backend, service: &Service) -> Result<(), Cause> {
    let allowed = service.settings.health.timeout;
    let socket = timeout(allowed, Socket::connect(node.address)).await;
    let socket = socket.map_err(|_| Cause::Timeout)?.map_err(|error| cause_of_dial(&error))?;
    let header = match service.settings.proxy_protocol {
        ProxyProtocol::None => Vec::new(),
        // Version 1 has no word for "this is the proxy itself" that every server takes.
        ProxyProtocol::V1 => {
            socket.local_address().map(|ours| encode_v1(ours, node.address)).unwrap_or_default()
        }
        ProxyProtocol::V2 => encode_v2_local(),
    };
    // Whatever happens from here on: it could be reached, which is what was asked.
    if socket.send(&header).is_ok() && socket.end().is_ok() {
        let _ = timeout(allowed, drained(&socket)).await;
    }
    Ok(())
}

/// Takes what a node says until it has ended too: closing before would reset it, and fill its log.
async fn drained(socket: &Socket) {
    let mut ignored = [0; 512];
    for _ in 0..PIECES_MAX {
        socket.readable().await;
        match socket.receive(&mut ignored) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
}

/// The interval, a tenth more or less, so that looks at many nodes do not march in step.
fn spread(interval: Duration) -> Duration {
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
}
