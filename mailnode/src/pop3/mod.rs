//! Maildrops (RFC 1939): the life of one connection.
//! It does not know what a command means; the session decides, each arm here does one thing for it.

pub mod command;
mod hold;
pub mod maildrop;
pub mod reply;
pub mod session;
mod transaction;

use std::io;
use std::time::Instant;

use crate::auth::{Purpose, Verdict};
use crate::mail::{MailboxId, Secret, Uid};
use crate::metrics::{self, Protocol};
use crate::node::Node;
use crate::store::StoreError;
use crate::wire::dot::DotWriter;
use crate::wire::{Line, Wire, WireError};

use self::hold::{Hold, Taken};
use self::maildrop::{Listing, Maildrop, Message};
use self::reply::Reply;
use self::session::{Heard, LoginAnswer, Session, Step};

/// A message is read and sent in pieces of this size: what a download holds in memory.
const PIECE_BYTES: usize = 64 * 1024;
/// A listing is sent in pieces of this size.
const LISTING_BYTES: usize = 8 * 1024;

/// The whole life of one POP3 connection, from the greeting on.
///
/// # Errors
/// How the wire broke; the client was told what could still be told.
pub async fn serve(wire: &mut Wire, protocol: Protocol, node: &Node) -> Result<(), WireError> {
    let mut hold = Hold::new(node);
    let outcome = converse(wire, protocol, node, &mut hold).await;
    hold.release().await;
    outcome
}

async fn converse(
    wire: &mut Wire,
    protocol: Protocol,
    node: &Node,
    hold: &mut Hold,
) -> Result<(), WireError> {
    let (mut session, greeting) = Session::greet(&node.pop3, wire.is_encrypted());
    let mut step = Step::Say(greeting);
    loop {
        (session, step) = match step {
            Step::Say(reply) => {
                say(wire, &reply).await?;
                hear(wire, session, node).await?
            }
            Step::StartTls(reply) => {
                say(wire, &reply).await?;
                node.start_tls(wire, protocol).await?;
                hear(wire, session.encrypted(), node).await?
            }
            Step::CheckLogin { user, password } => {
                let login = log_in(&user, Shown::Password(password), node, hold);
                session.login_checked(answer(&user, protocol, node, login).await)
            }
            Step::FindVerifier { user } => {
                session.verifier_found(match node.authority.verifier(&user).await {
                    Ok(found) => Some(found),
                    Err(error) => {
                        tracing::warn!(user, %error, "a verifier could not be looked up");
                        metrics::login(protocol, "trouble");
                        None
                    }
                })
            }
            Step::Open { user } => {
                let login = log_in(&user, Shown::Proof, node, hold);
                session.login_checked(answer(&user, protocol, node, login).await)
            }
            Step::WrongProof => {
                let login = async { Ok(LoginAnswer::Wrong) };
                session.login_checked(answer("(a proof)", protocol, node, login).await)
            }
            Step::List(listing) => {
                list(wire, &session, listing).await?;
                hear(wire, session, node).await?
            }
            Step::Send { message, body_lines } => {
                send(wire, message, body_lines, node).await?;
                hear(wire, session, node).await?
            }
            Step::Remove(mailbox, uids) => session.removed(remove(mailbox, uids, node, hold).await),
            Step::Close(reply) => {
                hold.release().await;
                return say(wire, &reply).await;
            }
        };
    }
}

/// Reads the next line and lets the session hear it.
async fn hear<'p>(
    wire: &mut Wire,
    session: Session<'p>,
    node: &Node,
) -> Result<(Session<'p>, Step), WireError> {
    let line = match wire.line(node.limits.command_line_bytes_max, session.is_idle()).await {
        Err(error) => return Err(tell_why(wire, error).await),
        Ok(line) => line,
    };
    let text = match &line {
        Line::Whole(bytes) => std::str::from_utf8(bytes).ok(),
        Line::TooLong => None,
    };
    let is_text = |text: &&str| !text.contains(|c: char| c.is_control() && c != '\t');
    Ok(session.hear(text.filter(is_text).map_or(Heard::NoText, Heard::Line)))
}

