//! Readiness: one loop per core, each a thread with its own epoll, all on the same listeners.
//! It does not know what a connection does: `connection` gives it a future per client, and it
//! polls that when one of its sockets, its deadline or a call from outside asks for it. There is
//! no waker and no reactor: a future of tokio's cannot be awaited here.
//!
//! A turn: wait, turn the batch into flags, poll whose flags changed, then whose deadline came,
//! accept last: so an event can never meet a later life of a slot.

mod caller;
mod core;
mod deadlines;
mod kept;
mod pipe;
mod socket;
mod spares;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};
use shared::logging::Ration;

pub(crate) use self::caller::Caller;
pub(crate) use self::core::Core;
pub(crate) use self::deadlines::Moment;
pub(crate) use self::pipe::Pipe;
pub(crate) use self::socket::{Received, Socket};

use self::caller::Order;
use self::socket::happened;
use self::spares::Spares;

/// Events taken at once.
const BATCH: usize = 256;
/// Clients accepted per listener and turn: more at once would keep those inside waiting.
const ACCEPTS: usize = 4;
/// Places for connections that are made at once.
const PLACES: usize = 32;
/// After an accept that failed for want of something: long enough not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Event data beyond every socket's (no socket has this generation): listeners, and the eventfd.
const LISTENERS: u64 = (core::GENERATIONS as u64) << 32;
const CALL: u64 = u64::MAX;

/// What may go wrong for each client there is: a line every five seconds.
static FAILURES: Ration = Ration::new(1, 5);
static SHORTAGES: Ration = Ration::new(1, 5);

/// A client that was accepted.
pub(crate) struct Accepted<L, P> {
    pub(crate) client: Socket,
    pub(crate) address: SocketAddr,
    /// The listener it came through.
    pub(crate) label: L,
    /// Its place, as [`Host::permit`] gave it.
    pub(crate) permit: P,
}

/// What a loop does for its owner.
pub(crate) struct Host<G, W, T> {
    /// A place for one more client; `None`: clients wait in the kernel's queue for a while.
    pub(crate) permit: G,
    /// Begins the life of a client.
    pub(crate) welcome: W,
    /// A turn of the loop is over.
    pub(crate) after_turn: T,
}

struct Listening<L> {
    socket: Arc<OwnedFd>,
    label: L,
    data: u64,
    /// An accept failed for want of something: not looked at before this.
    paused: Option<Moment>,
}

struct Task<F> {
    /// Its place is used again and again: no allocation after the first connection.
    future: Pin<Box<Option<F>>>,
    /// It stands in the list of those to be polled.
    called: bool,
}

/// One thread's loop.
pub(crate) struct EventLoop<L, F, H> {
    core: Rc<Core>,
    caller: Caller<L>,
    listening: Vec<Listening<L>>,
    next_listener: u64,
    tasks: Vec<Task<F>>,
    free: Vec<u32>,
    host: H,
    spares: Spares,
    /// No descriptors are left: nobody is let in before this, and then it is looked again.
    short_until: Option<Moment>,
}

