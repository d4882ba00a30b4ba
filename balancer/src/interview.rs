//! The messenger that goes in: does a node greet as its protocol has it, or answer the hello of a
//! TLS client? Then it says goodbye.
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
use crate::hello::{CLOSE_NOTIFY, client_hello};
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
        if settings.protocol == Protocol::Tcp {
            // Nobody but a client can tell whether it serves.
            if node.is_doubted(Aspect::Service) {
                sleep(DOUBT_TIME).await;
                node.trust(Aspect::Service);
            }
            next = Instant::now() + spread(settings.health.greeting_interval);
            continue;
        }
        let (late, allowed) = (due.elapsed(), settings.timeouts.greeting);
        let heard = timeout(allowed, call_on(&node, &service)).await;
        let heard = heard.unwrap_or(Err(Cause::Silent));
        let visited = heard.as_ref().map_err(|cause| *cause);
        let visited = visited.and_then(|heard| heard.judged(settings.protocol));
        if visited.is_err() && stood_still(late, due.elapsed(), allowed) {
            say_that_it_stood_still(&node);
        } else {
            tell(&backends, &service, &node, visited);
        }
        if let Ok(heard) = heard {
            // It was answered, and judged: what is said from here on is courtesy.
            let _ = timeout(GOODBYE_TIMEOUT, take_leave(heard, settings.protocol)).await;
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

/// What a node has said to a visitor, who is still there.
struct Heard {
    socket: Socket,
    said: Vec<u8>,
    meant: Greeting,
    took: Duration,
}

impl Heard {
    /// How long the greeting took, if it was a good one.
    fn judged(&self, protocol: Protocol) -> Result<Duration, Cause> {
        match self.meant {
            Greeting::Welcome => Ok(self.took),
            // An alert: it speaks TLS, and does not like this very hello.
            Greeting::Refused if protocol == Protocol::Tls => Ok(self.took),
            Greeting::Busy | Greeting::Refused => Err(Cause::Busy),
            Greeting::Strange | Greeting::Unfinished => Err(Cause::Strange),
        }
    }
}

/// A whole visit, goodbye and all: how long the greeting took.
pub(crate) async fn visit(node: &Backend, service: &Service) -> Result<Duration, Cause> {
    let protocol = service.settings.protocol;
    let heard = call_on(node, service).await?;
    let judged = heard.judged(protocol);
    let _ = timeout(GOODBYE_TIMEOUT, take_leave(heard, protocol)).await;
    judged
}

/// A visit as far as the node's first words.
async fn call_on(node: &Backend, service: &Service) -> Result<Heard, Cause> {
    let socket = Socket::connect(node.address).await.map_err(|error| cause_of_dial(&error))?;
    let header = match service.settings.proxy_protocol {
        ProxyProtocol::None => Vec::new(),
        // Version 1 has no word for "this is the proxy itself" that every server takes.
        ProxyProtocol::V1 => {
            socket.local_address().map(|ours| encode_v1(ours, node.address)).unwrap_or_default()
        }
        ProxyProtocol::V2 => encode_v2_local(),
    };
    let protocol = service.settings.protocol;
    let hello = if protocol == Protocol::Tls { client_hello() } else { Vec::new() };
    let began = Instant::now();
    socket.send(&[header, hello].concat()).map_err(|error| cause_of_silence(&error))?;
    let mut said = Vec::new();
    let meant = loop {
        match greeting::read(protocol, &said) {
            Greeting::Unfinished if said.len() < GREETING_MAX => hear(&socket, &mut said).await?,
            meant => break meant,
        }
    };
    Ok(Heard { took: began.elapsed(), socket, said, meant })
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
async fn take_leave(heard: Heard, protocol: Protocol) -> Result<(), Cause> {
    let Heard { socket, mut said, meant, .. } = heard;
    while !greeting::is_whole(protocol, &said) && said.len() < GREETING_MAX {
        hear(&socket, &mut said).await?;
    }
    if meant == Greeting::Welcome {
        let goodbye: &[u8] = match protocol {
            // RFC 5321 §4.1.1.10, RFC 1939 §5.
            Protocol::Smtp | Protocol::Pop3 => b"QUIT\r\n",
            // RFC 9051 §6.1.3.
            Protocol::Imap => b"a LOGOUT\r\n",
            Protocol::Tls => CLOSE_NOTIFY,
            Protocol::Tcp => b"",
        };
        socket.send(goodbye).map_err(|error| cause_of_silence(&error))?;
    }
    // Closing before the node does would reset what it still says, and fill its log.
    said.clear();
    while said.len() < GREETING_MAX {
        hear(&socket, &mut said).await?;
    }
    Ok(())
}
