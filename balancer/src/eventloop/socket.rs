//! The few verbs that touch a socket: connect, receive, send, splice, end, reset.
//! It does not know who is at the other end or what the bytes mean. `connection` and `relay` call
//! it; flags that the loop sets say when a call is worth making.
//!
//! Edge-triggered: a flag stands from the event until a call finds that there is no more. A read
//! that falls short has emptied the socket, so no second call is made to hear it say so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt,
};
use rustix::pipe::{SpliceFlags, splice};

use super::core::{Core, Flags, Key};
use super::pipe::Pipe;

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes, and perhaps more behind them.
    Bytes(usize),
    /// So many bytes, and then the end: the last there will be.
    Last(usize),
    /// Nothing yet: wait for an event.
    Nothing,
    /// The end.
    End,
}

/// Where a socket comes from: what that says of using it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A client's, or bound to an address of ours: used once.
    Single,
    /// To a node, IPv4.
    Node4,
    /// To a node, IPv6.
    Node6,
}

/// One end of a connection, registered with its loop; closed on drop.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    kind: Kind,
    key: Key,
    core: Rc<Core>,
}

/// Told of: bytes, the peer's end. Errors are always told.
const INTEREST: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

impl Socket {
    /// A client's connection, as the listener gave it (its options come from there).
    ///
    /// # Errors
    /// The loop cannot take it.
    pub(crate) fn accepted(descriptor: OwnedFd, core: Rc<Core>) -> io::Result<Self> {
        let key = core.register(&descriptor, INTEREST, Flags::WRITABLE)?;
        Ok(Self { descriptor, kind: Kind::Single, key, core })
    }

    /// Begins to connect with a socket that has served another connection, if one is at hand. It
    /// is done when [`Socket::connected`] says so.
    ///
    /// # Errors
    /// As [`Socket::connect`].
    pub(crate) fn connect_again(address: SocketAddr, core: &Rc<Core>) -> Option<io::Result<Self>> {
        while let Some(socket) = core.take_kept(address.is_ipv6()) {
            let at_rest = crate::system::is_at_rest(&socket.descriptor).unwrap_or(false);
            // Disconnecting keeps its options and its place in epoll.
            if at_rest && rustix::net::connect_unspec(&socket.descriptor).is_ok() {
                core.adopt(socket.key, Flags::WRITE_ASKED);
                return Some(begin(&socket.descriptor, address).map(|()| socket));
            }
        }
        None
    }

    /// Begins to connect, from this address of ours if there is one. It is done when
    /// [`Socket::connected`] says so.
    ///
    /// # Errors
    /// It failed at once: refused on this machine, no route, no port, no descriptor.
    pub(crate) fn connect(
        address: SocketAddr,
        source: Option<IpAddr>,
        core: &Rc<Core>,
    ) -> io::Result<Self> {
        let (family, kind) = match address {
            SocketAddr::V4(_) => (AddressFamily::INET, Kind::Node4),
            SocketAddr::V6(_) => (AddressFamily::INET6, Kind::Node6),
        };
        let kind = if source.is_some() { Kind::Single } else { kind };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let descriptor =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
                .inspect_err(|error| core.note_error(*error))?;
        sockopt::set_tcp_nodelay(&descriptor, true)?;
        if let Some(source) = source {
            // The port is chosen by the connect, which knows the node: there may be one more
            // connection from the same port to each node.
            crate::system::choose_port_late(&descriptor)?;
            rustix::net::bind(&descriptor, &SocketAddr::new(source, 0))?;
        }
        begin(&descriptor, address)?;
        let key = core.register(&descriptor, INTEREST | EventFlags::OUT, Flags::WRITE_ASKED)?;
        Ok(Self { descriptor, kind, key, core: core.clone() })
    }

    /// Keeps it for another connection, now that this one has ended on both sides; closes it where
    /// it cannot be used again. `owes_end`: the node was not told yet that nothing more comes.
    pub(crate) fn keep(self, owes_end: bool) {
        let spent = self.flags().has(Flags::BROKEN | Flags::WATCHED) || self.core.is_short();
        let is_v6 = self.kind == Kind::Node6;
        if spent || self.kind == Kind::Single || owes_end && self.end().is_err() {
            return;
        }
        self.core.clone().keep(self, is_v6);
    }

    /// The loop it lives in.
    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Whether a connect is over, and how: `None` while it goes on.
    pub(crate) fn connected(&self) -> Option<io::Result<()>> {
        let flags = self.flags();
        if flags.has(Flags::BROKEN) {
            return Some(Err(self.take_error()));
        }
        flags.has(Flags::WRITABLE | Flags::READABLE).then_some(Ok(()))
    }

    /// What is wrong with a socket that has an error.
    pub(crate) fn take_error(&self) -> io::Error {
        match sockopt::socket_error(&self.descriptor) {
            Ok(Err(error)) | Err(error) => error.into(),
            Ok(Ok(())) => io::ErrorKind::ConnectionReset.into(),
        }
    }

    /// Whether a receive is worth trying.
    pub(crate) fn is_readable(&self) -> bool {
        self.flags().has(Flags::READABLE | Flags::HUNG_UP | Flags::BROKEN)
    }

    /// Whether a send is worth trying.
    pub(crate) fn is_writable(&self) -> bool {
        self.flags().has(Flags::WRITABLE | Flags::BROKEN)
    }

    /// Whether the socket has an error.
    pub(crate) fn is_broken(&self) -> bool {
        self.flags().has(Flags::BROKEN)
    }

