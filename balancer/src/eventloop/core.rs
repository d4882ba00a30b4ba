//! What one loop's connections share: its epoll, who waits for what, the clock of the turn.
//! It does not know what a connection does. Sockets register here; leaf futures look at flags;
//! the loop (`mod`) sets the flags and polls the tasks they belong to.
//!
//! Everything is of one thread: cells, no locks. Nothing here is borrowed across an await.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

use super::deadlines::{Deadlines, Moment};
use super::kept::Kept;
use super::pipe::{Pipe, Pipes};
use super::socket::Socket;
use super::spares::is_shortage;

/// Bytes one read takes; one buffer for all connections of a loop.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// Sockets are of generations below this; epoll's data from here on names other things.
pub(super) const GENERATIONS: u32 = u32::MAX;

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
    /// The socket has options that the next connection must not have.
    pub(super) const WATCHED: u8 = 32;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// The task of a registered socket that is between two lives.
const NOBODY: u32 = u32::MAX;

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
    kept: RefCell<Kept>,
    /// No descriptors were left when one was asked for.
    short: Cell<bool>,
}

#[derive(Debug, Default)]
struct Sides {
    all: Vec<Side>,
    free: Vec<u32>,
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
            now: Cell::new(Moment::at(Duration::ZERO)),
            again: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            pipes: RefCell::default(),
            kept: RefCell::default(),
            short: Cell::new(false),
        }))
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Moment {
        self.now.get()
    }

    pub(super) fn read_clock(&self) {
        self.now.set(Moment::at(self.began.elapsed()));
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

    /// A registered socket begins another life, as one of the task being polled. What happened in
    /// its earlier life means nothing: a turn notes all its events before any task is polled.
    pub(super) fn adopt(&self, key: Key, flags: u8) {
        let side = &mut self.sides.borrow_mut().all[key.index as usize];
        side.task = self.current.get();
        side.flags = Flags(flags);
    }

    /// Keeps a socket whose connection is over; its events are nobody's until it is taken.
    pub(super) fn keep(&self, socket: Socket, is_v6: bool) {
        self.sides.borrow_mut().all[socket.key().index as usize].task = NOBODY;
        let oldest = self.kept.borrow_mut().put(socket, is_v6);
        drop(oldest);
    }

    /// A socket that was kept.
    pub(super) fn take_kept(&self, is_v6: bool) -> Option<Socket> {
        self.kept.borrow_mut().take(is_v6)
    }

    /// Closes what is kept.
    pub(super) fn let_go_of_kept(&self) {
        drop(self.kept.take());
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
        Some(self.now.get().until(first))
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
            self.let_go_of_kept();
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
