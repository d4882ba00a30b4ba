//! Bytes both ways between a client and a node: exact, no faster than either reads, an end passed
//! on as an end and a reset as a reset.
//! It does not know which node it is or what is spoken. `connection` calls it.
//!
//! A direction is copied through the loop's one buffer; once it streams it is spliced through a
//! pipe, without being copied, until it trickles again. What an idle connection holds is its two
//! [`Way`]s: no buffer, no pipe.

mod opening;
mod side;

use std::io;
use std::time::Duration;

use self::side::{Loss, Side};
use crate::account::Carried;
use crate::backends::Backend;
use crate::eventloop::{Core, Moment, Pipe, Received, Socket};
use crate::outcome::End;
use crate::settings::Timeouts;

/// After so many pieces in one direction the others have their turn.
const PIECES_MAX: usize = 16;
/// A piece of at least this size is part of a stream. Below, splicing costs more than copying.
const STREAM_BYTES: usize = 16 * 1024;
/// So many of them in a row, and the direction is spliced.
const STREAK: u8 = 2;
/// Once one side has ended, silence of the other is borne no longer than this: a client that
/// vanished in between would keep its place for as long as the whole idle time.
const HALF_CLOSED_IDLE_MAX: Duration = Duration::from_secs(300);
/// Connections that live longer are watched: their node may vanish without a word.
const SHORT: Duration = Duration::from_secs(2);
/// Who carried nothing for so long is disturbed least when its node wants fewer connections.
const QUIET: Duration = Duration::from_millis(500);
/// How long a reset waits for what was sent before it to arrive, and how often it looks.
const DELIVERY_MAX: Duration = Duration::from_secs(5);
const DELIVERY_LOOK: Duration = Duration::from_millis(5);

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Bytes the receiving socket has taken.
    bytes: u64,
    /// What was received and did not fit into the other socket.
    #[expect(
        clippy::box_collection,
        reason = "an idle connection has none: a word in place of two"
    )]
    rest: Option<Box<Vec<u8>>>,
    /// What is being spliced through.
    pipe: Option<Box<Pipe>>,
    /// The lower half of `bytes` when it was last counted.
    counted: u32,
    streak: u8,
    /// The sender's end was read; it is passed on when all before it is sent.
    ended: bool,
    /// The end was passed on, or the direction was given up.
    closed: bool,
}

impl Way {
    /// Bytes since the last time this was asked: a turn carries less than 4 GiB.
    #[allow(clippy::cast_possible_truncation, reason = "the difference is what counts")]
    fn fresh(&mut self) -> u64 {
        let now = self.bytes as u32;
        u64::from(now.wrapping_sub(std::mem::replace(&mut self.counted, now)))
    }
}

/// How far one direction got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Nothing more to do before the next event.
    Waiting,
    /// There is more; it is others' turn.
    Again,
    /// The sender's end was passed on.
    Ended,
    /// The sender is gone.
    SenderGone(Loss),
    /// The receiver is gone.
    ReceiverGone(Loss),
}

/// A client and a node, and what is on its way between them.
#[derive(Debug)]
pub(crate) struct Relay<'c> {
    client: &'c Socket,
    node: Socket,
    /// From the client to the node.
    up: Way,
    /// From the node to the client.
    down: Way,
    first_end: Option<Side>,
    gone: Option<(Side, Loss)>,
}

/// What a connection keeps of the past.
struct Pace {
    last_byte: Moment,
    /// When the node's socket is to be watched; a short connection is over before: it saves the
    /// calls.
    watch_at: Moment,
}

impl Pace {
    fn new(now: Moment) -> Self {
        Self { last_byte: now, watch_at: now.after(SHORT) }
    }
}

/// What is next for both directions.
enum Turn {
    Wait,
    Again,
    Over(End),
}

impl<'c> Relay<'c> {
    /// Nothing has been carried.
    pub(crate) fn new(client: &'c Socket, node: Socket) -> Self {
        let (up, down) = (Way::default(), Way::default());
        Self { client, node, up, down, first_end: None, gone: None }
    }

    /// What was carried so far.
    pub(crate) fn carried(&self) -> Carried {
        Carried { to_node: self.up.bytes, to_client: self.down.bytes }
    }

    /// Whether the client has said its last word: how the node ends then says little of it.
    pub(crate) fn client_has_ended(&self) -> bool {
        self.first_end == Some(Side::Client)
    }