    /// Whether the peer has left: it reset, or, where `end_is_leaving`, it ended without a word
    /// that is still to be read.
    pub(crate) fn has_left(&self, end_is_leaving: bool) -> bool {
        let flags = self.flags();
        flags.has(Flags::BROKEN)
            || end_is_leaving && flags.has(Flags::HUNG_UP) && self.has_no_word()
    }

    fn has_no_word(&self) -> bool {
        let peeked = rustix::net::recv(&self.descriptor, &mut [0; 1], RecvFlags::PEEK);
        matches!(peeked, Ok((0, _)) | Err(_))
    }

    /// Octets sent and not acknowledged yet: what a reset would cut off.
    pub(crate) fn unacknowledged(&self) -> usize {
        crate::system::outgoing_bytes(&self.descriptor).unwrap_or(0)
    }

    /// Takes what there is. Never waits.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let size = buffer.len();
        match rustix::net::recv(&self.descriptor, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Ok(Received::End),
            Ok((bytes, _)) if bytes == size => Ok(Received::Bytes(bytes)),
            Ok((bytes, _)) => Ok(self.emptied(bytes)),
            Err(Errno::AGAIN) => {
                self.core.clear(self.key, Flags::READABLE);
                Ok(Received::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A read that fell short: the socket is empty. Where the peer has sent its end, and not an
    /// error, that is all there will ever be: a reset must not be taken for an end.
    fn emptied(&self, bytes: usize) -> Received {
        let flags = self.flags();
        if flags.has(Flags::BROKEN) {
            return Received::Bytes(bytes);
        }
        if flags.has(Flags::HUNG_UP) {
            return Received::Last(bytes);
        }
        self.core.clear(self.key, Flags::READABLE);
        Received::Bytes(bytes)
    }

    /// Gives as much as there is room for. `more`: more follows at once, let them go together.
    /// Never waits; asks the loop to tell when there is room again.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn send(&self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        match rustix::net::send(&self.descriptor, bytes, flags) {
            Ok(sent) if sent == bytes.len() => Ok(sent),
            Ok(sent) => self.filled().map(|()| sent),
            Err(Errno::AGAIN) => self.filled().map(|()| 0),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves bytes from here into an empty pipe, without copying them.
    ///
    /// # Errors
    /// The connection is broken, or cannot be spliced from.
    pub(crate) fn splice_into(&self, pipe: &mut Pipe) -> io::Result<Received> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(&self.descriptor, None, &pipe.into, None, pipe.capacity, flags) {
            Ok(0) => Ok(Received::End),
            Ok(bytes) => {
                pipe.bytes = bytes;
                Ok(Received::Bytes(bytes))
            }
            // The pipe is empty, so it is the socket that has nothing.
            Err(Errno::AGAIN) => {
                self.core.clear(self.key, Flags::READABLE);
                Ok(Received::Nothing)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves bytes out of a pipe. Never waits; asks the loop to tell when there is room again.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn splice_from(&self, pipe: &mut Pipe) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(&pipe.out, None, &self.descriptor, None, pipe.bytes, flags) {
            Ok(bytes) => {
                pipe.bytes -= bytes;
                Ok(bytes)
            }
            Err(Errno::AGAIN) => self.filled().map(|()| 0),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that nothing more will come from here (FIN); receiving goes on.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) fn end(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.descriptor, Shutdown::Write)?)
    }

    /// Its close will be a reset: nobody shall take what was cut off for an orderly end.
    pub(crate) fn reset(&self) {
        // Where it cannot be set, the close is a plain one: the best that can be done then.
        let _ = sockopt::set_socket_linger(&self.descriptor, Some(Duration::ZERO));
    }

    /// From now on a peer that answers nothing for so long is found out, and one that reads slowly
    /// fills no more than its share of the kernel's memory. A client's connection has this from its
    /// listener; a node's gets it once it has lived for a while.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn watch_peer(&self, vanished: Duration) -> io::Result<()> {
        self.core.set(self.key, Flags::WATCHED);
        shared::listener::watch_peer(&self.descriptor, vanished)
    }

    /// The address of our end.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.descriptor)?;
        SocketAddr::try_from(address).map_err(io::Error::from)
    }

    /// There is no more room: the loop is asked to tell when there is. Until a socket is full for
    /// the first time nobody asks, which saves most connections an event and a call.
    fn filled(&self) -> io::Result<()> {
        self.core.clear(self.key, Flags::WRITABLE);
        if !self.flags().has(Flags::WRITE_ASKED) {
            self.core.set(self.key, Flags::WRITE_ASKED);
            // An edge that came before this is told by it: nothing is missed.
            self.core.change_interest(&self.descriptor, self.key, INTEREST | EventFlags::OUT)?;
        }
        Ok(())
    }

    fn flags(&self) -> Flags {
        self.core.flags(self.key)
    }

    /// Its name in the loop.
    pub(super) fn key(&self) -> Key {
        self.key
    }
}

/// Sends the first packet of a connection.
fn begin(descriptor: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    match rustix::net::connect(descriptor, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.core.forget(self.key);
    }
}

/// What an event says of a socket.
pub(super) fn happened(flags: EventFlags) -> u8 {
    let mut happened = 0;
    for (event, flag) in [
        (EventFlags::IN, Flags::READABLE),
        (EventFlags::OUT, Flags::WRITABLE),
        (EventFlags::RDHUP, Flags::HUNG_UP | Flags::READABLE),
        (EventFlags::HUP, Flags::HUNG_UP | Flags::READABLE),
        (EventFlags::ERR, Flags::BROKEN | Flags::READABLE),
    ] {
        if flags.contains(event) {
            happened |= flag;
        }
    }
    happened
}
