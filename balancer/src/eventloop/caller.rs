//! The door to a loop for other threads: what they ask, and the bell that wakes the loop.
//! It does not know what a loop does about it; `crew` asks, the loop (`mod`) takes.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// What a thread outside asks of a loop.
pub(super) enum Order<L> {
    Listen(Arc<OwnedFd>, L),
    StopListening(L),
    PollAll,
    End,
}

/// The door to a loop for other threads.
pub(crate) struct Caller<L> {
    bell: Arc<OwnedFd>,
    orders: Arc<Mutex<Vec<Order<L>>>>,
}

impl<L> Clone for Caller<L> {
    fn clone(&self) -> Self {
        Self { bell: self.bell.clone(), orders: self.orders.clone() }
    }
}

impl<L> Caller<L> {
    /// For a loop that listens to `bell`, an eventfd.
    pub(super) fn new(bell: OwnedFd) -> Self {
        Self { bell: Arc::new(bell), orders: Arc::default() }
    }

    /// What the loop waits at.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// What was asked since the last time.
    pub(super) fn take(&self) -> Vec<Order<L>> {
        let mut count = [0; 8];
        // An empty counter says so; the orders tell all there is.
        let _ = rustix::io::read(&self.bell, &mut count);
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes clients from this listener too; `label` comes with each of them.
    pub(crate) fn listen(&self, listener: Arc<OwnedFd>, label: L) {
        self.order(Order::Listen(listener, label));
    }

    /// Takes no more clients from the listeners of this label.
    pub(crate) fn stop_listening(&self, label: L) {
        self.order(Order::StopListening(label));
    }

    /// Polls every connection once: something they look at has changed.
    pub(crate) fn poll_all(&self) {
        self.order(Order::PollAll);
    }

    /// Ends the loop; connections that are left are closed.
    pub(crate) fn end(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order<L>) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        // The counter cannot overflow in a lifetime; a loop that is gone hears nothing.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}
