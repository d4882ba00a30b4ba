//! How many connections one client address has, and may have.
//! It does not know what a connection is; whoever lets clients in asks it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections one client address may have at once. An IPv6 client is its /64: a
/// household, or an attacker, has that many addresses to itself.
#[derive(Debug, Clone)]
pub struct AddressLimit(Arc<Addresses>);

#[derive(Debug)]
struct Addresses {
    max: AtomicUsize,
    /// Only addresses that have a connection stand here, so the map is as bounded as they are.
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressLimit {
    /// At most `max` connections for each address.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Addresses { max: AtomicUsize::new(max), counts: Mutex::default() }))
    }

    /// Another limit from now on; those who are inside stay.
    pub fn set_max(&self, max: usize) {
        self.0.max.store(max, Ordering::Relaxed);
    }

    /// A place for one more connection of this address, or `None` where it has its share.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> Option<AddressPermit> {
        self.take(address).then(|| AddressPermit { limit: self.clone(), address })
    }

    /// The same without a guard: [`AddressLimit::give_back`] has to follow where it is true.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> bool {
        let address = household(address);
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.0.max.load(Ordering::Relaxed) {
            if *count == 0 {
                counts.remove(&address);
            }
            return false;
        }
        *count += 1;
        true
    }

    /// A place that was taken is free again.
    pub fn give_back(&self, address: IpAddr) {
        let address = household(address);
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counts.get_mut(&address) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&address);
        }
    }

    /// How many addresses have a connection.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A place within the [`AddressLimit`]; given back when dropped.
#[derive(Debug)]
pub struct AddressPermit {
    limit: AddressLimit,
    address: IpAddr,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        self.limit.give_back(self.address);
    }
}

/// Whom an address stands for: an IPv4 address itself, an IPv6 one its /64.
#[must_use]
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share() {
        let limit = AddressLimit::new(2);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = limit.admit(address("192.0.2.1")).expect("one");
        let second = limit.admit(address("::ffff:192.0.2.1")).expect("two of the same");
        assert!(limit.admit(address("192.0.2.1")).is_none());
        let other = limit.admit(address("192.0.2.2")).expect("another address");
        drop(first);
        let third = limit.admit(address("192.0.2.1")).expect("a place was given back");
        drop((second, third, other));
        assert_eq!(limit.addresses(), 0);
        let v6 = [limit.admit(address("2001:db8::1")), limit.admit(address("2001:db8::2"))];
        assert!(limit.admit(address("2001:db8::3")).is_none(), "the same /64");
        assert!(limit.admit(address("2001:db8:0:1::1")).is_some(), "another /64");
        drop(v6);
        assert_eq!(limit.addresses(), 0);
        assert!(AddressLimit::new(0).admit(address("192.0.2.1")).is_none());
    }
}
