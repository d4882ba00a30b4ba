//! The few verbs that touch a socket: connect, readable, receive, send, end, reset.
//! It does not know who is at the other end. `connection`, `relay` and `probe` call it, and
//! nothing else here touches a stream; what wakes a task (tokio's reactor now) shows nowhere else.

use std::io;
use std::net::{Shutdown, SocketAddr};

use shared::listener::set_peer_options;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

/// One end of a connection.
#[derive(Debug)]
pub struct Socket(TcpStream);

/// What somebody waits for at a socket. Waiting for nothing is waiting for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Bytes, or the end of them.
    pub read: bool,
    /// Room to send.
    pub write: bool,
    /// The other end vanished: a reset, or nothing acknowledged for too long.
    pub error: bool,
}

impl Socket {
    /// A connection that a listener accepted; its options came from there.
    #[must_use]
    pub fn accepted(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Connects, for as long as the kernel tries.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        set_peer_options(&SockRef::from(&socket))?;
        socket.connect(address).await.map(Self)
    }

    /// The address of our end: where the client came in.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits until there is something to receive: bytes, an end or an error.
    pub async fn readable(&self) {
        // An error here is met again, and by name, when receiving.
        let _ = self.0.readable().await;
    }

    /// Waits until something wanted is there; says whether it was an error.
    pub async fn ready(&self, wanted: Wanted) -> bool {
        match interest(wanted) {
            Some(interest) => {
                let ready = self.0.ready(interest).await;
                ready.map_or(true, |ready| wanted.error && ready.is_error())
            }
            None => std::future::pending().await,
        }
    }

    /// Takes what there is: 0 is the end. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` where there is nothing yet; anything else means the connection is broken.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }

    /// Gives as much as there is room for. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room; anything else means the connection is broken.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Says that nothing more will come from here (FIN); receiving goes on.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn end(&self) -> io::Result<()> {
        SockRef::from(&self.0).shutdown(Shutdown::Write)
    }

    /// Closes with a reset, so that nobody takes what was cut off for an orderly end.
    pub fn reset(self) {
        // Without it the close is a plain one: the best that can be done then.
        let _ = self.0.set_zero_linger();
    }

    /// Waits until the other end has left: it reset, or, where `end_is_leaving`, it ended without
    /// having said anything. Takes nothing out of the socket.
    pub async fn left(&self, end_is_leaving: bool) {
        if end_is_leaving && matches!(self.0.peek(&mut [0]).await, Ok(0) | Err(_)) {
            return;
        }
        let error = Wanted { error: true, ..Wanted::default() };
        self.ready(error).await;
    }
}

fn interest(wanted: Wanted) -> Option<Interest> {
    let kinds = [
        (wanted.read, Interest::READABLE),
        (wanted.write, Interest::WRITABLE),
        (wanted.error, Interest::ERROR),
    ];
    let wanted = kinds.into_iter().filter_map(|(wanted, kind)| wanted.then_some(kind));
    wanted.reduce(Interest::add)
}
