//! An orderly stop: no new guests, wait for those inside, a deadline.
//! It does not know what a guest does; listeners, connections and each `main` share a [`Stop`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One wish to stop, shared by all who have to know of it, and a count of those still inside.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    requested: CancellationToken,
    guests: AtomicUsize,
    left: Notify,
}

impl Stop {
    /// Not requested yet, nobody inside.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop. Asking twice is asking once.
    pub fn request(&self) {
        self.0.requested.cancel();
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.requested.is_cancelled()
    }

    /// Waits until somebody asks; at once if somebody has.
    pub async fn requested(&self) {
        self.0.requested.cancelled().await;
    }

    /// Counts one more inside until the guest is dropped.
    #[must_use]
    pub fn guest(&self) -> Guest {
        self.0.guests.fetch_add(1, Ordering::Relaxed);
        Guest(self.clone())
    }

    /// How many are inside.
    #[must_use]
    pub fn guests(&self) -> usize {
        self.0.guests.load(Ordering::Acquire)
    }

    /// Waits until nobody is inside, at most for `deadline`. Returns how many are left.
    pub async fn emptied(&self, deadline: Duration) -> usize {
        let empty = async {
            loop {
                let mut left = std::pin::pin!(self.0.left.notified());
                // Listening before looking: a guest who leaves in between is not missed.
                left.as_mut().enable();
                if self.guests() == 0 {
                    return;
                }
                left.await;
            }
        };
        let _ = tokio::time::timeout(deadline, empty).await;
        self.guests()
    }
}

/// Somebody inside; leaves when dropped.
#[derive(Debug)]
pub struct Guest(Stop);

impl Drop for Guest {
    fn drop(&mut self) {
        if self.0.0.guests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.left.notify_waiters();
        }
    }
}

/// SIGTERM and SIGINT, from the moment this was made; none in between two waits is lost.
#[derive(Debug)]
pub struct TerminateSignals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
}

impl TerminateSignals {
    /// Begins to listen; has to be called inside a runtime. From here on the signals no longer
    /// end the process by themselves.
    #[must_use]
    pub fn listen() -> Self {
        Self {
            terminate: listen_or_warn(SignalKind::terminate()),
            interrupt: listen_or_warn(SignalKind::interrupt()),
        }
    }

    /// Waits for the next one and says which it was.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.terminate) => "SIGTERM",
            () = received(&mut self.interrupt) => "SIGINT",
        }
    }
}

/// Waits for the first SIGTERM or SIGINT. For a second one keep [`TerminateSignals`].
pub async fn terminate_signal() -> &'static str {
    TerminateSignals::listen().next().await
}

fn listen_or_warn(kind: SignalKind) -> Option<Signal> {
    match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::warn!(%error, "a signal cannot be listened for; it ends the process at once");
            None
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_request_reaches_everybody() {
        let stop = Stop::new();
        let other = stop.clone();
        assert!(!other.is_requested());
        let waiting = tokio::spawn(async move { other.requested().await });
        stop.request();
        stop.request();
        waiting.await.expect("it ends");
        stop.requested().await;
        assert!(stop.is_requested());
    }

    #[tokio::test]
    async fn guests_are_waited_for() {
        let stop = Stop::new();
        let (first, second) = (stop.guest(), stop.guest());
        assert_eq!(stop.guests(), 2);
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.emptied(LONG).await }
        });
        drop(first);
        drop(second);
        assert_eq!(waiting.await.expect("it ends"), 0);
        assert_eq!(stop.emptied(LONG).await, 0);
    }

    #[tokio::test]
    async fn a_guest_who_stays_is_counted_at_the_deadline() {
        let stop = Stop::new();
        let _guest = stop.guest();
        assert_eq!(stop.emptied(Duration::from_millis(1)).await, 1);
    }
}
