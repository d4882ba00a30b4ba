//! Do our own doors answer? Connects to one of them every moment, as a client would.
//! It does not know how a client is let in: whoever accepts one asks [`OwnCalls::answers`] and
//! resets a connection of ours, which is the answer. `commands::run` starts it, `api` reads it.
//!
//! That a connection comes up says nothing, the kernel does that alone: only a reset does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// From one call to the next. Doors share the loops behind them, so one at a time is called.
const INTERVAL: Duration = Duration::from_millis(100);
/// A door that does not answer is waited for in pieces of this length ...
const PIECE: Duration = Duration::from_millis(50);
/// ... and after so many it is held for dead. Pieces are counted and not time: if this whole
/// process was stopped for seconds, or its machine, that was one late piece.
const PIECES_MAX: u32 = 10;
/// A call that has not come through after so many was lost on its way: a full queue.
const PIECES_TO_CONNECT_MAX: u32 = 20;
/// Calls that were given up and may still lie in the kernel's queue; older ones are forgotten.
const CALLS_MAX: usize = 64;

/// The calls that are under way, by the address each comes from.
#[derive(Debug, Default)]
pub struct OwnCalls {
    /// How many there are: mostly none, and then a client costs one look at this number.
    count: AtomicUsize,
    from: Mutex<Vec<SocketAddr>>,
}

impl OwnCalls {
    /// Whether the client that was accepted from this address is ourselves. Then it is no client:
    /// reset its connection at once, and neither log nor count it.
    #[must_use]
    pub fn answers(&self, client: SocketAddr) -> bool {
        // An address is added before its connection begins, so whoever accepts it sees it.
        self.count.load(Ordering::Acquire) > 0 && self.remove(client)
    }

    fn add(&self, from: SocketAddr) {
        let mut calls = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CALLS_MAX {
            calls.remove(0);
        }
        calls.push(from);
        self.count.store(calls.len(), Ordering::Release);
    }

    fn remove(&self, from: SocketAddr) -> bool {
        let mut calls = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let found = calls.iter().position(|call| *call == from);
        if let Some(found) = found {
            calls.swap_remove(found);
        }
        self.count.store(calls.len(), Ordering::Release);
        found.is_some()
    }
}

/// What the calls have shown so far.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<String>>>);

impl Verdict {
    /// Why this balancer does not answer its clients, if it does not.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is(&self, problem: Option<String>) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*now, &problem) {
            (None, Some(problem)) => tracing::error!(problem, "this balancer does not answer"),
            (Some(_), None) => tracing::info!("this balancer answers again"),
            _ => {}
        }
        *now = problem;
    }
}

/// Calls one door after the other, for ever. `doors` are those that are open now.
pub async fn watch(doors: impl Fn() -> Vec<SocketAddr>, calls: Arc<OwnCalls>, verdict: Verdict) {
    for turn in 0_usize.. {
        tokio::time::sleep(INTERVAL).await;
        let open = doors();
        let Some(door) = open.get(turn % open.len().max(1)) else {
            verdict.is(None);
            continue;
        };
        let Some(target) = reachable(*door).await else { continue };
        while let Call::Lost = call(*door, target, &doors, &calls, &verdict).await {}
    }
}

/// How a call ended.
enum Call {
    /// The verdict has what came of it.
    Judged,
    /// It did not get through the kernel's queue; another one may.
    Lost,
}

/// Calls one door and waits for its answer, as long as it is open.
async fn call(
    door: SocketAddr,
    target: SocketAddr,
    doors: &impl Fn() -> Vec<SocketAddr>,
    calls: &OwnCalls,
    verdict: &Verdict,
) -> Call {
    let (socket, from) = match prepare(target) {
        Ok(prepared) => prepared,
        Err(error) => {
            // No descriptor or port for us: that says nothing of the door.
            tracing::debug!(%error, "no call to a door of our own");
            return Call::Judged;
        }
    };
    calls.add(from);
    let mut connecting = std::pin::pin!(socket.connect(target));
    let mut stream: Option<TcpStream> = None;
    for piece in 1_u32.. {
        let answered = async {
            if stream.is_none() {
                stream = Some(connecting.as_mut().await?);
            }
            match &stream {
                // No door says a word to us: whatever comes is a reset, or an orderly end.
                Some(stream) => stream.readable().await,
                None => Ok(()),
            }
        };
        match tokio::time::timeout(PIECE, answered).await {
            // The reset may be there before we look at the connection; where nobody listens it
            // would be a refusal.
            Ok(Err(error)) if error.kind() != io::ErrorKind::ConnectionReset => {
                calls.remove(from);
                // A door that was closed while it was called refuses; the next list lacks it.
                let problem = format!("the door {door} cannot be reached from within: {error}");
                verdict.is(doors().contains(&door).then_some(problem));
                return Call::Judged;
            }
            Ok(_) => {
                calls.remove(from);
                verdict.is(None);
                return Call::Judged;
            }
            Err(_) if !doors().contains(&door) => return Call::Judged,
            Err(_) if piece >= PIECES_MAX => {
                verdict.is(Some(format!("the door {door} does not let anybody in")));
            }
            Err(_) => {}
        }
        if stream.is_none() && piece >= PIECES_TO_CONNECT_MAX {
            return Call::Lost;
        }
    }
    Call::Judged
}