    /// The loop it lives in.
    fn core(&self) -> &'c Core {
        self.client.core()
    }

    /// Carries bytes until both sides have ended, one is gone, nothing comes for `idle`, or the
    /// node is to be left.
    ///
    /// What stands over the one `await` is all that an idle connection holds: no `async fn`, which
    /// would hold its arguments twice, and no local of a turn.
    #[allow(clippy::manual_async_fn, reason = "as `async` it is larger")]
    pub(crate) fn both_ways(
        &mut self,
        timeouts: &Timeouts,
        node: &Backend,
    ) -> impl Future<Output = End> {
        async move {
            let mut pace = Pace::new(self.core().now());
            loop {
                if let Some(end) = self.go_on(&mut pace, timeouts, node) {
                    return end;
                }
                self.core().event().await;
            }
        }
    }

    /// One turn of both directions and a look at the clock; says whether that was the end.
    fn go_on(&mut self, pace: &mut Pace, timeouts: &Timeouts, node: &Backend) -> Option<End> {
        let (turn, core) = (self.turn(), self.core());
        let fresh = Carried { to_node: self.up.fresh(), to_client: self.down.fresh() };
        if fresh != Carried::default() {
            node.metrics.carried(fresh);
            pace.last_byte = core.now();
        }
        match turn {
            Turn::Over(end) => return Some(end),
            Turn::Again => core.again(),
            Turn::Wait => {}
        }
        if node.sends_away(|| core.now() >= pace.last_byte.after(QUIET)) {
            return Some(End::Drain);
        }
        let deadline = self.deadline(pace.last_byte, timeouts.idle);
        if core.now() >= deadline {
            return Some(End::Idle);
        }
        if core.now() >= pace.watch_at {
            pace.watch_at = Moment::NEVER;
            // Without it a node that vanishes is found out by the idle deadline only.
            let _ = self.node.watch_peer(timeouts.vanished);
        }
        core.set_deadline(deadline.min(pace.watch_at));
        None
    }

    fn deadline(&self, last_byte: Moment, idle: Duration) -> Moment {
        let half_closed = self.first_end.is_some();
        last_byte.after(if half_closed { idle.min(HALF_CLOSED_IDLE_MAX) } else { idle })
    }

    /// Carries what can be carried now, in both directions.
    fn turn(&mut self) -> Turn {
        let last = self.up.closed;
        let down = pump(self.core(), &self.node, self.client, &mut self.down, last);
        self.settle(down, Side::Node, Side::Client);
        let last = self.down.closed;
        let up = pump(self.core(), self.client, &self.node, &mut self.up, last);
        self.settle(up, Side::Client, Side::Node);
        if self.up.closed && self.down.closed && self.gone.is_none() {
            return Turn::Over(self.first_end.unwrap_or(Side::Client).closed());
        }
        // Nothing is read any more from a side that has ended: only its flag tells that it broke.
        for (side, socket, from) in
            [(Side::Client, self.client, &self.up), (Side::Node, &self.node, &self.down)]
        {
            if self.gone.is_none() && from.closed && socket.is_broken() {
                self.gone = Some((side, Loss::of(&socket.take_error())));
            }
        }
        if let Some((gone, loss)) = self.gone {
            // What the one who is gone had said before is still delivered, while the other reads.
            let from = if gone == Side::Node { &self.down } else { &self.up };
            if from.closed {
                return Turn::Over(gone.lost(loss));
            }
        }
        if down == Flow::Again || up == Flow::Again { Turn::Again } else { Turn::Wait }
    }

    fn settle(&mut self, flow: Flow, sender: Side, receiver: Side) {
        match flow {
            Flow::Waiting | Flow::Again => {}
            // A reset that was met while sending shows as a plain end here: it is none.
            Flow::Ended if self.gone.is_some_and(|(gone, _)| gone == sender) => {}
            Flow::Ended => self.first_end = self.first_end.or(Some(sender)),
            Flow::SenderGone(loss) => self.gone = self.gone.or(Some((sender, loss))),
            Flow::ReceiverGone(loss) => self.give_up(receiver, loss),
        }
    }

    /// Nothing can be sent to this side any more.
    fn give_up(&mut self, side: Side, loss: Loss) {
        self.gone = self.gone.or(Some((side, loss)));
        let core = self.core();
        let to = if side == Side::Node { &mut self.up } else { &mut self.down };
        core.give_back(to.pipe.take());
        to.rest = None;
        to.closed = true;
    }

    /// Ends the node's side: plainly after an orderly end, with a reset after any other. Says
    /// whether the client's is to be reset too. `reuse`: its socket may serve another client.
    pub(crate) async fn finish(self, end: End, reuse: bool) -> bool {
        let Self { client, node, up, down, first_end, gone } = self;
        let core = client.core();
        core.give_back(up.pipe);
        core.give_back(down.pipe);
        if matches!(end, End::ClientClosed | End::NodeClosed) {
            if reuse {
                // The last end is passed on by the close, which there is none of now.
                node.keep(first_end == Some(Side::Node));
            }
            return false;
        }
        // A reset throws away what the other side has not received yet: that has time to arrive.
        let late = core.now().after(DELIVERY_MAX);
        let gone = gone.map(|(side, _)| side);
        let left = |socket: &Socket, side| gone != Some(side) && socket.unacknowledged() > 0;
        while core.now() < late && (left(client, Side::Client) || left(&node, Side::Node)) {
            core.until(core.now().after(DELIVERY_LOOK), || None::<()>).await;
        }
        node.reset();
        true
    }
}

