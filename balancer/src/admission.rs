//! Who may come in: so many connections in all, so many of one address, so often.
//! It does not know what happens inside. `connection` asks it first of all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::address_limit::AddressLimit;

use crate::metrics;
use crate::outcome::End;
use crate::rate::Rate;

/// The door keeper of all services.
#[derive(Debug, Clone)]
pub struct Admission {
    seats: Arc<Seats>,
    addresses: AddressLimit,
    rate: Arc<Rate>,
}

#[derive(Debug)]
struct Seats {
    max: AtomicUsize,
    taken: AtomicUsize,
}

/// A client's place; given back when dropped. It borrows all it has to know: every connection holds
/// one as long as it lives.
#[derive(Debug)]
pub struct Seat<'a> {
    admission: &'a Admission,
    address: &'a IpAddr,
}

impl Admission {
    /// At most `max` clients, and `per_address_max` of one address.
    #[must_use]
    pub fn new(max: usize, per_address_max: usize) -> Self {
        metrics::connections_limit(max);
        let seats = Seats { max: AtomicUsize::new(max), taken: AtomicUsize::new(0) };
        let addresses = AddressLimit::new(per_address_max);
        Self { seats: Arc::new(seats), addresses, rate: Arc::new(Rate::new(None)) }
    }

    /// Other limits from now on; those inside stay.
    pub fn set_limits(&self, max: usize, per_address_max: usize) {
        metrics::connections_limit(max);
        self.seats.max.store(max, Ordering::Relaxed);
        self.addresses.set_max(per_address_max);
    }

    /// Another limit of how many come from one address in a minute.
    pub fn set_rate(&self, per_minute: Option<u32>) {
        self.rate.set(per_minute);
    }

    /// How many clients are inside.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.seats.taken.load(Ordering::Acquire)
    }

    /// The most clients that may be inside.
    #[must_use]
    pub fn max(&self) -> usize {
        self.seats.max.load(Ordering::Relaxed)
    }

    /// A place for a client of this address.
    ///
    /// # Errors
    /// Which of the limits is reached.
    pub fn admit<'a>(&'a self, address: &'a IpAddr) -> Result<Seat<'a>, End> {
        if !self.rate.admits(*address) {
            return Err(End::RefusedRate);
        }
        if !self.addresses.take(*address) {
            return Err(End::RefusedAddress);
        }
        // Taken before it is compared, so that two at the same time cannot both be the last.
        self.seats.taken.fetch_add(1, Ordering::AcqRel);
        let seat = Seat { admission: self, address };
        if self.taken() > self.max() { Err(End::RefusedLimit) } else { Ok(seat) }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.admission.addresses.give_back(*self.address);
        self.admission.seats.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_and_given_back() {
        let addresses: Vec<_> = (0..5).map(|last: u8| IpAddr::from([192, 0, 2, last])).collect();
        let address = |last: usize| &addresses[last];
        let admission = Admission::new(3, 2);
        let first = admission.admit(address(1)).expect("one");
        let _second = admission.admit(address(1)).expect("two");
        assert_eq!(admission.admit(address(1)).map(drop), Err(End::RefusedAddress));
        let _third = admission.admit(address(2)).expect("three");
        assert_eq!(admission.admit(address(3)).map(drop), Err(End::RefusedLimit));
        assert_eq!(admission.taken(), 3, "a refusal takes no place");
        drop(first);
        let _fourth = admission.admit(address(1)).expect("a place is free");
        admission.set_limits(5, 1);
        assert_eq!(admission.admit(address(1)).map(drop), Err(End::RefusedAddress));
        admission.admit(address(3)).expect("there is more room");
        admission.set_rate(Some(1));
        admission.admit(address(4)).expect("the first of a minute");
        assert_eq!(admission.admit(address(4)).map(drop), Err(End::RefusedRate));
    }
}