async fn say(wire: &mut Wire, reply: &Reply) -> Result<(), WireError> {
    wire.say(reply.to_wire().as_bytes()).await
}

/// How a client has shown who it is.
enum Shown {
    /// By this.
    Password(Secret),
    /// By a proof, which was right.
    Proof,
}

/// What a login came to, told, counted, and, where it is wrong, put off: an answer comes no sooner
/// for those who exist than for those who do not, and guessing is slow.
async fn answer(
    user: &str,
    protocol: Protocol,
    node: &Node,
    login: impl Future<Output = Result<LoginAnswer, StoreError>>,
) -> LoginAnswer {
    let begun = Instant::now();
    let (answer, result) = match login.await {
        Ok(answer @ LoginAnswer::Opened(_)) => (answer, "right"),
        Ok(answer @ (LoginAnswer::InUse | LoginAnswer::TooSoon)) => {
            tracing::info!(user, ?answer, "a maildrop was not opened");
            (answer, "in_use")
        }
        Ok(LoginAnswer::Trouble) => (LoginAnswer::Trouble, "trouble"),
        Ok(LoginAnswer::Wrong) => {
            tracing::info!(user, "wrong login");
            let left = node.limits.login_failure_delay.saturating_sub(begun.elapsed());
            tokio::time::sleep(left).await;
            (LoginAnswer::Wrong, "wrong")
        }
        Err(error) => {
            tracing::warn!(user, %error, "a login could not be checked or a maildrop opened");
            (LoginAnswer::Trouble, "trouble")
        }
    };
    metrics::login(protocol, result);
    answer
}

/// Checks a login and opens the maildrop. A store that is away is trouble here already: a client
/// must not be shown messages that it cannot read, nor an empty maildrop.
async fn log_in(
    user: &str,
    shown: Shown,
    node: &Node,
    hold: &mut Hold,
) -> Result<LoginAnswer, StoreError> {
    let verdict = match shown {
        Shown::Password(password) => {
            node.authority.check(user, password, Purpose::Fetching).await?
        }
        Shown::Proof => node.authority.proven(user, Purpose::Fetching).await?,
    };
    let Verdict::Right(mailbox) = verdict else { return Ok(LoginAnswer::Wrong) };
    node.store.files().check().await?;
    match hold.take(mailbox, node).await? {
        Taken::Yes => {}
        Taken::InUse => return Ok(LoginAnswer::InUse),
        Taken::TooSoon => return Ok(LoginAnswer::TooSoon),
    }
    let mut maildrop = Maildrop::new(mailbox);
    match node.store.list(mailbox).await {
        Ok(rows) => {
            for row in rows {
                maildrop.add(Uid(row.uid), &row.guid, row.octets, &row.file);
            }
            Ok(LoginAnswer::Opened(maildrop))
        }
        Err(error) => {
            hold.release().await;
            Err(error)
        }
    }
}

/// Says a listing line by line: none is held longer than it takes to send it.
async fn list(wire: &mut Wire, session: &Session<'_>, listing: Listing) -> Result<(), WireError> {
    say(wire, &Reply::listing()).await?;
    let mut piece = String::new();
    for line in session.lines(listing) {
        piece.push_str(&line);
        piece.push_str("\r\n");
        if piece.len() > LISTING_BYTES {
            wire.say(piece.as_bytes()).await?;
            piece.clear();
        }
    }
    piece.push_str(".\r\n");
    wire.say(piece.as_bytes()).await
}

/// Removes what was marked. True: all of it is gone.
async fn remove(mailbox: MailboxId, uids: Vec<Uid>, node: &Node, hold: &mut Hold) -> bool {
    match hold.remove(mailbox, uids, node).await {
        Ok(removed) => {
            metrics::removed(removed);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "messages could not be removed");
            false
        }
    }
}

