//! The messenger that goes in: does a node greet as its protocol has it? Then it says goodbye.
//! It does not know how many good or bad looks matter, or any client. `house` starts one per node.
//!
//! Each visit is a line in the node's log, so there are few: one in a while, and more only of a
//! node that is in doubt, until it is clear.

use std::sync::Arc;
use std::time::Duration;

use shared::proxy_header::{encode_v1, encode_v2_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backends::{Aspect, Backend, Backends, Service};
use crate::comeback::flipped;
use crate::greeting::{self, Greeting};
use crate::outcome::Cause;
use crate::probe::{current, say_that_it_stood_still, spread, stood_still};
use crate::settings::{Protocol, ProxyProtocol};
use crate::socket::Socket;
use crate::verdict::{cause_of_dial, cause_of_silence};

/// A node in doubt is visited this often.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// Where no visit can tell, a doubt lasts this long.
const DOUBT_TIME: Duration = Duration::from_secs(1);
/// After its greeting a node has this long to say goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// A greeting is no longer than this (RFC 5321 §4.5.3.1.5 allows 512 octets a line).
const GREETING_MAX: usize = 4096;

/// Visits `node` until it is no longer in the picture: once in a while, and at once when asked.
pub async fn watch(node: Arc<Backend>, backends: Arc<Backends>) {
    let Some(service) = current(&node, &backends) else { return };
    let mut next = Instant::now() + spread(service.settings.health.greeting_interval / 2);
    loop {
        let due = tokio::select! {
            () = sleep_until(next) => next,
            () = node.service_asked.rung() => Instant::now(),
        };
        let Some(service) = current(&node, &backends) else { return };
        let settings = &service.settings;
        if !settings.protocol.node_greets_first() {
            // Nobody but a client can tell whether it serves.
            if node.is_doubted(Aspect::Service) {
                sleep(DOUBT_TIME).await;
                node.trust(Aspect::Service);
            }
            next = Instant::now() + spread(settings.health.greeting_interval);
            continue;
        }
        let (late, allowed) = (due.elapsed(), settings.timeouts.greeting);
        let visited = timeout(allowed, visit(&node, &service)).await;
        let visited = visited.unwrap_or(Err(Cause::Silent));
        if visited.is_err() && stood_still(late, due.elapsed(), allowed) {
            say_that_it_stood_still(&node);
        } else {
            tell(&backends, &service, &node, visited);
        }
        let clear = node.is_up() && !node.is_doubted(Aspect::Service);
        let interval = settings.health.greeting_interval;
        next = Instant::now() + spread(if clear { interval } else { interval.min(DOUBT_INTERVAL) });
    }
}

fn tell(
    backends: &Arc<Backends>,
    service: &Service,
    node: &Arc<Backend>,
    visited: Result<Duration, Cause>,
) {
    match visited {
        Err(Cause::Local) => return,
        // Whether it can be reached is another one's question.
        Err(Cause::Refused | Cause::Timeout | Cause::Unreachable) => {
            return node.reach_asked.ring();
        }
        Err(cause) => node.remember_failure(format!("a health check: {}", cause.name())),
        Ok(took) => {
            node.greetings.took(took);
            // One that takes so much longer than others is in doubt as long as they are there.
            if took <= service.greeting_patience(node) {
                node.trust(Aspect::Service);
            }
        }
    }
    node.metrics.probed(visited.is_ok());
    if let Some(flip) = backends.hear(node, Aspect::Service, visited.is_ok()) {
        flipped(backends, node, flip, visited.err().map_or("", Cause::name));
    }
}

/// One visit: how long the greeting took.
pub(crate) async fn visit(node: &Backend, service: &Service) -> Result<Duration, Cause> {
    let socket = Socket::connect(node.address).await.map_err(|error| cause_of_dial(&error))?;
    let header = match service.settings.proxy_protocol {
        ProxyProtocol::None => Vec::new(),
        // Version 1 has no word for "this is the proxy itself" that every server takes.
        ProxyProtocol::V1 => {
            socket.local_address().map(|ours| encode_v1(ours, node.address)).unwrap_or_default()
        }
        ProxyProtocol::V2 => encode_v2_local(),
    };
    let began = Instant::now();
    socket.send(&header).map_err(|error| cause_of_silence(&error))?;
    let protocol = service.settings.protocol;
    let mut said = Vec::new();
    let meant = loop {
        match greeting::read(protocol, &said) {
            Greeting::Unfinished if said.len() < GREETING_MAX => hear(&socket, &mut said).await?,
            meant => break meant,
        }
    };
    let took = began.elapsed();
    // It was answered: what is said from here on is courtesy.
    let _ = timeout(GOODBYE_TIMEOUT, take_leave(&socket, protocol, meant, said)).await;
    match meant {
        Greeting::Welcome => Ok(took),
        Greeting::Busy | Greeting::Refused => Err(Cause::Busy),
        Greeting::Strange | Greeting::Unfinished => Err(Cause::Strange),
    }
}

/// Adds what comes next.
async fn hear(socket: &Socket, said: &mut Vec<u8>) -> Result<(), Cause> {
    let mut piece = [0; 512];
    loop {
        socket.readable().await;
        match socket.receive(&mut piece) {
            Ok(0) => return Err(Cause::Closed),
            Ok(length) => {
                said.extend_from_slice(&piece[..length]);
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(cause_of_silence(&error)),
        }
    }
}

/// Hears the greeting out, says goodbye, and lets the node be the one who closes.
async fn take_leave(
    socket: &Socket,
    protocol: Protocol,
    meant: Greeting,
    mut said: Vec<u8>,
) -> Result<(), Cause> {
    while !greeting::is_whole(protocol, &said) && said.len() < GREETING_MAX {
        hear(socket, &mut said).await?;
    }
    if meant == Greeting::Welcome {
        let goodbye: &[u8] = match protocol {
            // RFC 5321 §4.1.1.10, RFC 1939 §5.
            Protocol::Smtp | Protocol::Pop3 => b"QUIT\r\n",
            // RFC 9051 §6.1.3.
            Protocol::Imap => b"a LOGOUT\r\n",
            Protocol::Tls | Protocol::Tcp => b"",
        };
        socket.send(goodbye).map_err(|error| cause_of_silence(&error))?;
    }
    // Closing before the node does would reset what it still says, and fill its log.
    said.clear();
    while said.len() < GREETING_MAX {
        hear(socket, &mut said).await?;
    }
    Ok(())
}
