//! A node that does with each connection what the test says, in threads of the test.
//! It does not know any protocol beyond the words it is given; tests of single faults start it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::ReadSome;
use crate::ports::Port;

/// What a node does with one connection.
pub type Serve = dyn Fn(TcpStream) + Send + Sync;

/// Listens on a port of its own, from one start to the next.
pub struct FakeNode {
    port: Port,
    serve: Arc<Serve>,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    open: Arc<Open>,
    accepting: JoinHandle<()>,
}

/// A second handle on each connection that is being served, to end them all.
#[derive(Default)]
struct Open(Mutex<BTreeMap<u64, TcpStream>>);

impl Open {
    fn handles(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeNode {
    /// A node that runs; `serve` has a thread for each connection.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let mut node = Self::stopped(serve);
        node.run();
        node
    }

    /// A node that does not run yet.
    pub fn stopped(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self { port: Port::claim(), serve: Arc::new(serve), running: None }
    }

    /// Greets with these words, then gives back what it is given until the client ends.
    pub fn greeter(greeting: &'static str) -> Self {
        Self::start(echo_after(greeting))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Starts (again).
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn run(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let address = (Ipv4Addr::LOCALHOST, self.port());
        let listener = TcpListener::bind(address).expect("its own port is free");
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::<Open>::default());
        let (serve, stopping, held) = (self.serve.clone(), stop.clone(), open.clone());
        let accepting = std::thread::spawn(move || accept(&listener, &serve, &stopping, &held));
        self.running = Some(Running { stop, open, accepting });
    }

    /// As SIGKILL does it: nobody listens any more, and all connections are gone.
    pub fn kill(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.stop.store(true, Ordering::SeqCst);
        // A last caller wakes the thread that accepts; where a test has its packets dropped, that
        // thread is left to itself.
        let address = (Ipv4Addr::LOCALHOST, self.port()).into();
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            let _ = running.accepting.join();
        }
        for handle in running.open.handles().values() {
            let _ = handle.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(listener: &TcpListener, serve: &Arc<Serve>, stop: &AtomicBool, open: &Arc<Open>) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(handle) = stream.try_clone() else { continue };
        open.handles().insert(number, handle);
        let (serve, open) = (serve.clone(), open.clone());
        // Thousands at once need next to no stack each.
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        let served = move || {
            serve(stream);
            open.handles().remove(&number);
        };
        thread.spawn(served).expect("a thread more");
    }
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
}

/// What [`FakeNode::greeter`] does.
pub fn echo_after(greeting: &'static str) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        if stream.write_all(greeting.as_bytes()).is_err() {
            return;
        }
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read_some(&mut piece) {
            if stream.write_all(&piece[..length]).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}
