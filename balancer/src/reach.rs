//! From a client that was let in to a node that has begun to serve it.
//! It does not know how a node is chosen, or what happens after its first word. `connection`
//! calls it, boxed: nothing here lives longer than the search.
//!
//! Until a node's first word has reached the client, another node can be tried for the same client
//! without its noticing. So a node that is refused, resets, closes, says that it is busy or stays
//! silent for longer than is usual with it costs the client a moment, not its connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::proxy_header::{encode_v1, encode_v2};

use crate::account::Account;
use crate::backends::{Aspect, Backend, Lease, Service, Tried};
use crate::connection::{Client, Front};
use crate::dial::dial;
use crate::eventloop::{Moment, Socket};
use crate::flight::Flight;
use crate::outcome::{Cause, End};
use crate::relay::Relay;
use crate::settings::{Protocol, ProxyProtocol};
use crate::verdict::{cause_of_dial, cause_of_silence, report_flip, suspect_proxy_header};

/// The last node there is gets at least this long to be reached: a lost SYN is sent again after
/// one second.
const LAST_CONNECT_MIN: Duration = Duration::from_secs(3);

/// Why an attempt came to nothing.
pub(crate) enum Miss {
    /// The node could not be used, which has been noted: another one may be.
    Node,
    /// The client is gone: nobody needs a node any more.
    ClientLeft,
    /// The client has said nothing for as long as it may be silent.
    ClientSilent,
}

/// The search for one client's node.
pub(crate) struct Search<'c, 's> {
    pub(crate) client: &'c Client,
    front: &'s Front,
    account: &'s mut Account,
    /// Not tried again.
    pub(crate) tried: Tried,
    /// Of those the ones that were merely silent: waited for if nobody else is left.
    silent: Vec<Arc<Backend>>,
    /// Nobody else is left.
    last_round: bool,
    /// What the client has said, where it speaks first.
    flight: Flight,
}

/// Tries one node after the other until one has begun to serve.
pub(crate) async fn reach_a_node<'c>(
    client: &'c Client,
    front: &Front,
    account: &mut Account,
) -> Result<(Lease, Relay<'c>), End> {
    let first = account.service().clone();
    let (tried, silent, flight) = (Tried::default(), Vec::new(), Flight::default());
    let mut search = Search { client, front, account, tried, silent, last_round: false, flight };
    loop {
        // The newest picture each time: a node may have gone down while another was tried.
        let now = front.backends.service(&first.settings.name);
        let now = now.unwrap_or_else(|| first.clone());
        let Some(lease) = now.pick(&search.tried) else {
            if search.begin_last_round() {
                continue;
            }
            return Err(if now.has_full(&search.tried) { End::RefusedNodes } else { End::NoNode });
        };
        if search.tried.count() == 0 && now.is_overfull() {
            return Err(End::RefusedService);
        }
        if search.tried.count() > 0 || search.last_round {
            now.metrics.retried();
        }
        match search.attempt(&now, lease).await {
            Ok(found) => return Ok(found),
            Err(Miss::ClientLeft) => return Err(End::ClientLeft),
            Err(Miss::ClientSilent) => return Err(End::Idle),
            Err(Miss::Node) => {}
        }
    }
}

