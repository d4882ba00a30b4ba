//! Bytes both ways between a client and a node: exact, no faster than either reads, an end passed
//! on as an end and a reset as a reset.
//! It does not know which node it is or what is spoken. `connection` calls it.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use shared::shutdown::Stop;
use tokio::time::{Instant, sleep};

use crate::metrics::Tally;
use crate::outcome::End;
use crate::socket::{Socket, Wanted};

/// Bytes that are carried with one pair of calls.
const SCRATCH_BYTES: usize = 64 * 1024;
/// After so many pieces in one direction the others have their turn.
const PIECES_MAX: usize = 16;
/// Once one side has ended, silence of the other is borne no longer than this: a client that
/// vanished in between would keep its place for as long as the whole idle time.
const HALF_CLOSED_IDLE_MAX: Duration = Duration::from_secs(300);

thread_local! {
    /// One buffer for each thread, not one for each connection: an idle connection holds none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Node,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// What was received and did not fit into the other socket.
    rest: Option<Box<Rest>>,
    /// The end came and was passed on, or the direction was given up.
    closed: bool,
    /// Bytes the receiving socket has taken.
    bytes: u64,
}

#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

/// How far one direction got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// All was carried that was there.
    Waiting,
    /// The receiver has no room.
    Blocked,
    /// There is more; it was others' turn.
    Again,
    /// The sender's end was passed on.
    Ended,
    /// The sender is gone.
    SenderGone,
    /// The receiver is gone.
    ReceiverGone,
}

/// A client and a node, and what is on its way between them.
#[derive(Debug)]
pub struct Relay<'c> {
    client: &'c Socket,
    node: Socket,
    /// From the client to the node.
    up: Way,
    /// From the node to the client.
    down: Way,
    first_end: Option<Side>,
    gone: Option<Side>,
}

impl<'c> Relay<'c> {
    /// Nothing has been carried.
    #[must_use]
    pub fn new(client: &'c Socket, node: Socket) -> Self {
        let (up, down) = (Way::default(), Way::default());
        Self { client, node, up, down, first_end: None, gone: None }
    }

    /// Bytes the node has taken.
    #[must_use]
    pub fn bytes_to_node(&self) -> u64 {
        self.up.bytes
    }