impl<L, P, F, G, W, T> EventLoop<L, F, Host<G, W, T>>
where
    L: Clone + PartialEq,
    F: Future<Output = ()>,
    G: FnMut() -> Option<P>,
    W: FnMut(Accepted<L, P>) -> F,
    T: FnMut(),
{
    /// A loop that has yet to run, in the thread that will run it.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(crate) fn new(host: Host<G, W, T>) -> io::Result<Self> {
        let core = Core::new()?;
        let caller = Caller::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let data = epoll::EventData::new_u64(CALL);
        epoll::add(&core.epoll, caller.bell(), data, epoll::EventFlags::IN)?;
        let mut spares = Spares::default();
        spares.fill(&core.epoll);
        Ok(Self {
            core,
            caller,
            listening: Vec::new(),
            next_listener: 0,
            tasks: Vec::new(),
            free: Vec::new(),
            host,
            spares,
            short_until: None,
        })
    }

    /// The door for other threads.
    pub(crate) fn caller(&self) -> Caller<L> {
        self.caller.clone()
    }

    /// Runs until it is told to end.
    ///
    /// # Errors
    /// epoll itself failed.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        let mut called = Vec::new();
        let mut listeners = Vec::new();
        loop {
            self.wait(&mut events)?;
            self.core.read_clock();
            let mut rung = false;
            for event in events.drain(..) {
                match event.data.u64() {
                    CALL => rung = true,
                    data if data >= LISTENERS => listeners.push(data),
                    data => {
                        if let Some(task) = self.core.note(data, happened(event.flags)) {
                            call(&mut self.tasks, &mut called, task);
                        }
                    }
                }
            }
            self.poll(&mut called);
            self.core.take_due(&mut called);
            self.poll(&mut called);
            if rung && self.obey(&mut called)? {
                // They hold the core that holds them.
                self.core.let_go_of_kept();
                return Ok(());
            }
            for data in listeners.drain(..) {
                self.accept(data, ACCEPTS);
            }
            self.mind_shortage();
            self.resume();
            (self.host.after_turn)();
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let paused = self.listening.iter().any(|listening| listening.paused.is_some());
        let resume = paused || self.short_until.is_some();
        let pause = resume.then_some(ACCEPT_PAUSE);
        let patience = self.core.patience().into_iter().chain(pause).min().map(timespec);
        let spare = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.core.epoll, spare, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn poll(&mut self, called: &mut Vec<u32>) {
        for task in called.drain(..) {
            self.poll_one(task);
        }
    }

    fn poll_one(&mut self, task: u32) {
        let Some(slot) = self.tasks.get_mut(task as usize) else { return };
        slot.called = false;
        let Some(future) = slot.future.as_mut().as_pin_mut() else { return };
        self.core.enter(task);
        let mut context = Context::from_waker(Waker::noop());
        // A connection that panics ends, and it alone; what it held gives itself back.
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => self.finish(task),
            Err(_) => {
                tracing::error!("a connection panicked; it was ended");
                self.finish(task);
            }
        }
    }

    fn finish(&mut self, task: u32) {
        self.tasks[task as usize].future.set(None);
        self.core.end_task(task);
        self.free.push(task);
    }

    /// Does what was asked from outside. True: the loop ends.
    fn obey(&mut self, called: &mut Vec<u32>) -> io::Result<bool> {
        for order in self.caller.take() {
            match order {
                Order::Listen(socket, label) => self.listen(socket, label)?,
                Order::StopListening(label) => self.stop_listening(&label)?,
                Order::PollAll => {
                    called.extend(0..u32::try_from(self.tasks.len()).unwrap_or(u32::MAX));
                    self.poll(called);
                }
                Order::End => return Ok(true),
            }
        }
        Ok(false)
    }

    fn listen(&mut self, socket: Arc<OwnedFd>, label: L) -> io::Result<()> {
        let data = LISTENERS + self.next_listener % (CALL - LISTENERS);
        self.next_listener += 1;
        // One listener in all loops: EXCLUSIVE wakes one of them, not all.
        let interest = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
        epoll::add(&self.core.epoll, &socket, epoll::EventData::new_u64(data), interest)?;
        self.listening.push(Listening { socket, label, data, paused: None });
        Ok(())
    }

    /// Takes those whom the kernel has accepted already: closing the listener would reset them.
    fn stop_listening(&mut self, label: &L) -> io::Result<()> {
        while let Some(at) = self.listening.iter().position(|one| one.label == *label) {
            self.accept(self.listening[at].data, usize::MAX);
            let stopped = self.listening.swap_remove(at);
            if stopped.paused.is_none() {
                epoll::delete(&self.core.epoll, &stopped.socket)?;
            }
        }
        Ok(())
    }

    /// Looks at paused listeners again when their time has come.
    fn resume(&mut self) {
        if self.short_until.is_some() {
            return;
        }
        let now = self.core.now();
        for listening in &mut self.listening {
            if listening.paused.is_some_and(|until| until <= now) {
                listening.paused = None;
                let data = epoll::EventData::new_u64(listening.data);
                let interest = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
                if let Err(error) = epoll::add(&self.core.epoll, &listening.socket, data, interest)
                {
                    tracing::error!(%error, "a listener is lost to a loop");
                }
            }
        }
    }

    /// Out of descriptors: nobody is let in, and what is held for nothing is let go, until all of
    /// it can be had again.
    fn mind_shortage(&mut self) {
        let now = self.core.now();
        match self.short_until {
            None if self.core.is_short() => {
                if let Some(hidden) = SHORTAGES.line() {
                    tracing::warn!(hidden, "no descriptors are left; clients wait for a moment");
                }
                self.spares.release();
                (0..self.listening.len()).for_each(|at| self.pause(at));
                self.short_until = Some(now.after(ACCEPT_PAUSE));
            }
            Some(until) if until <= now => {
                let had = self.spares.fill(&self.core.epoll);
                self.short_until = (!had).then(|| now.after(ACCEPT_PAUSE));
                self.core.set_short(!had);
            }
            Some(_) | None => {}
        }
    }

    /// Out of places, descriptors or memory: clients wait in the kernel's queue for a moment,
    /// without this loop spinning over a listener that stays readable.
    fn pause(&mut self, at: usize) {
        let listening = &mut self.listening[at];
        if epoll::delete(&self.core.epoll, &listening.socket).is_ok() {
            listening.paused = Some(self.core.now().after(ACCEPT_PAUSE));
        }
    }

    fn accept(&mut self, data: u64, most: usize) {
        let Some(at) = self.listening.iter().position(|listening| listening.data == data) else {
            return;
        };
        for _ in 0..most {
            let Some(permit) = (self.host.permit)() else { return self.pause(at) };
            let Listening { socket, label, .. } = &self.listening[at];
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(socket, flags) {
                Ok((client, address)) => {
                    let label = label.clone();
                    if let Err(error) = self.welcome(client, address, label, permit) {
                        let hidden = FAILURES.line();
                        tracing::debug!(%error, hidden, "a client could not be taken");
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    self.core.note_error(error);
                    if let Some(hidden) = FAILURES.line() {
                        tracing::warn!(%error, hidden, "accept failed; a pause, then on");
                    }
                    return self.pause(at);
                }
            }
        }
    }

    /// A free place. New ones are made in bulk, so that they lie side by side: between what single
    /// connections allocate for a moment they would leave holes that nothing fits into.
    fn place(&mut self) -> u32 {
        if self.free.is_empty() {
            let first = self.tasks.len();
            self.tasks.extend((0..PLACES).map(|_| Task { future: Box::pin(None), called: false }));
            let new = (first..first + PLACES).rev();
            self.free.extend(new.map(|place| u32::try_from(place).unwrap_or(u32::MAX)));
        }
        self.free.pop().unwrap_or(u32::MAX)
    }

    fn welcome(
        &mut self,
        client: OwnedFd,
        address: Option<SocketAddrAny>,
        label: L,
        permit: P,
    ) -> io::Result<()> {
        let address = address.ok_or(io::ErrorKind::NotConnected)?;
        let address = SocketAddr::try_from(address).map_err(io::Error::from)?;
        let task = self.place();
        self.core.enter(task);
        let client = match Socket::accepted(client, self.core.clone()) {
            Ok(client) => client,
            Err(error) => {
                self.free.push(task);
                return Err(error);
            }
        };
        let life = (self.host.welcome)(Accepted { client, address, label, permit });
        self.tasks[task as usize].future.set(Some(life));
        self.poll_one(task);
        Ok(())
    }
}

fn timespec(time: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Puts a task on the list of those to be polled, once.
fn call<F>(tasks: &mut [Task<F>], called: &mut Vec<u32>, task: u32) {
    if let Some(slot) = tasks.get_mut(task as usize)
        && !std::mem::replace(&mut slot.called, true)
    {
        called.push(task);
    }
}