impl<'c> Search<'c, '_> {
    /// One node: reach it, tell it who the client is, wait until it has begun.
    async fn attempt(&mut self, now: &Service, lease: Lease) -> Result<(Lease, Relay<'c>), Miss> {
        let (lease, socket) = self.dial(now, lease).await?;
        if let Err(cause) = introduce(self.client, &socket, now.settings.proxy_protocol) {
            return Err(self.give_up(&lease, cause));
        }
        let mut relay = Relay::new(&self.client.socket, socket);
        match now.settings.protocol {
            Protocol::Smtp | Protocol::Pop3 | Protocol::Imap => {
                self.hear_greeting(now, &lease, &mut relay).await?;
            }
            Protocol::Tls => self.hear_answer(now, &lease, &mut relay).await?,
            Protocol::Tcp => {}
        }
        Ok((lease, relay))
    }

    /// Reaches this node, or another one that answers while this one does not.
    async fn dial(&mut self, now: &Service, lease: Lease) -> Result<(Lease, Socket), Miss> {
        let (is_last, patience) = (self.is_last(now), now.dial_patience(lease.backend()));
        let patience = if is_last { connect_max(now) } else { patience };
        let dial = self.begin(lease)?;
        match self.wait(patience, || dial.socket.connected()).await? {
            Some(Ok(())) => Ok(self.reached(dial)),
            Some(Err(error)) => Err(self.give_up(&dial.lease, cause_of_dial(&error))),
            None if is_last => Err(self.give_up(&dial.lease, Cause::Timeout)),
            None => Box::pin(self.race(now, dial)).await,
        }
    }

    pub(crate) fn begin(&mut self, mut lease: Lease) -> Result<Dial, Miss> {
        self.account.tries(lease.backend());
        let reuse = self.account.service().settings.reuse_sockets;
        match dial(&mut lease, self.client.socket.core(), reuse) {
            Ok(socket) => Ok(Dial { lease, socket, began: Instant::now() }),
            Err(error) => Err(self.give_up(&lease, cause_of_dial(&error))),
        }
    }

    pub(crate) fn reached(&mut self, dial: Dial) -> (Lease, Socket) {
        let (node, took) = (dial.lease.backend(), dial.began.elapsed());
        node.metrics.connected(took);
        node.dials.took(took);
        self.account.dialed(node, took);
        (dial.lease, dial.socket)
    }

    /// Waits for the node's greeting and hands it to the client.
    async fn hear_greeting(
        &mut self,
        now: &Service,
        lease: &Lease,
        relay: &mut Relay<'c>,
    ) -> Result<(), Miss> {
        let Allowance { usual, patience, judged } = self.allowance(now, lease);
        let began = Instant::now();
        let heard = self.wait(patience, || relay.first_word(judged)).await?;
        self.note(lease, began, usual, heard)
    }

    /// Where the client speaks first: hands on what it says, and keeps it until the node answers.
    async fn hear_answer(
        &mut self,
        now: &Service,
        lease: &Lease,
        relay: &mut Relay<'c>,
    ) -> Result<(), Miss> {
        let Allowance { usual, patience, judged } = self.allowance(now, lease);
        let mut flight = std::mem::take(&mut self.flight);
        flight.begin_anew();
        let look = |flight: &mut Flight, relay: &mut Relay<'c>| {
            relay.first_word(judged).or_else(|| relay.hand_on(flight).err().map(Err))
        };
        // A node owes no answer to half a hello.
        let whole = self.wait(now.settings.timeouts.idle, || {
            let heard = look(&mut flight, relay);
            (heard.is_some() || flight.is_due()).then_some(heard)
        });
        let heard = whole.await?;
        let began = Instant::now();
        let heard = match heard {
            None => return Err(Miss::ClientSilent),
            Some(None) if flight.is_too_large() => {
                relay.adopt(flight);
                return Ok(());
            }
            Some(None) if flight.is_empty() => return Err(Miss::ClientLeft),
            Some(None) => {
                let look = || {
                    let heard = look(&mut flight, relay);
                    heard.or_else(|| flight.is_too_large().then_some(Ok(())))
                };
                self.wait(patience, look).await?
            }
            Some(heard) => heard,
        };
        if let Some(Ok(())) = heard {
            relay.adopt(flight);
        } else {
            self.flight = flight;
        }
        self.note(lease, began, usual, heard)
    }

    /// Notes what became of the wait for a first word.
    fn note(
        &mut self,
        lease: &Lease,
        began: Instant,
        usual: Duration,
        heard: Option<Result<(), Cause>>,
    ) -> Result<(), Miss> {
        let node = lease.backend();
        match heard {
            Some(Ok(())) => {
                let took = began.elapsed();
                node.metrics.greeted(took);
                node.greetings.took(took);
                self.account.greeted(took);
                if took <= usual {
                    node.trust(Aspect::Service);
                }
                Ok(())
            }
            Some(Err(cause)) => Err(self.give_up(lease, cause)),
            None => Err(self.give_up(lease, Cause::Silent)),
        }
    }

    /// Whether nobody else can be tried.
    /// What this node is allowed before its first word.
    fn allowance(&self, now: &Service, lease: &Lease) -> Allowance {
        let timeouts = &now.settings.timeouts;
        let usual = now.greeting_patience(lease.backend());
        if self.is_last(now) {
            let patience = timeouts.last_greeting.max(timeouts.greeting);
            return Allowance { usual, patience, judged: None };
        }
        Allowance { usual, patience: usual, judged: Some(now.settings.protocol) }
    }

    fn is_last(&self, now: &Service) -> bool {
        now.untried(&self.tried) <= 1
    }

    /// Those that were silent get a second chance, once, when nobody else can be had.
    fn begin_last_round(&mut self) -> bool {
        if self.last_round || self.silent.is_empty() {
            return false;
        }
        self.last_round = true;
        for node in self.silent.drain(..) {
            self.tried.forget(&node);
        }
        true
    }

    /// Notes that a node could not be used for this client.
    pub(crate) fn give_up(&mut self, lease: &Lease, cause: Cause) -> Miss {
        blame(self.front, lease.backend(), cause);
        self.tried.add(lease.backend());
        if cause == Cause::Silent {
            self.silent.push(lease.backend().clone());
        }
        Miss::Node
    }

    /// It may be used if the winner fails after all, but nobody else shall wait for it first.
    pub(crate) fn overtaken(&mut self, loser: &Dial) {
        self.tried.forget(loser.lease.backend());
        blame(self.front, loser.lease.backend(), Cause::Overtaken);
    }

    /// Waits until `look` finds what it looks for; `None`: it took too long.
    pub(crate) async fn wait<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>, Miss> {
        let (client, core) = (&self.client.socket, self.client.socket.core());
        let greets = self.account.service().settings.protocol.node_greets_first();
        let deadline: Moment = core.now().after(patience);
        let found = core.until(deadline, || match look() {
            Some(found) => Some(Ok(found)),
            None if client.has_left(greets) => Some(Err(Miss::ClientLeft)),
            None => None,
        });
        found.await.transpose()
    }
}