/// Sends a message, or its header and some lines of its body, dots put on (RFC 1939 §3, §5, §7).
/// What goes wrong before its first octet is a reply; after that only a broken connection tells
/// the client that what it has is not the message.
async fn send(
    wire: &mut Wire,
    message: Message,
    body_lines: Option<u64>,
    node: &Node,
) -> Result<(), WireError> {
    let files = node.store.files();
    let unreadable = |error: StoreError| {
        tracing::error!(file = message.file, %error, "a message cannot be read");
        error
    };
    let first = async { files.read(files.open(message.file.clone()).await?, PIECE_BYTES).await };
    let Ok((mut file, mut piece)) = first.await.map_err(unreadable) else {
        return say(wire, &Reply::trouble()).await;
    };
    say(wire, &Reply::message_follows(message.octets)).await?;
    let mut top = Top { body_lines, in_body: false, line_empty: true };
    let mut writer = DotWriter::new();
    let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 64);
    while !piece.is_empty() {
        let wanted = top.take(&piece);
        writer.feed(&piece[..wanted], &mut out);
        wire.say(&out).await?;
        out.clear();
        if wanted < piece.len() || piece.len() < PIECE_BYTES {
            break;
        }
        let read = files.read(file, PIECE_BYTES).await.map_err(unreadable);
        (file, piece) = read.map_err(|error| WireError::Broken(io::Error::other(error)))?;
    }
    writer.end(&mut out);
    metrics::retrieved();
    wire.say(&out).await
}

/// How far TOP has got: the header, the empty line after it, then lines of the body.
struct Top {
    /// Lines of the body still wanted; `None`: all.
    body_lines: Option<u64>,
    in_body: bool,
    /// Nothing but a CR stands in the line so far.
    line_empty: bool,
}

impl Top {
    /// How many octets of the next piece are wanted; fewer than all of them: it ends there.
    fn take(&mut self, piece: &[u8]) -> usize {
        let Some(left) = &mut self.body_lines else { return piece.len() };
        for (at, byte) in piece.iter().enumerate() {
            if self.in_body && *left == 0 {
                return at;
            }
            match byte {
                b'\n' if self.in_body => *left -= 1,
                b'\n' => {
                    self.in_body = self.line_empty;
                    self.line_empty = true;
                }
                b'\r' => {}
                _ => self.line_empty = false,
            }
        }
        piece.len()
    }
}

/// Says goodbye for a reason the client should know, if there still is a client; hands it on.
async fn tell_why(wire: &mut Wire, error: WireError) -> WireError {
    let reply = match error {
        WireError::Stopping => Reply::shutting_down(),
        WireError::TooSlow => Reply::too_slow(),
        WireError::EndlessLine => Reply::wrong_line(),
        WireError::Closed
        | WireError::Broken(_)
        | WireError::ProxyHeader(_)
        | WireError::Tls(_) => return error,
    };
    say(wire, &reply).await.err().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn top(message: &[u8], lines: u64, piece: usize) -> Vec<u8> {
        let mut top = Top { body_lines: Some(lines), in_body: false, line_empty: true };
        let mut out = Vec::new();
        for piece in message.chunks(piece) {
            let wanted = top.take(piece);
            out.extend_from_slice(&piece[..wanted]);
            if wanted < piece.len() {
                break;
            }
        }
        out
    }

    #[test]
    fn top_is_the_header_its_empty_line_and_some_lines() {
        let message = b"A: 1\r\nB: 2\r\n\r\none\r\n\r\ntwo\r\n";
        for piece in [1, 2, 5, 100] {
            assert_eq!(top(message, 0, piece), b"A: 1\r\nB: 2\r\n\r\n");
            assert_eq!(top(message, 2, piece), b"A: 1\r\nB: 2\r\n\r\none\r\n\r\n");
            assert_eq!(top(message, 9, piece), message);
        }
    }

    proptest! {
        #[test]
        fn top_is_a_prefix_whatever_the_pieces(
            message in "([a\\r\\n]{0,5}\r\n){0,8}", lines in 0u64..5, piece in 1usize..9
        ) {
            let message = message.as_bytes();
            let whole = top(message, lines, message.len().max(1));
            prop_assert!(message.starts_with(&whole));
            prop_assert_eq!(top(message, lines, piece), whole);
        }
    }
}
