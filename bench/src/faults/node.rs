//! A node that does wrong from SIGUSR1 on: `bench fault-node`, a process of its own.
//!
//! It does not know who connects. Started by `scenario::failover`.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::{Fault, Voice};
use crate::process::{Step, doing};

/// How late a slow node greets.
const SLOW: Duration = Duration::from_secs(3);

/// One port of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    /// What is spoken there.
    pub(crate) voice: Voice,
    /// Where.
    pub(crate) address: SocketAddr,
}

impl Port {
    /// As [`std::fmt::Display`] writes it: `smtp=127.0.0.1:2525`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (voice, address) = text.split_once('=').ok_or("PROTOCOL=ADDRESS is wanted")?;
        let voice = <Voice as clap::ValueEnum>::from_str(voice, false)?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { voice, address })
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}={}", self.voice.name(), self.address)
    }
}

/// What all sessions look at.
struct Mood {
    fault: Fault,
    begun: Cell<bool>,
    /// Rung when the fault begins.
    bell: Notify,
}

impl Mood {
    /// The fault, once it has begun.
    fn now(&self) -> Option<Fault> {
        self.begun.get().then_some(self.fault)
    }
}

/// Serves until the process is ended; `fault` begins with SIGUSR1.
pub(crate) async fn run(ports: &[Port], fault: Fault) -> Step<()> {
    let mut sign = doing("SIGUSR1", signal(SignalKind::user_defined1()))?;
    let mood = Rc::new(Mood { fault, begun: Cell::new(false), bell: Notify::new() });
    let local = LocalSet::new();
    for port in ports {
        let listener = doing(port.address, TcpListener::bind(port.address).await)?;
        local.spawn_local(serve(listener, port.voice, mood.clone()));
    }
    local
        .run_until(async {
            loop {
                sign.recv().await;
                mood.begun.set(true);
                mood.bell.notify_waiters();
            }
        })
        .await
}

async fn serve(listener: TcpListener, voice: Voice, mood: Rc<Mood>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let mood = mood.clone();
                tokio::task::spawn_local(async move {
                    // Who goes away is no one's fault.
                    let _ = session(stream, voice, &mood).await;
                });
            }
            // Out of descriptors: those that close make room.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn session(mut stream: TcpStream, voice: Voice, mood: &Mood) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !voice.hello().is_empty() && mood.now() != Some(Fault::Closes) {
        read_line(&mut stream).await?;
    }
    match mood.now() {
        Some(Fault::Closes) => return Ok(()),
        Some(Fault::Refuses) => return stream.write_all(voice.refusal()).await,
        Some(Fault::Silent) => return until_left(&mut stream).await,
        Some(Fault::Slow) => tokio::time::sleep(SLOW).await,
        _ => {}
    }
    stream.write_all(voice.greeting()).await?;
    loop {
        let rung = mood.bell.notified();
        tokio::select! {
            line = read_line(&mut stream) => {
                let line = line?;
                if mood.now() == Some(Fault::Resets) {
                    return reset(stream);
                }
                stream.write_all(voice.answer()).await?;
                if is_farewell(&line) {
                    return Ok(());
                }
            }
            () = rung => if mood.fault == Fault::Resets { return reset(stream) },
        }
    }
}

/// The rest of a session that gets no answer.
async fn until_left(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 256];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Ends a connection with a reset.
#[expect(deprecated, reason = "a linger of zero does not block: the close is a reset")]
fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_linger(Some(Duration::ZERO))
}

/// Reads to the end of a line; clients here never say two at once.
async fn read_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(64);
    while line.last() != Some(&b'\n') {
        if line.len() > 512 || stream.read_buf(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(line)
}

/// Health checks say QUIT, or LOGOUT in IMAP.
fn is_farewell(line: &[u8]) -> bool {
    [b"QUIT\r\n".as_slice(), b"LOGOUT\r\n"].iter().any(|word| line.ends_with(word))
}