/// Carries what there is in one direction, without waiting. Nothing new is taken while something
/// is unsent: the sender is stalled by its own socket then. `last`: the other direction has ended
/// already, so both sockets are about to be closed, and that passes the end on by itself.
fn pump(core: &Core, from: &Socket, to: &Socket, way: &mut Way, last: bool) -> Flow {
    if way.closed {
        return Flow::Waiting;
    }
    for _ in 0..PIECES_MAX {
        match flush(to, way) {
            Ok(true) => {}
            Ok(false) => return Flow::Waiting,
            Err(error) => return Flow::ReceiverGone(Loss::of(&error)),
        }
        if way.ended {
            core.give_back(way.pipe.take());
            way.closed = true;
            return match if last { Ok(()) } else { to.end() } {
                Ok(()) => Flow::Ended,
                Err(error) => Flow::ReceiverGone(Loss::of(&error)),
            };
        }
        let took = match from.is_readable() {
            false => Ok(false),
            true if way.streak >= STREAK => splice(core, from, way),
            true => copy(core, from, to, way),
        };
        match took {
            Ok(true) => {}
            Ok(false) => {
                core.give_back(way.pipe.take());
                return Flow::Waiting;
            }
            Err(gone) => {
                way.closed |= matches!(gone, Flow::SenderGone(_));
                return gone;
            }
        }
    }
    Flow::Again
}

/// Sends what was taken before and did not fit; says whether nothing of it is left.
fn flush(to: &Socket, way: &mut Way) -> io::Result<bool> {
    if let Some(mut rest) = way.rest.take() {
        let sent = if to.is_writable() { to.send(&rest, false)? } else { 0 };
        way.bytes += sent as u64;
        if sent < rest.len() {
            rest.drain(..sent);
            way.rest = Some(rest);
            return Ok(false);
        }
    }
    if let Some(pipe) = &mut way.pipe {
        while !pipe.is_empty() {
            let sent = if to.is_writable() { to.splice_from(pipe)? } else { 0 };
            way.bytes += sent as u64;
            if sent == 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Takes a piece through the loop's buffer; says whether there was one, or an end.
fn copy(core: &Core, from: &Socket, to: &Socket, way: &mut Way) -> Result<bool, Flow> {
    core.with_scratch(|scratch| {
        let received = from.receive(scratch).map_err(|error| Flow::SenderGone(Loss::of(&error)))?;
        let (bytes, last) = match received {
            Received::Nothing => return Ok(false),
            Received::End => (0, true),
            Received::Last(bytes) => (bytes, true),
            Received::Bytes(bytes) => (bytes, false),
        };
        way.ended = last;
        way.streak = if bytes >= STREAM_BYTES { way.streak + 1 } else { 0 };
        let delivered = deliver(to, way, &scratch[..bytes]);
        delivered.map_err(|error| Flow::ReceiverGone(Loss::of(&error)))?;
        Ok(true)
    })
}

/// Sends what it can of a piece and keeps the rest.
fn deliver(to: &Socket, way: &mut Way, piece: &[u8]) -> io::Result<()> {
    if piece.is_empty() {
        return Ok(());
    }
    // The last bytes and the end go in one segment.
    let sent = to.send(piece, way.ended)?;
    way.bytes += sent as u64;
    if sent < piece.len() {
        way.rest = Some(Box::new(piece[sent..].to_vec()));
    }
    Ok(())
}

/// Takes a piece into a pipe; says whether there was one, or an end.
fn splice(core: &Core, from: &Socket, way: &mut Way) -> Result<bool, Flow> {
    let pipe = match way.pipe.take().or_else(|| core.take_pipe().map(Box::new)) {
        Some(pipe) => way.pipe.insert(pipe),
        None => {
            // No descriptors for a pipe: copy on.
            way.streak = 0;
            return Ok(true);
        }
    };
    match from.splice_into(pipe).map_err(|error| Flow::SenderGone(Loss::of(&error)))? {
        Received::Nothing => return Ok(false),
        Received::End | Received::Last(_) => way.ended = true,
        Received::Bytes(bytes) if bytes < STREAM_BYTES => way.streak = 0,
        Received::Bytes(_) => {}
    }
    Ok(true)
}
