//! Does a loop poll who is to be polled, and only them? Real sockets, one loop in a thread.
//! It does not know balancing: a connection here does what its first byte says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use shared::listener::{Wishes, listening_socket};

use super::*;

struct Stage {
    address: SocketAddr,
    caller: Caller<u8>,
    alive: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    fn start() -> Self {
        let (listener, address) =
            listening_socket(SocketAddr::from(([127, 0, 0, 1], 0)), Wishes::default())
                .expect("a free port");
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut one = EventLoop::new(Host {
                permit: || Some(()),
                welcome: |accepted: Accepted<u8, ()>| live(accepted.client, Alive::new(&count)),
                after_turn: || (),
            })
            .expect("a loop");
            sender.send(one.caller()).expect("the test waits");
            one.run().expect("it runs");
        });
        let caller: Caller<u8> = receiver.recv().expect("it started");
        caller.listen(Arc::new(listener.into()), 1);
        Self { address, caller, alive, thread: Some(thread) }
    }

    fn client(&self, first: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
        client.write_all(first).expect("it is sent");
        client
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.caller.end();
        let thread = self.thread.take().expect("it was started");
        thread.join().expect("the loop ends");
        assert_eq!(self.alive.load(Ordering::SeqCst), 0, "a connection outlived its loop");
    }
}

/// Counts a connection while it lives.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `e`: echo until the end; `p`: panic; `t`: say "late" after 50 ms.
async fn live(client: Socket, _alive: Alive) {
    let core = client.core().clone();
    loop {
        let mut buffer = [0; 100];
        match client.receive(&mut buffer) {
            Ok(Received::Nothing) => core.event().await,
            Ok(Received::Bytes(bytes) | Received::Last(bytes)) if buffer[0] == b'e' => {
                client.send(&buffer[..bytes], false).expect("it takes them");
            }
            Ok(Received::Bytes(_) | Received::Last(_)) if buffer[0] == b'p' => panic!("asked to"),
            Ok(Received::Bytes(_) | Received::Last(_)) => {
                let late = core.now().after(Duration::from_millis(50));
                assert!(core.until(late, || None::<()>).await.is_none());
                client.send(b"late", false).expect("it takes them");
            }
            Ok(Received::End) | Err(_) => return,
        }
    }
}

fn read(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).expect("an answer");
    bytes
}

#[test]
fn a_panic_ends_one_connection_and_its_place_is_used_again() {
    let stage = Stage::start();
    let mut calm = stage.client(b"e1");
    assert_eq!(read(&mut calm, 2), b"e1");
    for _ in 0..3 {
        let mut wild = stage.client(b"p");
        assert_eq!(wild.read(&mut [0; 1]).map_err(|error| error.kind()).unwrap_or(0), 0);
        let mut next = stage.client(b"e2");
        assert_eq!(read(&mut next, 2), b"e2");
        calm.write_all(b"e3").expect("it is sent");
        assert_eq!(read(&mut calm, 2), b"e3", "another's panic is none of its business");
    }
}

#[test]
fn deadlines_come_and_ends_are_seen() {
    let stage = Stage::start();
    let mut clients: Vec<_> = (0..50).map(|_| stage.client(b"t")).collect();
    for client in &mut clients {
        assert_eq!(read(client, 4), b"late");
    }
    for mut client in clients {
        client.shutdown(Shutdown::Write).expect("an end");
        assert_eq!(client.read(&mut [0; 1]).expect("an end comes back"), 0);
    }
    let begun = std::time::Instant::now();
    while stage.alive.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "connections that ended live on");
        std::thread::yield_now();
    }
}

#[test]
fn who_waits_at_a_door_that_is_closed_is_still_let_in() {
    let stage = Stage::start();
    let mut waiting: Vec<_> = (0..20).map(|_| stage.client(b"e")).collect();
    stage.caller.stop_listening(1);
    for client in &mut waiting {
        assert_eq!(read(client, 1), b"e");
    }
    stage.caller.poll_all();
    waiting[0].write_all(b"e again").expect("it is sent");
    assert_eq!(read(&mut waiting[0], 7), b"e again");
}
