//! What one loop's connections share: its epoll, who waits for what, the clock of the turn.
//! It does not know what a connection does. Sockets register here; leaf futures look at flags;
//! the loop (`mod`) sets the flags and polls the tasks they belong to.
//!
//! Everything is of one thread: cells, no locks. Nothing here is borrowed across an await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

use super::pipe::{Pipe, Pipes};
use super::spares::is_shortage;

/// Bytes one read takes; one buffer for all connections of a loop.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// Sockets are of generations below this; epoll's data from here on names other things.
pub(super) const GENERATIONS: u32 = u32::MAX;

/// Milliseconds since the loop began; the clock is read once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// The lower bits of an entry of [`Deadlines`].
const TASK_BITS: u32 = 24;

impl Moment {
    /// How long it is until then.
    pub(crate) fn until(self, then: Self) -> Duration {
        Duration::from_millis(then.0.saturating_sub(self.0))
    }
    /// Later than any other.
    pub(crate) const NEVER: Self = Self(u64::MAX >> TASK_BITS);

    /// So much later, at least a millisecond.
    pub(crate) fn after(self, time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis.max(1)).min(Self::NEVER.0))
    }
}

/// What has happened at one side of a connection and was not used up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// There may be bytes, an end or an error to read.
    pub(super) const READABLE: u8 = 1;
    /// Bytes may be taken for sending.
    pub(super) const WRITABLE: u8 = 2;
    /// The peer has sent its end.
    pub(super) const HUNG_UP: u8 = 4;
    /// The socket has an error.
    pub(super) const BROKEN: u8 = 8;
    /// The loop is asked to tell when it is writable.
    pub(super) const WRITE_ASKED: u8 = 16;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// A registered socket.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    generation: u32,
    task: u32,
    flags: Flags,
}

/// Names a registered socket in epoll's events; a socket closed since has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(super) fn to_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the two halves of what to_data joined")]
    fn from_data(data: u64) -> Self {
        Self { index: data as u32, generation: (data >> 32) as u32 }
    }
}

/// What one loop's connections share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) epoll: OwnedFd,
    sides: RefCell<Sides>,
    /// The task being polled: what it registers is its own.
    current: Cell<u32>,
    deadlines: RefCell<Deadlines>,
    began: Instant,
    now: Cell<Moment>,
    /// Tasks that had more to do when their share of the turn was over.
    again: RefCell<Vec<u32>>,
    scratch: RefCell<Box<[u8]>>,
    pipes: RefCell<Pipes>,
    /// No descriptors were left when one was asked for.
    short: Cell<bool>,
}

#[derive(Debug, Default)]
struct Sides {
    all: Vec<Side>,
    free: Vec<u32>,
}

/// At most one deadline per task.
#[derive(Debug, Default)]
struct Deadlines {
    in_order: BTreeSet<u64>,
    of_task: Vec<Moment>,
}

