//! Sockets to nodes whose connection is over on both sides, kept to be connected anew: a socket
//! that is not destroyed need not be made, registered and torn down again for the next client
//! (measured: a tenth of the CPU of a short connection).
//! It does not know which node one was connected to. `Socket::keep` brings them, `Socket::connect`
//! asks for one, the loop's `Core` holds them.
//!
//! What may be kept: only one that has sent and read its end, never one that broke, that was bound
//! to an address of ours, or whose peer is watched (it lived long: its options are others'). What
//! is taken must have left its old life behind, in the kernel's eyes too: until the node has
//! acknowledged our end, forgetting that life would also forget to send the end again.

use std::collections::VecDeque;

use super::socket::Socket;

/// Held by each loop; between an end and the next dial there are only a few.
const MOST: usize = 64;

/// The sockets, oldest first: they have had most time to come to rest.
#[derive(Debug, Default)]
pub(super) struct Kept {
    v4: VecDeque<Socket>,
    v6: VecDeque<Socket>,
}

impl Kept {
    /// Keeps one more; the oldest goes if there are too many.
    pub(super) fn put(&mut self, socket: Socket, is_v6: bool) -> Option<Socket> {
        let sockets = if is_v6 { &mut self.v6 } else { &mut self.v4 };
        sockets.push_back(socket);
        if sockets.len() > MOST { sockets.pop_front() } else { None }
    }

    /// The oldest.
    pub(super) fn take(&mut self, is_v6: bool) -> Option<Socket> {
        if is_v6 { self.v6.pop_front() } else { self.v4.pop_front() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::rc::Rc;

    use super::super::core::Core;
    use super::super::socket::Received;
    use super::*;

    fn connection(listener: &TcpListener, core: &Rc<Core>) -> (Socket, TcpStream) {
        let address = listener.local_addr().expect("its address");
        let socket = Socket::connect(address, None, core).expect("it listens");
        (socket, listener.accept().expect("a connection").0)
    }

    fn again(listener: &TcpListener, core: &Rc<Core>) -> Option<(Socket, TcpStream)> {
        let address = listener.local_addr().expect("its address");
        let socket = Socket::connect_again(address, core)?.expect("it listens");
        Some((socket, listener.accept().expect("a connection").0))
    }

    #[test]
    fn one_that_ended_on_both_sides_carries_another_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let core = Core::new().expect("an epoll");
        // The last acknowledgement may take a moment: then there is none, which is right too.
        let (used, mut peer) = (0..1_000)
            .find_map(|_| {
                let (socket, peer) = connection(&listener, &core);
                drop(peer);
                socket.keep(true);
                again(&listener, &core)
            })
            .expect("in one of a thousand times the end is acknowledged at once");
        peer.write_all(b"hello").expect("it is sent");
        let mut bytes = [0; 9];
        while used.receive(&mut bytes).map_or(true, |received| received == Received::Nothing) {}
        assert_eq!(&bytes[..5], b"hello");
        assert_eq!(used.send(b"answer", false).expect("it is sent"), 6);
        drop(used);
        let mut heard = String::new();
        peer.read_to_string(&mut heard).expect("an end");
        assert_eq!(heard, "answer");
    }

    #[test]
    fn one_whose_peer_has_not_ended_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let core = Core::new().expect("an epoll");
        let (socket, mut peer) = connection(&listener, &core);
        socket.keep(true);
        assert!(again(&listener, &core).is_none(), "its old life goes on");
        assert_eq!(peer.read(&mut [0; 1]).expect("an end, no reset"), 0);
    }

    #[test]
    fn other_families_and_too_many_are_not_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let core = Core::new().expect("an epoll");
        let mut peers: Vec<TcpStream> = Vec::new();
        for _ in 0..MOST + 3 {
            let (socket, peer) = connection(&listener, &core);
            socket.keep(false);
            peers.push(peer);
        }
        assert!(Socket::connect_again(SocketAddr::from(([0; 16], 1)), &core).is_none());
        let kept = std::iter::from_fn(|| core.take_kept(false)).count();
        assert_eq!(kept, MOST);
        // The first ones were closed for good: their peers see the end.
        assert_eq!(peers[0].read(&mut [0; 1]).expect("an end"), 0);
    }
}
