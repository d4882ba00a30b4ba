//! The address clients know: put on an interface, announced, and taken off at the end. It does
//! not know what is served there. `commands::run` starts the keeper and tells it what is wished.
//!
//! An address is taken only when no other machine answers for it; one that a killed balancer left
//! behind is taken over. `packets` and `netlink` are pure, `wire` has the sockets, `board` is what
//! can be seen, `rights` what is needed.

pub mod board;
pub mod netlink;
pub mod packets;
pub mod rights;
pub mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::settings::VirtualIp;
use board::Board;
use netlink::{Assigned, Link};
use packets::{Claim, Mac};
use wire::{FRAME_BYTES, Kernel, Segment};

/// RFC 5227 §2.1.1 asks so often, with seconds in between that nobody who fails over has.
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long an answer to the last one may take.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);
/// What could not be taken is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);
/// Announced at once and after these milliseconds, since a frame may be lost ...
const ANNOUNCED_AFTER: [u64; 4] = [200, 1000, 2000, 5000];
/// ... and then again and again.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether the address still stands and the cable is in.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// RFC 5227 §2.4: who is contradicted twice within this time gives up; and nobody shouts more
/// often than this.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// At the end the address is taken off by then, or the kernel hangs.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Has the address held as long as it lives.
#[derive(Debug)]
pub struct Keeper {
    wish: watch::Sender<Option<VirtualIp>>,
    board: Board,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins, with no wish yet; has to be called inside a runtime.
    #[must_use]
    pub fn start() -> Self {
        let (wish, wishes) = watch::channel(None);
        let board = Board::default();
        let task = tokio::spawn(fulfil(wishes, board.clone()));
        Self { wish, board, task }
    }

    /// What is to be held from now on. Another address than before is let go first.
    pub fn wish(&self, wish: Option<&VirtualIp>) {
        self.wish.send_if_modified(|now| {
            let changes = now.as_ref() != wish;
            if changes {
                self.board.wished(wish);
                *now = wish.cloned();
            }
            changes
        });
    }

    /// What can be seen.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Takes the address off.
    pub async fn release(self) {
        drop(self.wish);
        if timeout(RELEASE_TIMEOUT, self.task).await.is_err() {
            tracing::error!("the virtual address could not be taken off in time");
        }
    }
}