impl Core {
    /// For one loop.
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sides: RefCell::default(),
            current: Cell::new(0),
            deadlines: RefCell::default(),
            began: Instant::now(),
            now: Cell::new(Moment(0)),
            again: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            pipes: RefCell::default(),
            short: Cell::new(false),
        }))
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Moment {
        self.now.get()
    }

    pub(super) fn read_clock(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.set(Moment(millis));
    }

    pub(super) fn enter(&self, task: u32) {
        self.current.set(task);
    }

    /// Registers a socket of the task being polled, edge-triggered. `flags`: what is true of it
    /// already.
    pub(super) fn register(
        &self,
        socket: &OwnedFd,
        interest: epoll::EventFlags,
        flags: u8,
    ) -> io::Result<Key> {
        let key = {
            let mut sides = self.sides.borrow_mut();
            let index = match sides.free.pop() {
                Some(index) => index,
                None => {
                    sides.all.push(Side::default());
                    u32::try_from(sides.all.len() - 1).map_err(io::Error::other)?
                }
            };
            let side = &mut sides.all[index as usize];
            side.task = self.current.get();
            side.flags = Flags(flags);
            Key { index, generation: side.generation }
        };
        let data = epoll::EventData::new_u64(key.to_data());
        if let Err(error) = epoll::add(&self.epoll, socket.as_fd(), data, interest) {
            self.forget(key);
            return Err(error.into());
        }
        Ok(key)
    }

    pub(super) fn change_interest(
        &self,
        socket: &OwnedFd,
        key: Key,
        interest: epoll::EventFlags,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key.to_data());
        Ok(epoll::modify(&self.epoll, socket.as_fd(), data, interest)?)
    }

    /// The socket is being closed (which takes it out of epoll): its events mean nothing any more.
    pub(super) fn forget(&self, key: Key) {
        let mut sides = self.sides.borrow_mut();
        let side = &mut sides.all[key.index as usize];
        side.generation = (side.generation + 1) % GENERATIONS;
        sides.free.push(key.index);
    }

    /// Notes an event. Returns the task to be polled; `None`: the socket is gone.
    pub(super) fn note(&self, data: u64, happened: u8) -> Option<u32> {
        let key = Key::from_data(data);
        let mut sides = self.sides.borrow_mut();
        let side = sides.all.get_mut(key.index as usize)?;
        if side.generation != key.generation {
            return None;
        }
        side.flags.0 |= happened;
        Some(side.task)
    }

    pub(super) fn flags(&self, key: Key) -> Flags {
        self.sides.borrow().all[key.index as usize].flags
    }

    pub(super) fn clear(&self, key: Key, flags: u8) {
        self.sides.borrow_mut().all[key.index as usize].flags.0 &= !flags;
    }

    pub(super) fn set(&self, key: Key, flags: u8) {
        self.sides.borrow_mut().all[key.index as usize].flags.0 |= flags;
    }

    /// Sets the deadline of the task being polled; it is polled then, whatever else happens.
    pub(crate) fn set_deadline(&self, at: Moment) {
        self.deadlines.borrow_mut().set(self.current.get(), at);
    }

    pub(super) fn end_task(&self, task: u32) {
        self.deadlines.borrow_mut().remove(task);
    }

    /// Tasks whose deadline has come, and those that had more to do.
    pub(super) fn take_due(&self, due: &mut Vec<u32>) {
        due.append(&mut self.again.borrow_mut());
        let mut deadlines = self.deadlines.borrow_mut();
        while let Some((at, task)) = deadlines.first() {
            if at > self.now.get() {
                return;
            }
            deadlines.remove(task);
            due.push(task);
        }
    }

    /// How long the loop may sleep; `None`: for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        if !self.again.borrow().is_empty() {
            return Some(Duration::ZERO);
        }
        let (first, _) = self.deadlines.borrow().first()?;
        Some(Duration::from_millis(first.0.saturating_sub(self.now.get().0)))
    }

    /// Waits until something happens to the task: an event of a socket of its own, its deadline, or
    /// a call from outside. Being woken for nothing is normal: whoever waits looks again.
    #[expect(clippy::unused_self, reason = "who waits is in a loop")]
    pub(crate) fn event(&self) -> Event {
        Event { polled: false }
    }

    /// Lends the loop's one buffer, within a plain function.
    pub(crate) fn with_scratch<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        work(&mut self.scratch.borrow_mut())
    }

    /// An empty pipe; `None`: no descriptors are left, or others need them more.
    pub(crate) fn take_pipe(&self) -> Option<Pipe> {
        if self.is_short() {
            return None;
        }
        self.pipes.borrow_mut().take().inspect_err(|error| self.note_error(*error)).ok()
    }

    /// Notes that a call failed, if it was for want of descriptors.
    pub(super) fn note_error(&self, error: Errno) {
        if is_shortage(error) {
            self.set_short(true);
        }
    }

    /// Whether descriptors are short.
    pub(super) fn is_short(&self) -> bool {
        self.short.get()
    }

    pub(super) fn set_short(&self, short: bool) {
        if short {
            // Those that are held for nothing are let go.
            self.pipes.replace(Pipes::default());
        }
        self.short.set(short);
    }

    /// Takes a pipe back.
    pub(crate) fn give_back(&self, pipe: Option<Box<Pipe>>) {
        if let Some(pipe) = pipe {
            self.pipes.borrow_mut().give_back(*pipe);
        }
    }

    /// Waits until `look` finds what it looks for; `None`: the deadline came first. It is asked at
    /// once, at every event of the task, and a last time at the deadline.
    pub(crate) async fn until<T>(
        &self,
        deadline: Moment,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if self.now() >= deadline {
                return None;
            }
            self.set_deadline(deadline);
            self.event().await;
        }
    }

    /// Lets others have their turn, and goes on in the next.
    pub(crate) fn again(&self) {
        self.again.borrow_mut().push(self.current.get());
    }
}

/// What [`Core::event`] waits with: a byte, since every idle connection holds one.
pub(crate) struct Event {
    polled: bool,
}

impl Future for Event {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Deadlines {
    /// One that is later than what stands is not noted now: the task is polled at the earlier one,
    /// for nothing, and sets its deadline again. That is a poll in an idle time, not a change of
    /// the order at every byte.
    fn set(&mut self, task: u32, at: Moment) {
        let index = task as usize;
        if index >= self.of_task.len() {
            self.of_task.resize(index + 1, Moment::NEVER);
        }
        let before = self.of_task[index];
        if before > at {
            if before != Moment::NEVER {
                self.in_order.remove(&entry(before, task));
            }
            self.of_task[index] = at;
            self.in_order.insert(entry(at, task));
        }
    }

    fn remove(&mut self, task: u32) {
        if let Some(before) = self.of_task.get_mut(task as usize)
            && *before != Moment::NEVER
        {
            self.in_order.remove(&entry(*before, task));
            *before = Moment::NEVER;
        }
    }

    fn first(&self) -> Option<(Moment, u32)> {
        let first = self.in_order.first()?;
        let task = u32::try_from(first & ((1 << TASK_BITS) - 1)).unwrap_or(u32::MAX);
        Some((Moment(first >> TASK_BITS), task))
    }
}

/// Both in eight bytes, since every connection has one: 34 years of milliseconds and 16 million
/// tasks, beyond what descriptors allow.
fn entry(at: Moment, task: u32) -> u64 {
    at.0 << TASK_BITS | u64::from(task)
}