/// A socket with an address that is known before it connects.
fn prepare(target: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // When it is closed it leaves nothing behind that waits for a minute.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    let mut own = target;
    own.set_port(0);
    socket.bind(own)?;
    let from = socket.local_addr()?;
    Ok((socket, from))
}

/// Where a door can be called from within; `None` where its address is not on this machine now,
/// as that of a standby is: a call would reach the other one.
async fn reachable(door: SocketAddr) -> Option<SocketAddr> {
    let here = match door.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let mut target = door;
    target.set_ip(here);
    if here.is_loopback() {
        return Some(target);
    }
    // Who sends to an address of its own machine sends from it. Nothing is sent here.
    let any: IpAddr =
        if door.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(target).await.ok()?;
    let from = socket.local_addr().ok()?;
    (from.ip() == here).then_some(target)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A door that answers calls of our own as long as it is told to.
    async fn door() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    async fn wait_for(verdict: &Verdict, wanted: Option<&str>) {
        let seen = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let problem = verdict.problem();
                match (problem.as_deref(), wanted) {
                    (None, None) => return,
                    (Some(seen), Some(wanted)) if seen.contains(wanted) => return,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        let ended = seen.await;
        assert!(ended.is_ok(), "wanted {wanted:?}, seen {:?}", verdict.problem());
    }

    #[tokio::test]
    async fn a_door_that_stops_answering_is_seen_and_its_return_too() {
        let (listener, address) = door().await;
        let (calls, verdict) = (Arc::new(OwnCalls::default()), Verdict::default());
        tokio::spawn(watch(move || vec![address], calls.clone(), verdict.clone()));
        for _ in 0..3 {
            let (stream, peer) = listener.accept().await.expect("a call");
            assert!(calls.answers(peer), "{peer} is ourselves");
            assert!(!calls.answers(peer), "once");
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
            drop(stream);
            assert_eq!(verdict.problem(), None);
        }
        assert_eq!(verdict.problem(), None);
        // Nobody accepts any more, though the kernel does.
        wait_for(&verdict, Some("does not let anybody in")).await;
        let (stream, peer) = listener.accept().await.expect("the same call");
        assert!(calls.answers(peer), "however late");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(stream);
        wait_for(&verdict, None).await;
    }

    #[tokio::test]
    async fn a_door_that_is_gone_is_no_problem_unless_it_should_be_there() {
        let (listener, address) = door().await;
        drop(listener);
        let verdict = Verdict::default();
        let open = Arc::new(Mutex::new(vec![address]));
        let doors = open.clone();
        let doors = move || doors.lock().expect("no panic").clone();
        tokio::spawn(watch(doors, Arc::default(), verdict.clone()));
        wait_for(&verdict, Some("cannot be reached")).await;
        open.lock().expect("no panic").clear();
        wait_for(&verdict, None).await;
    }

    #[tokio::test]
    async fn only_what_is_here_is_called() {
        let at = |text: &str| text.parse().expect("an address");
        assert_eq!(reachable(at("0.0.0.0:25")).await, Some(at("127.0.0.1:25")));
        assert_eq!(reachable(at("[::]:25")).await, Some(at("[::1]:25")));
        assert_eq!(reachable(at("127.0.0.5:25")).await, Some(at("127.0.0.5:25")));
        // Kept for documents (RFC 5737): on no machine.
        assert_eq!(reachable(at("192.0.2.25:25")).await, None);
    }

    #[test]
    fn calls_that_never_come_do_not_pile_up() {
        let calls = OwnCalls::default();
        let from = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (1..1000).for_each(|port| calls.add(from(port)));
        assert_eq!(calls.count.load(Ordering::Relaxed), CALLS_MAX);
        assert!(calls.answers(from(999)) && !calls.answers(from(1)));
    }
}
