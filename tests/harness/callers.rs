//! Clients that come again and again while a test does something to the nodes.
//! It does not know what that is; they say how many were served, who was not, and who waited.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ReadSome;
use crate::wait::{MOMENT, wait_until};

/// Nobody waits longer for the first word.
const PATIENCE: Duration = Duration::from_secs(20);

/// What callers say to the balancer and hear from a good node.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Said first; empty where the node greets first.
    pub hello: &'static [u8],
    /// What the node's first words begin with.
    pub greeting: &'static [u8],
}

/// SMTP, POP3, IMAP; and a client's hello that is answered.
pub const SMTP: Words = Words { hello: b"", greeting: b"220" };
/// POP3.
pub const POP3: Words = Words { hello: b"", greeting: b"+OK" };
/// IMAP.
pub const IMAP: Words = Words { hello: b"", greeting: b"* OK" };
/// A record of a TLS handshake with a byte for its inside.
pub const TLS: Words = Words { hello: b"\x16\x03\x01\x00\x01\x01", greeting: b"\x16\x03" };

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    served: AtomicU64,
    longest_micros: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// Threads that connect, hear the first words and leave, one connection after the other.
pub struct Callers {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

/// What they saw.
#[derive(Debug)]
pub struct Heard {
    /// How many were greeted.
    pub served: u64,
    /// What the others saw in place of a greeting.
    pub failures: Vec<String>,
    /// The longest wait for the first words since the last [`Callers::forget_waits`].
    pub longest: Duration,
}

impl Callers {
    /// `count` of them begin to call a port of 127.0.0.1.
    pub fn start(port: u16, words: Words, count: usize) -> Self {
        let counts = Arc::<Counts>::default();
        let call = |counts: Arc<Counts>| move || call_again_and_again(port, words, &counts);
        let threads = (0..count).map(|_| std::thread::spawn(call(counts.clone()))).collect();
        Self { counts, threads }
    }

    /// How many were greeted so far.
    pub fn served(&self) -> u64 {
        self.counts.served.load(Ordering::Relaxed)
    }

    /// Waits until so many more were greeted.
    pub fn wait_served(&self, more: u64) {
        let goal = self.served() + more;
        wait_until(&format!("{goal} callers were served"), MOMENT, || match self.served() {
            enough if enough >= goal => Ok(()),
            few => Err(format!("{few}; failures: {:?}", self.counts.failures())),
        });
    }

    /// Only later waits count as the longest.
    pub fn forget_waits(&self) {
        self.counts.longest_micros.store(0, Ordering::Relaxed);
    }

    /// No more calls; what was heard.
    pub fn stop(mut self) -> Heard {
        self.end();
        Heard {
            served: self.served(),
            failures: self.counts.failures(),
            longest: Duration::from_micros(self.counts.longest_micros.load(Ordering::Relaxed)),
        }
    }

    fn end(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.end();
    }
}

impl Counts {
    fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("no caller panics with it").clone()
    }
}

fn call_again_and_again(port: u16, words: Words, counts: &Counts) {
    while !counts.stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let outcome = call(port, words);
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        counts.longest_micros.fetch_max(took, Ordering::Relaxed);
        match outcome {
            Ok(_) => drop(counts.served.fetch_add(1, Ordering::Relaxed)),
            Err(seen) => counts.failures.lock().expect("no caller panics with it").push(seen),
        }
    }
}

/// One call: the connection, and the first words as text.
///
/// # Errors
/// What was seen in place of a greeting.
pub fn call(port: u16, words: Words) -> Result<(TcpStream, String), String> {
    let heard = first_words(port, words.hello).map_err(|error| error.to_string())?;
    let (stream, first) = heard;
    let text = String::from_utf8_lossy(&first).into_owned();
    if first.starts_with(words.greeting) { Ok((stream, text)) } else { Err(format!("{text:?}")) }
}

fn first_words(port: u16, hello: &[u8]) -> std::io::Result<(TcpStream, Vec<u8>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    let mut first = vec![0; 512];
    let length = stream.read_some(&mut first)?;
    first.truncate(length);
    Ok((stream, first))
}