/// What a node is allowed before its first word.
struct Allowance {
    /// As long as is usual with it.
    usual: Duration,
    /// So long it is waited for.
    patience: Duration,
    /// As what its word is judged; whatever the last one says is what the client is told.
    judged: Option<Protocol>,
}

/// A node that is being dialed.
pub(crate) struct Dial {
    pub(crate) lease: Lease,
    pub(crate) socket: Socket,
    began: Instant,
}

/// How long those that are left may take when nobody else is.
pub(crate) fn connect_max(now: &Service) -> Duration {
    now.settings.timeouts.connect.max(LAST_CONNECT_MIN)
}

/// The PROXY header, in one write: some servers read it with one call.
fn introduce(client: &Client, node: &Socket, version: ProxyProtocol) -> Result<(), Cause> {
    let encode = match version {
        ProxyProtocol::None => return Ok(()),
        ProxyProtocol::V1 => encode_v1,
        ProxyProtocol::V2 => encode_v2,
    };
    let came_to = client.socket.local_address().map_err(|_| Cause::Local)?;
    let header = encode(client.address(), came_to);
    match node.send(&header, false) {
        Ok(sent) if sent == header.len() => Ok(()),
        Ok(_) => Err(Cause::Local),
        Err(error) => Err(cause_of_silence(&error)),
    }
}

/// Counts a miss, and doubts the node where that says something of it: it is passed over from the
/// next pick on, until a look has cleared it.
fn blame(front: &Front, node: &Arc<Backend>, cause: Cause) {
    node.metrics.failed(cause);
    if cause == Cause::Local {
        tracing::debug!(node = %node.name, "no way out: no port, descriptor or memory is left");
        return;
    }
    node.remember_failure(format!("a client's connection: {}", cause.name()));
    match cause {
        Cause::Refused | Cause::Unreachable | Cause::Timeout => {
            node.doubt(Aspect::Reach);
            if let Some(flip) = front.backends.hear(node, Aspect::Reach, false) {
                report_flip(&front.backends, node, flip, cause.name());
            }
        }
        Cause::Overtaken => node.doubt(Aspect::Reach),
        Cause::Reset | Cause::Closed | Cause::Busy | Cause::Silent => {
            if node.strike() && matches!(cause, Cause::Reset | Cause::Closed) {
                suspect_proxy_header(front.backends.service(&node.service).as_deref(), node);
            }
        }
        // Said by an interview only.
        Cause::Strange | Cause::Local => {}
    }
}
