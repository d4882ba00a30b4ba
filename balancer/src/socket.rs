//! The few verbs of a messenger's socket, on tokio's reactor: knock, connect, receive, send.
//! It does not know clients: their connections live in the loops (`eventloop`). `probe` and
//! `interview` call it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shared::listener::{VANISHED, set_peer_options};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};

/// A connection to a node.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Connects, for as long as the kernel tries.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        set_peer_options(&socket, VANISHED)?;
        socket.connect(address).await.map(Self)
    }

    /// Knocks: is there a kernel that answers and a listener? The answer to its answer is put off,
    /// and a reset takes its place, so the connection never is complete and nobody accepts it.
    ///
    /// # Errors
    /// What the system says.
    pub async fn knock(address: SocketAddr) -> io::Result<()> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        {
            let options = SockRef::from(&socket);
            options.set_tcp_quickack(false)?;
            options.set_linger(Some(Duration::ZERO))?;
        }
        socket.connect(address).await.map(drop)
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
}
