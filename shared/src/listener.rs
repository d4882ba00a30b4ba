//! A listening socket, and the one loop that accepts: an error is a pause, never an end.
//! It does not know what is spoken. Both binaries' `run` commands call it for every port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shutdown::Stop;

/// Connections the kernel completes before we accept them (it cuts this to its somaxconn).
const BACKLOG: i32 = 4096;
/// How long nothing is accepted after an error; without it a full descriptor table would spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Accept errors are logged at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(5);
/// A peer that answers nothing for so long has vanished, where nobody says otherwise.
pub const VANISHED: Duration = Duration::from_secs(120);
/// Half of that time a peer may be silent, in the other half it is asked so often.
const QUESTIONS: u32 = 4;
/// Octets the kernel takes for a peer beyond those that are under way. Without it a peer that
/// reads slowly makes it hold 4 MiB (`tcp_wmem`). It is what a pipe of the balancer's holds, so
/// that a stream is not cut into more, smaller writes.
const UNSENT_MAX: u32 = 1 << 20;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one. Accepted connections inherit no delay,
    /// keepalive and a limit for unacknowledged data. Has to be called inside a runtime.
    ///
    /// # Errors
    /// What the system says, most often that the address is in use or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let (socket, address) = listening_socket(address, Wishes::default())?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Self { socket, address })
    }

    /// Where it listens; the real port where 0 was asked for.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

/// What a listening socket is wanted for, beyond its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// The address need not be this machine's now, it may come and go, as one does that moves
    /// between machines.
    pub may_be_away: bool,
    /// Another listener of ours, which allows it ([`share_port`]), has this port at an address
    /// that includes this one, or the other way round.
    pub shares_port: bool,
    /// See [`watch_peer`].
    pub vanished: Duration,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { may_be_away: false, shares_port: false, vanished: VANISHED }
    }
}