    /// Bytes the client has taken.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.down.bytes
    }

    /// Waits for the node's first word and hands it to the client.
    ///
    /// # Errors
    /// `UnexpectedEof` where the node ended without a word, else what broke it. The client has
    /// heard nothing then, so another node may be tried for it.
    pub async fn first_word(&mut self) -> io::Result<()> {
        loop {
            self.node.readable().await;
            let heard: io::Result<_> = SCRATCH.with_borrow_mut(|scratch| {
                let length = self.node.receive(scratch)?;
                Ok((length, self.down.deliver(self.client, &scratch[..length])))
            });
            match heard {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, Ok(()))) => return Ok(()),
                Ok((_, Err(_))) => {
                    self.give_up(Side::Client);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Carries bytes until both sides have ended, one is gone, nothing comes for `idle`, or
    /// `leave` is requested. What is no orderly end resets the node; the caller resets the client.
    pub async fn both_ways(
        &mut self,
        idle: Duration,
        leave: &Stop,
        (to_node, to_client): (&Tally, &Tally),
    ) -> End {
        let mut leaving = std::pin::pin!(leave.requested());
        let mut silence = std::pin::pin!(sleep(idle));
        let mut last_byte = Instant::now();
        let (mut told_up, mut told_down) = (0, 0);
        loop {
            let turn = self.turn();
            if (told_up, told_down) != (self.up.bytes, self.down.bytes) {
                to_node.add(self.up.bytes - told_up);
                to_client.add(self.down.bytes - told_down);
                (told_up, told_down) = (self.up.bytes, self.down.bytes);
                last_byte = Instant::now();
            }
            match turn {
                Turn::Over(end) => return end,
                Turn::Again => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Turn::Wait => {}
            }
            let patience =
                if self.first_end.is_some() { idle.min(HALF_CLOSED_IDLE_MAX) } else { idle };
            let deadline = last_byte + patience;
            // The timer is not touched for every byte: it is looked at when it rings.
            if deadline < silence.deadline() {
                silence.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                vanished = self.event() => self.note(vanished),
                () = leaving.as_mut() => return End::Drain,
                () = silence.as_mut() => {
                    if deadline <= Instant::now() {
                        return End::Idle;
                    }
                    silence.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Carries what can be carried now, in both directions.
    fn turn(&mut self) -> Turn {
        let node_gone = self.gone == Some(Side::Node);
        let down = pump(&self.node, self.client, &mut self.down, node_gone);
        self.settle(down, Side::Node, Side::Client);
        let client_gone = self.gone == Some(Side::Client);
        let up = pump(self.client, &self.node, &mut self.up, client_gone);
        self.settle(up, Side::Client, Side::Node);
        if let Some(gone) = self.gone {
            // What the one who is gone had said before is still delivered, while the other reads.
            let from = if gone == Side::Node { &self.down } else { &self.up };
            if from.closed {
                return Turn::Over(gone.reset());
            }
        } else if self.up.closed && self.down.closed {
            return Turn::Over(self.first_end.unwrap_or(Side::Client).closed());
        }
        if down == Flow::Again || up == Flow::Again { Turn::Again } else { Turn::Wait }
    }

    fn settle(&mut self, flow: Flow, sender: Side, receiver: Side) {
        match flow {
            Flow::Waiting | Flow::Blocked | Flow::Again => {}
            Flow::Ended => self.first_end = self.first_end.or(Some(sender)),
            Flow::SenderGone => self.gone = self.gone.or(Some(sender)),
            Flow::ReceiverGone => self.give_up(receiver),
        }
    }

    /// Nothing can be sent to this side any more.
    fn give_up(&mut self, side: Side) {
        self.gone = self.gone.or(Some(side));
        let to = if side == Side::Node { &mut self.up } else { &mut self.down };
        to.rest = None;
        to.closed = true;
    }

    /// Waits for something to do; says who vanished, if somebody did.
    async fn event(&self) -> Option<Side> {
        let client = self.wanted(Side::Client, &self.up, &self.down);
        let node = self.wanted(Side::Node, &self.down, &self.up);
        tokio::select! {
            error = self.client.ready(client) => error.then_some(Side::Client),
            error = self.node.ready(node) => error.then_some(Side::Node),
        }
    }

    fn wanted(&self, side: Side, from: &Way, to: &Way) -> Wanted {
        let gone = self.gone == Some(side);
        let read = !from.closed && from.rest.is_none();
        Wanted { read, write: !gone && to.rest.is_some(), error: !gone }
    }

    fn note(&mut self, vanished: Option<Side>) {
        if let Some(side) = vanished {
            self.give_up(side);
        }
    }

    /// Ends the node's side: plainly after an orderly end, with a reset after any other.
    pub fn finish(self, end: End) {
        if !matches!(end, End::ClientClosed | End::NodeClosed) {
            self.node.reset();
        }
    }
}

/// What is next for both directions.
enum Turn {
    Wait,
    Again,
    Over(End),
}

impl Side {
    fn closed(self) -> End {
        match self {
            Self::Client => End::ClientClosed,
            Self::Node => End::NodeClosed,
        }
    }

    fn reset(self) -> End {
        match self {
            Self::Client => End::ClientReset,
            Self::Node => End::NodeReset,
        }
    }
}

impl Way {
    /// Sends what it can and keeps the rest.
    fn deliver(&mut self, to: &Socket, bytes: &[u8]) -> io::Result<()> {
        let sent = match to.send(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.bytes += sent as u64;
        if sent < bytes.len() {
            self.rest = Some(Box::new(Rest { bytes: bytes[sent..].to_vec(), sent: 0 }));
        }
        Ok(())
    }

    /// Sends of the rest what it can; says whether nothing is left of it.
    fn flush(&mut self, to: &Socket) -> io::Result<bool> {
        let Some(rest) = &mut self.rest else { return Ok(true) };
        match to.send(&rest.bytes[rest.sent..]) {
            Ok(sent) => {
                rest.sent += sent;
                self.bytes += sent as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let all = rest.sent == rest.bytes.len();
        if all {
            self.rest = None;
        }
        Ok(all)
    }
}

/// Carries what there is in one direction. Nothing new is received while a rest is unsent: the
/// sender is stalled by its own socket then.
fn pump(from: &Socket, to: &Socket, way: &mut Way, sender_gone: bool) -> Flow {
    if way.closed {
        return Flow::Waiting;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        for _ in 0..PIECES_MAX {
            match way.flush(to) {
                Ok(true) => {}
                Ok(false) => return Flow::Blocked,
                Err(_) => return Flow::ReceiverGone,
            }
            let length = match from.receive(scratch) {
                Ok(0) => {
                    way.closed = true;
                    // A reset that was met while sending shows as a plain end here: it is none.
                    return match sender_gone {
                        true => Flow::SenderGone,
                        false if to.end().is_ok() => Flow::Ended,
                        false => Flow::ReceiverGone,
                    };
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Waiting,
                Err(_) => {
                    way.closed = true;
                    return Flow::SenderGone;
                }
            };
            if way.deliver(to, &scratch[..length]).is_err() {
                return Flow::ReceiverGone;
            }
        }
        Flow::Again
    })
}