/// Holds what is wished until nobody wishes any more. A wait that is given up drops what it holds.
async fn fulfil(mut wishes: watch::Receiver<Option<VirtualIp>>, board: Board) {
    loop {
        let wish = wishes.borrow_and_update().clone();
        let changed = match &wish {
            None => wishes.changed().await,
            Some(wish) => tokio::select! {
                changed = wishes.changed() => changed,
                () = hold(wish, &board) => Ok(()),
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Takes the address and keeps it, and again whenever it was lost. Never ends by itself.
async fn hold(wish: &VirtualIp, board: &Board) {
    loop {
        let problem = match take(wish).await {
            Ok(mut held) => {
                board.held();
                held.keep(board).await
            }
            Err(problem) => problem,
        };
        board.lacks(&problem);
        sleep(RETRY).await;
    }
}

/// Puts the address on its interface, unless there is something against it.
async fn take(wish: &VirtualIp) -> Result<Held, String> {
    let (address, name) = (wish.address, &wish.interface);
    let trouble = |what: &str, error: io::Error| explain(&format!("{what} of {name}"), &error);
    let kernel = Kernel::open().map_err(|error| trouble("the state", error))?;
    let link = usable(&kernel, name).map_err(|error| trouble("the state", error))??;
    let links = kernel.links().map_err(|error| trouble("the state", error))?;
    let stands = kernel.find(address).map_err(|error| trouble("the addresses", error))?;
    if let Some(other) = stands.filter(|stands| stands.interface != link.index) {
        let other = links.iter().find(|link| link.index == other.interface);
        let other = other.map_or("another interface", |link| &link.name);
        return Err(format!("{address} is on {other} of this machine, not on {name}"));
    }
    let network = link.mac.map(|own| {
        let segment = Segment::open(link.index, address)?;
        let machine = links.iter().filter_map(|link| link.mac).collect();
        Ok(Network { segment, address, own, machine })
    });
    let network = network.transpose().map_err(|error| trouble("the network", error))?;
    if let Some(network) = &network {
        let claim = network.ask_around().await.map_err(|error| trouble("the network", error))?;
        if let Some(claim) = claim {
            if let Some(Err(error)) = stands.map(|stands| kernel.take_off(stands)) {
                tracing::warn!(%address, %error, "what was left here could not be taken off");
            }
            return Err(refusal(wish, claim));
        }
    }
    let wanted = Assigned { interface: link.index, address, prefix: wish.prefix };
    if stands.is_some() {
        tracing::warn!(%address, interface = name, "the virtual address was left here; taken over");
    } else {
        kernel.put(wanted).map_err(|error| trouble("the addresses", error))?;
    }
    let held = Held { wish: wish.clone(), assigned: stands.unwrap_or(wanted), network };
    tracing::info!(%address, interface = name, "the virtual address is held");
    Ok(held)
}

/// The interface, if an address on it can be reached.
fn usable(kernel: &Kernel, name: &str) -> io::Result<Result<Link, String>> {
    let Some(link) = kernel.link(name)? else {
        let names: Vec<_> = kernel.links()?.into_iter().map(|link| link.name).collect();
        return Ok(Err(format!("there is no interface {name}; there are {}", names.join(", "))));
    };
    Ok(match (link.up, link.running) {
        (false, _) => Err(format!("{name} is down; remedy: `ip link set dev {name} up`")),
        (true, false) => Err(format!("{name} has no carrier; remedy: look at its cable")),
        (true, true) => Ok(link),
    })
}

fn refusal(wish: &VirtualIp, claim: Claim) -> String {
    let (address, name) = (wish.address, &wish.interface);
    match claim {
        Claim::Has(mac) => format!(
            "{address} is held by another machine at {name}, with the hardware address {mac}; it \
             is taken here when that one lets go"
        ),
        Claim::Wants(mac) => format!(
            "{address} is about to be taken by another machine at {name}, with the hardware \
             address {mac}"
        ),
    }
}

fn explain(what: &str, error: &io::Error) -> String {
    match (error.kind(), rights::check()) {
        (io::ErrorKind::PermissionDenied, Err(remedy)) => remedy,
        _ => format!("{what} could not be read or changed: {error}"),
    }
}

/// The network around the interface, where there is one to ask: not so at `lo`.
#[derive(Debug)]
struct Network {
    segment: Segment,
    address: std::net::IpAddr,
    own: Mac,
    /// All hardware addresses of this machine.
    machine: Vec<Mac>,
}

impl Network {
    /// The next that another machine says of the address.
    async fn claim(&self) -> io::Result<Claim> {
        let mut frame = [0; FRAME_BYTES];
        loop {
            let length = self.segment.receive(&mut frame).await?;
            let frame = frame.get(..length).unwrap_or(&frame);
            if let Some(claim) = packets::claim(frame, self.address, &self.machine) {
                return Ok(claim);
            }
        }
    }

    /// Asks whether another machine has the address, or is taking it and goes first.
    async fn ask_around(&self) -> io::Result<Option<Claim>> {
        let began = Instant::now();
        for number in 1..=PROBES {
            self.segment.send(&packets::probe(self.address, self.own)).await?;
            let last = if number == PROBES { PROBE_PATIENCE } else { Duration::ZERO };
            let until = began + PROBE_INTERVAL * number + last;
            while let Ok(claim) = timeout_at(until, self.claim()).await {
                match claim? {
                    // Two that start at once: the lower hardware address goes first.
                    Claim::Wants(mac) if mac > self.own => {}
                    claim => return Ok(Some(claim)),
                }
            }
        }
        Ok(None)
    }
}

/// An address that is on its interface; taken off when dropped.
#[derive(Debug)]
struct Held {
    wish: VirtualIp,
    assigned: Assigned,
    network: Option<Network>,
}

impl Held {
    /// Announces the address and looks after it; returns how it was lost.
    async fn keep(&mut self, board: &Board) -> String {
        let mut schedule = Schedule::begins();
        let (mut connected, mut contradicted): (bool, Option<Instant>) = (true, None);
        loop {
            let look_at = Instant::now() + LOOK_INTERVAL;
            tokio::select! {
                () = sleep_until(schedule.next) => {
                    schedule.advance();
                    self.announce(board).await;
                }
                claim = self.claim() => match claim {
                    Ok(Claim::Has(mac)) => {
                        board.conflict();
                        let lately = contradicted.is_some_and(|at| at.elapsed() < DEFEND_INTERVAL);
                        if lately && !self.goes_first(mac) {
                            return refusal(&self.wish, Claim::Has(mac));
                        }
                        if !lately {
                            let address = self.wish.address;
                            tracing::error!(%address, %mac, "another machine has our address too");
                            contradicted = Some(Instant::now());
                            self.announce(board).await;
                        }
                    }
                    // The kernel answers who asks before taking it.
                    Ok(Claim::Wants(_)) => {}
                    Err(error) => {
                        tracing::debug!(%error, "the network cannot be heard now");
                        sleep(LOOK_INTERVAL).await;
                    }
                },
                () = sleep_until(look_at) => match self.look() {
                    Ok(now) if now && !connected => {
                        // Whoever took it while we were cut off keeps it.
                        if let Ok(Some(claim)) = self.ask_around().await {
                            return refusal(&self.wish, claim);
                        }
                        (connected, schedule) = (true, Schedule::begins());
                    }
                    Ok(now) => connected = now,
                    Err(problem) => return problem,
                },
            }
        }
    }

    /// Whether we keep the address when the machine with this hardware address has it too, as
    /// happens when a network that was cut in two is whole again.
    fn goes_first(&self, other: Mac) -> bool {
        self.network.as_ref().is_some_and(|network| network.own < other)
    }

    async fn announce(&self, board: &Board) {
        let Some(network) = &self.network else { return };
        for frame in packets::announcements(network.address, network.own) {
            if let Err(error) = network.segment.send(&frame).await {
                tracing::warn!(%error, "the virtual address could not be announced");
                return;
            }
        }
        board.announced();
    }

    async fn claim(&self) -> io::Result<Claim> {
        match &self.network {
            Some(network) => network.claim().await,
            None => std::future::pending().await,
        }
    }

    async fn ask_around(&self) -> io::Result<Option<Claim>> {
        match &self.network {
            Some(network) => network.ask_around().await,
            None => Ok(None),
        }
    }

    /// Whether the network can be reached; an error when the address is gone.
    fn look(&self) -> Result<bool, String> {
        let look = || {
            let kernel = Kernel::open()?;
            let there = kernel.find(self.wish.address)?.is_some();
            Ok((there, kernel.link(&self.wish.interface)?))
        };
        let (address, name) = (self.wish.address, &self.wish.interface);
        match look() {
            Ok((true, Some(link))) => Ok(link.up && link.running),
            Ok((false, _)) => Err(format!("somebody has taken {address} off {name}")),
            Ok((_, None)) => Err(format!("the interface {name} is gone")),
            Err(error) => {
                let error: io::Error = error;
                tracing::debug!(%error, "the kernel cannot be asked for addresses now");
                Ok(true)
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (address, interface) = (self.wish.address, &self.wish.interface);
        match Kernel::open().and_then(|kernel| kernel.take_off(self.assigned)) {
            Ok(()) => tracing::info!(%address, interface, "the virtual address is taken off"),
            Err(error) => {
                tracing::warn!(%address, interface, %error, "the virtual address is not taken off");
            }
        }
    }
}

/// When the address is announced.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    count: usize,
    next: Instant,
}

impl Schedule {
    /// The first time is at once.
    fn begins() -> Self {
        let now = Instant::now();
        Self { began: now, count: 0, next: now }
    }

    fn advance(&mut self) {
        self.next = match ANNOUNCED_AFTER.get(self.count) {
            Some(after) => self.began + Duration::from_millis(*after),
            None => self.next + ANNOUNCED_EVERY,
        };
        self.count += 1;
    }
}
