//! The threads that carry connections: one loop per core, all on the same doors.
//! It does not know what a connection is (`connection` does). `house` starts it and sends for it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use shared::listener::ConnectionPermit;

use crate::connection::{Client, carry};
use crate::doors::{Door, Hallway};
use crate::eventloop::{Accepted, Caller, EventLoop, Host};

/// All loops, as the rest of the balancer sees them. They end with it.
#[derive(Debug)]
pub struct Crew {
    loops: Vec<Member>,
}

struct Member {
    caller: Caller<Arc<Door>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.thread.fmt(f)
    }
}

impl Crew {
    /// Starts a loop for each core this process may use.
    ///
    /// # Errors
    /// No threads or descriptors are left.
    pub fn start(hallway: &Hallway) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let loops = (0..cores).map(|number| Member::start(number, hallway.clone()));
        Ok(Self { loops: loops.collect::<io::Result<_>>()? })
    }

    /// Lets clients in through this door.
    pub(crate) fn open(&self, listener: &Arc<OwnedFd>, door: &Arc<Door>) {
        for one in &self.loops {
            one.caller.listen(listener.clone(), door.clone());
        }
    }

    /// Lets nobody in through it any more, once those who are waiting are in.
    pub(crate) fn close(&self, door: &Arc<Door>) {
        for one in &self.loops {
            one.caller.stop_listening(door.clone());
        }
    }

    /// Something that connections look at has changed: a wish to leave.
    pub fn look_again(&self) {
        for one in &self.loops {
            one.caller.poll_all();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for one in &self.loops {
            one.caller.end();
        }
        for thread in self.loops.iter_mut().filter_map(|one| one.thread.take()) {
            // A loop that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Member {
    fn start(number: usize, hallway: Hallway) -> io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread =
            std::thread::Builder::new().name(format!("loop-{number}")).spawn(move || {
                let limit = hallway.limit.clone();
                let made = EventLoop::new(Host {
                    permit: || limit.try_permit(),
                    welcome: |accepted| live(accepted, &hallway),
                    after_turn: || (),
                });
                let mut made = match made {
                    Ok(made) => made,
                    Err(error) => {
                        drop(sender.send(Err(error)));
                        return;
                    }
                };
                drop(sender.send(Ok(made.caller())));
                if let Err(error) = made.run() {
                    tracing::error!(%error, number, "a loop has ended");
                }
            })?;
        let caller = receiver.recv().map_err(io::Error::other)??;
        Ok(Self { caller, thread: Some(thread) })
    }
}

/// A client from its first packet to its last.
fn live(
    Accepted { client, address, label: door, permit }: Accepted<Arc<Door>, ConnectionPermit>,
    hallway: &Hallway,
) -> impl Future<Output = ()> + use<> {
    let Hallway { front, guests, .. } = hallway;
    let service = door.service(&front.backends.picture());
    let (ip, port) = (address.ip(), address.port());
    let client = Client { socket: client, ip, port, place: (permit, guests.guest()) };
    carry(client, service, front.clone())
}