/// A socket that listens at `address`, without a runtime, and where it listens really: port 0
/// takes a free one. Accepted connections inherit no delay and what [`watch_peer`] sets; an accept
/// never waits.
///
/// # Errors
/// What the system says, most often that the address is in use or not ours.
pub fn listening_socket(address: SocketAddr, wishes: Wishes) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` is IPv6 alone, so `0.0.0.0` may stand beside it.
        socket.set_only_v6(true)?;
    }
    if wishes.shares_port {
        socket.set_reuse_port(true)?;
    }
    if wishes.may_be_away {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    set_peer_options(&socket, wishes.vanished)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, address))
}

/// What every connection of ours has, whichever side began it: no delay, keepalive, and an end
/// for a peer that vanished without a word.
///
/// # Errors
/// What the system says; the socket is not to be used then.
pub fn set_peer_options(socket: &impl AsFd, vanished: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)?;
    watch_peer(socket, vanished)
}

/// The part of [`set_peer_options`] that a short connection does not need: six system calls for a
/// peer that may vanish later, or read slowly. One that answers nothing for as long as `vanished`
/// (or takes nothing of what waits for it) is gone: the connection has an error then. Two seconds
/// at least, since the kernel counts its questions in seconds.
///
/// # Errors
/// What the system says.
pub fn watch_peer(socket: &impl AsFd, vanished: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let seconds = |time: Duration| Duration::from_secs(time.as_secs().max(1));
    let keepalive = TcpKeepalive::new().with_time(seconds(vanished / 2));
    let keepalive = keepalive.with_interval(seconds(vanished / 2 / QUESTIONS));
    socket.set_tcp_keepalive(&keepalive.with_retries(QUESTIONS))?;
    socket.set_tcp_user_timeout(Some(vanished))?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

/// Allows another listener of ours beside this one, at the same port of an address that includes
/// this one's or is included in it ([`Wishes::shares_port`]).
///
/// # Errors
/// What the system says.
pub fn share_port(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_reuse_port(true)
}

/// How many connections there may be at once, over all listeners that share it.
#[derive(Debug, Clone)]
pub struct ConnectionLimit(Arc<Semaphore>);

impl ConnectionLimit {
    /// At most `max` (the semaphore's own limit is far beyond what descriptors allow).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }

    /// How many more would be let in now.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.available_permits()
    }

    /// A permit, if there is one at once.
    #[must_use]
    pub fn try_permit(&self) -> Option<ConnectionPermit> {
        self.0.clone().try_acquire_owned().ok().map(|permit| ConnectionPermit(Some(permit)))
    }

    /// A permit as soon as there is one.
    pub(crate) async fn permit(&self) -> ConnectionPermit {
        // The semaphore is never closed, so there is always a permit to come.
        ConnectionPermit(self.0.clone().acquire_owned().await.ok())
    }
}

/// A place within the [`ConnectionLimit`]; given back when dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "it is kept for its drop")]
pub struct ConnectionPermit(Option<OwnedSemaphorePermit>);

/// One accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Its place within the limit: keep it as long as the connection.
    pub permit: ConnectionPermit,
}

/// Accepts until a stop is requested and gives each connection to `each`. It waits for a permit
/// before it accepts: beyond the limit clients wait in the kernel's queue. Those who wait there
/// when the stop comes are still taken, so that nobody who was let in is cut off.
pub async fn accept_loop(
    listener: Listener,
    limit: ConnectionLimit,
    stop: &Stop,
    mut each: impl FnMut(Accepted),
) {
    let mut warnings = Warnings::default();
    loop {
        let permit = tokio::select! {
            biased;
            () = stop.requested() => break,
            permit = limit.permit() => permit,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => break,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => each(Accepted { stream, peer, permit }),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                drop(permit);
                warnings.warn(listener.address, &error);
                tokio::select! {
                    () = stop.requested() => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
    take_waiting(&listener, &limit, &mut each).await;
}

/// Takes what the kernel had accepted before the stop; closing the listener would reset it.
async fn take_waiting(
    listener: &Listener,
    limit: &ConnectionLimit,
    each: &mut impl FnMut(Accepted),
) {
    for _ in 0..BACKLOG {
        let Some(permit) = limit.try_permit() else { return };
        // One look: a timeout of zero polls once and gives up where nobody waits.
        let waiting = tokio::time::timeout(Duration::ZERO, listener.socket.accept()).await;
        let Ok(Ok((stream, peer))) = waiting else { return };
        each(Accepted { stream, peer, permit });
    }
}

/// A client that left before it was accepted says nothing of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
    hidden: u64,
}

impl Warnings {
    fn warn(&mut self, address: SocketAddr, error: &io::Error) {
        if self.last.is_some_and(|last| last.elapsed() < WARN_INTERVAL) {
            self.hidden += 1;
            return;
        }
        let hidden = std::mem::take(&mut self.hidden);
        self.last = Some(Instant::now());
        tracing::warn!(%address, %error, hidden, "accept failed; a pause, then on");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::sync::mpsc;

    use super::*;

    fn bind() -> Listener {
        Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port")
    }

    /// Runs a loop that sends what it accepts here.
    fn run(limit: ConnectionLimit) -> (SocketAddr, Stop, mpsc::UnboundedReceiver<Accepted>) {
        let (listener, stop) = (bind(), Stop::new());
        let (address, until) = (listener.local_address(), stop.clone());
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            accept_loop(listener, limit, &until, |accepted| {
                let _ = sender.send(accepted);
            })
            .await;
        });
        (address, stop, receiver)
    }

    #[tokio::test]
    async fn accepted_connections_inherit_their_options() {
        let (address, _stop, mut accepted) = run(ConnectionLimit::new(10));
        let client = TcpStream::connect(address).await.expect("it listens");
        let accepted = accepted.recv().await.expect("one");
        assert_eq!(accepted.peer, client.local_addr().expect("an address"));
        let socket = SockRef::from(&accepted.stream);
        assert!(socket.tcp_nodelay().expect("an option"));
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(VANISHED));
        assert_eq!(socket.tcp_keepalive_time().expect("an option"), VANISHED / 2);
        assert_eq!(socket.tcp_keepalive_interval().expect("an option"), VANISHED / 8);
        assert_eq!(socket.tcp_notsent_lowat().expect("an option"), UNSENT_MAX);
    }

    #[tokio::test]
    async fn the_next_one_waits_for_a_permit() {
        let limit = ConnectionLimit::new(1);
        let (address, _stop, mut accepted) = run(limit.clone());
        let _clients = [
            TcpStream::connect(address).await.expect("it listens"),
            TcpStream::connect(address).await.expect("the kernel's queue has room"),
        ];
        let first = accepted.recv().await.expect("one");
        assert_eq!(limit.left(), 0);
        assert!(accepted.try_recv().is_err(), "a second was accepted beyond the limit");
        drop(first);
        accepted.recv().await.expect("the second");
    }

    #[tokio::test]
    async fn those_who_wait_at_the_stop_are_taken() {
        let limit = ConnectionLimit::new(2);
        let held = [limit.try_permit(), limit.try_permit()];
        let (address, stop, mut accepted) = run(limit);
        let mut client = TcpStream::connect(address).await.expect("the queue has room");
        drop(held);
        stop.request();
        drop(accepted.recv().await.expect("the one who waited"));
        assert_eq!(client.read(&mut [0]).await.expect("a clean end"), 0);
        assert!(accepted.recv().await.is_none(), "the loop has ended");
        TcpStream::connect(address).await.expect_err("nobody listens any more");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let listener = bind();
        let error = Listener::bind(listener.local_address()).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
