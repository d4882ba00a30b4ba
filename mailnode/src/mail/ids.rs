//! Names that are never given twice: for deliveries, files and messages.
//! It does not know what is kept under them; delivery asks for them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A message's number in its mailbox, given in SQL, never used twice (RFC 9051 §2.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub i64);

/// One delivery: the queue id in replies, logs and `Received:`; unique in the whole cluster.
/// An unknown outcome of a commit is looked up by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliveryId(pub String);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message's identity for ever: POP3's UIDL (RFC 1939 §7: 1 to 70 characters 0x21-0x7E).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guid(pub String);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes ids for one run of one node.
///
/// A name is `TIME-EPOCH-NONCE-COUNT` in hexadecimal: the time sorts names and tells their age, the
/// node's epoch (given in SQL, once per start) parts nodes, the nonce parts a cloned machine from
/// its twin, the counter parts two names of one microsecond. None of them alone is trusted.
#[derive(Debug)]
pub struct Identities {
    epoch: i64,
    nonce: u32,
    count: AtomicU64,
}

impl Identities {
    /// For a node's run with this `epoch`; `nonce` is random.
    pub fn new(epoch: i64, nonce: u32) -> Self {
        Self { epoch, nonce, count: AtomicU64::new(0) }
    }

    /// A new delivery's id. `now_us`: microseconds since 1970 UTC.
    pub fn delivery(&self, now_us: i64) -> DeliveryId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        DeliveryId(format!("{now_us:014x}-{:x}-{:08x}-{count:x}", self.epoch, self.nonce))
    }

    /// The name of a delivery's file for its recipient number `index`.
    pub fn file_name(delivery: &DeliveryId, index: usize) -> String {
        format!("{delivery}.{index}.eml")
    }

    /// The guid of a delivery's message for its recipient number `index`.
    pub fn guid(delivery: &DeliveryId, index: usize) -> Guid {
        Guid(format!("{delivery}.{index}"))
    }
}

/// When a file of this name was created, in microseconds since 1970; `None`: not our name.
pub fn created_us(file_name: &str) -> Option<i64> {
    let stem = file_name.strip_suffix(".eml")?;
    let (time, rest) = stem.split_once('-')?;
    let well_formed = time.len() == 14 && rest.split('-').count() == 3;
    if well_formed { i64::from_str_radix(time, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_short_and_tell_their_time() {
        let (first, second) = (Identities::new(7, 1), Identities::new(8, 1));
        let now = 1_795_000_000_000_000;
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for ids in [&first, &second] {
                let delivery = ids.delivery(now);
                let file = Identities::file_name(&delivery, 99);
                assert_eq!(created_us(&file), Some(now), "{file}");
                assert!(Identities::guid(&delivery, 99).0.len() <= 70);
                assert!(seen.insert(file));
            }
        }
    }

    #[test]
    fn names_that_are_not_ours_have_no_time() {
        for name in ["", "x.eml", "1234.eml", ".cluster", "00000000000001-1-1.eml", "a-b-c-d.eml"] {
            assert_eq!(created_us(name), None, "{name}");
        }
    }
}
