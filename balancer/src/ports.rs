//! From which of our addresses nodes are dialed, and how many ports are left there.
//! It does not know sockets: `dial` asks it for the next source, and says when it had no port.
//!
//! A connection to a node takes one port of one of our addresses for that node alone. What is
//! counted here are our own connections; the kernel has the last word.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::backends::{Backend, Backends};
use crate::metrics;

/// How often the gauge is brought up to date, and the kernel's range looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The kernel's first and last port for connections that choose none (ip(7)).
const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Ports there are for each address of ours and each node; `usize::MAX` until it is known.
static RANGE: AtomicUsize = AtomicUsize::new(usize::MAX);

/// One address of ours, as far as one node is concerned.
#[derive(Debug)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    live: AtomicUsize,
}

impl Source {
    /// Whether no port can be left, so that the kernel need not look for one.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.live.load(Ordering::Relaxed) >= RANGE.load(Ordering::Relaxed)
    }

    /// Counts one more connection from here.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Port {
        self.live.fetch_add(1, Ordering::Relaxed);
        Port(self.clone())
    }
}

/// A port that is in use; counted as free again when dropped.
#[derive(Debug)]
pub struct Port(Arc<Source>);

impl Drop for Port {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The addresses of ours from which one node is dialed, in turn.
#[derive(Debug, Default)]
pub struct Sources {
    all: Box<[Arc<Source>]>,
    turn: AtomicUsize,
}

impl Sources {
    /// Those of `addresses` that can reach `node`, being of its kind; what `before` has counted
    /// stays counted. `None`: the system chooses.
    #[must_use]
    pub fn new(addresses: &[IpAddr], node: IpAddr, before: Option<&Self>) -> Option<Self> {
        let fitting = addresses.iter().filter(|address| address.is_ipv4() == node.is_ipv4());
        let all = fitting.map(|address| {
            let mut known = before.map_or(&[][..], |before| &before.all).iter();
            let known = known.find(|source| source.address == *address).cloned();
            let new = || Arc::new(Source { address: *address, live: AtomicUsize::new(0) });
            known.unwrap_or_else(new)
        });
        let all: Box<[_]> = all.collect();
        (!all.is_empty()).then(|| Self { all, turn: AtomicUsize::new(0) })
    }

    /// Each of them once, beginning with another one each time.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<Source>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        self.all[first..].iter().chain(&self.all[..first])
    }
}

/// Whether a node that is dialed from whatever address the system chooses has all the ports there
/// are; `active` counts the dial that is about to begin.
#[must_use]
pub fn is_used_up(active: usize) -> bool {
    active > RANGE.load(Ordering::Relaxed)
}

/// Keeps the gauge of free ports, as long as there are `backends`.
pub async fn watch(backends: Weak<Backends>) {
    let mut shown = HashSet::new();
    loop {
        {
            let Some(backends) = backends.upgrade() else { return };
            if let Some(range) =
                std::fs::read_to_string(RANGE_FILE).ok().and_then(|text| read(&text))
            {
                RANGE.store(range, Ordering::Relaxed);
            }
            show(&backends, &mut shown);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What a gauge belongs to: service, node, source.
type Labels = (String, String, String);

fn show(backends: &Backends, shown: &mut HashSet<Labels>) {
    let range = RANGE.load(Ordering::Relaxed);
    let mut gone = std::mem::take(shown);
    for service in &backends.picture().services {
        for node in service.candidates().iter().map(|candidate| &candidate.backend) {
            for (source, live) in used(node) {
                let labels = (service.settings.name.to_string(), node.name.to_string(), source);
                let free = (range != usize::MAX).then(|| range.saturating_sub(live));
                metrics::free_ports(&labels.0, &labels.1, &labels.2, free);
                gone.remove(&labels);
                shown.insert(labels);
            }
        }
    }
    for (service, node, source) in gone {
        metrics::free_ports(&service, &node, &source, None);
    }
}

/// Our connections to a node by where they come from.
fn used(node: &Backend) -> Vec<(String, usize)> {
    let Some(sources) = node.sources() else { return vec![("any".to_owned(), node.active())] };
    let live = |source: &Arc<Source>| source.live.load(Ordering::Relaxed);
    sources.all.iter().map(|source| (source.address.to_string(), live(source))).collect()
}

/// How many ports `first last` are.
fn read(range: &str) -> Option<usize> {
    let mut ports = range.split_whitespace().map(str::parse::<usize>);
    let (first, last) = (ports.next()?.ok()?, ports.next()?.ok()?);
    Some(last.checked_sub(first)? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn sources_of_the_nodes_kind_take_turns() {
        let all = addresses(&["10.0.0.5", "2001:db8::5", "10.0.0.6"]);
        let node = "10.0.0.11".parse().expect("an address");
        let sources = Sources::new(&all, node, None).expect("two");
        let turn = || sources.in_turn().map(|one| one.address.to_string()).collect::<Vec<_>>();
        assert_eq!([turn(), turn()], [["10.0.0.5", "10.0.0.6"], ["10.0.0.6", "10.0.0.5"]]);
        assert!(Sources::new(&all[1..2], node, None).is_none(), "none of its kind");
        assert!(Sources::new(&[], node, None).is_none());
    }

    #[test]
    fn what_was_counted_stays_counted_over_a_reload() {
        let node = "10.0.0.11".parse().expect("an address");
        let before = Sources::new(&addresses(&["10.0.0.5"]), node, None).expect("one");
        let port = before.all[0].take();
        let after = Sources::new(&addresses(&["10.0.0.6", "10.0.0.5"]), node, Some(&before));
        let after = after.expect("two");
        let live = |place: usize| after.all[place].live.load(Ordering::Relaxed);
        assert_eq!((live(0), live(1)), (0, 1));
        drop(port);
        assert_eq!((live(0), live(1)), (0, 0));
    }

    #[test]
    fn the_kernels_range_is_read() {
        assert_eq!(read("32768\t60999\n"), Some(28_232));
        assert_eq!([read("1 0"), read("x 5"), read("")], [None; 3]);
    }
}
