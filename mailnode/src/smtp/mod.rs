//! Incoming mail (RFC 5321): the life of one connection.
//! It does not know what a command means; the session decides, each arm here does one thing for it.

pub mod command;
pub mod reply;
pub mod session;

use crate::mail::{DeliveryId, EmailAddress, Envelope, Origin};
use crate::metrics::{self, Protocol};
use crate::node::Node;
use crate::store::{Found, StoreError};
use crate::wire::dot::{DotReader, Flaw};
use crate::wire::{Line, Wire, WireError};

use self::reply::Reply;
use self::session::{Heard, NotTaken, RecipientAnswer, Session, Step};

/// The whole life of one SMTP connection, from the greeting on.
///
/// # Errors
/// How the wire broke; the client was told what could still be told.
pub async fn serve(wire: &mut Wire, mut origin: Origin, node: &Node) -> Result<(), WireError> {
    let (mut session, greeting) = Session::greet(&node.smtp);
    let mut step = Step::Say(greeting);
    loop {
        (session, step) = match step {
            Step::Say(reply) => {
                say(wire, &reply).await?;
                hear(wire, session, node).await?
            }
            Step::StartTls(reply) => {
                say(wire, &reply).await?;
                node.start_tls(wire, Protocol::Smtp).await?;
                origin.encrypted = true;
                hear(wire, session.encrypted(), node).await?
            }
            Step::FindRecipient(address) => {
                let answer = find(&address, node).await;
                session.recipient_found(answer)
            }
            Step::TakeMessage(envelope) => {
                say(wire, &Reply::go_ahead()).await?;
                match take(wire, &envelope, origin, node).await {
                    Err(error) => return Err(tell_why(wire, node, error).await),
                    Ok(outcome) => session.message_taken(outcome),
                }
            }
            Step::Close(reply) => return say(wire, &reply).await,
        };
    }
}

/// Reads the next line and lets the session hear it.
async fn hear<'p>(
    wire: &mut Wire,
    session: Session<'p>,
    node: &Node,
) -> Result<(Session<'p>, Step), WireError> {
    match wire.line(node.limits.command_line_bytes_max, session.is_idle()).await {
        Err(error) => Err(tell_why(wire, node, error).await),
        Ok(Line::Whole(bytes)) => Ok(session.hear(Heard::Line(&bytes))),
        Ok(Line::TooLong) => Ok(session.hear(Heard::TooLong)),
    }
}

async fn say(wire: &mut Wire, reply: &Reply) -> Result<(), WireError> {
    wire.say(reply.to_wire().as_bytes()).await
}

/// Asks the store who a recipient is. Whatever goes wrong is temporary: never "no such user".
async fn find(address: &EmailAddress, node: &Node) -> RecipientAnswer {
    if !node.condition.takes_mail() {
        metrics::recipient("trouble");
        return RecipientAnswer::Trouble;
    }
    let found = match node.store.find(address).await {
        Ok(Found::ForeignDomain) if is_hosts_postmaster(address, node) => {
            node.store.find_hosts_postmaster().await
        }
        found => found,
    };
    let (answer, result) = match found {
        Ok(Found::Mailboxes(destinations)) => (RecipientAnswer::Known(destinations), "known"),
        Ok(Found::Nobody) => (RecipientAnswer::UnknownUser, "unknown"),
        Ok(Found::ForeignDomain) => (RecipientAnswer::ForeignDomain, "foreign"),
        Ok(Found::Disabled) => (RecipientAnswer::Disabled, "disabled"),
        Ok(Found::Full) => (RecipientAnswer::Full, "full"),
        Err(error) => {
            tracing::warn!(%address, %error, "a recipient could not be looked up");
            (RecipientAnswer::Trouble, "trouble")
        }
    };
    metrics::recipient(result);
    answer
}

/// RFC 5321 §4.5.1: always there, even where the host's own name is no domain with users.
fn is_hosts_postmaster(address: &EmailAddress, node: &Node) -> bool {
    address.local() == "postmaster" && address.domain().eq_ignore_ascii_case(&node.smtp.hostname)
}

/// Reads the message into local temp and has it delivered. Whatever is wrong with it, it is read
/// to its end, or its rest would be taken for commands.
async fn take(
    wire: &mut Wire,
    envelope: &Envelope,
    origin: Origin,
    node: &Node,
) -> Result<Result<DeliveryId, NotTaken>, WireError> {
    let mut reader = DotReader::new(node.limits.message_line_bytes_max);
    let mut spool = node.temp.spool();
    let mut not_taken = None;
    wire.message(&mut reader, |piece| {
        if not_taken.is_some() {
            return;
        }
        if spool.length() + piece.len() as u64 > node.smtp.message_bytes_max {
            not_taken = Some(NotTaken::TooBig);
        } else if let Err(error) = spool.write(piece) {
            tracing::error!(%error, "local temp cannot be written");
            not_taken = Some(NotTaken::Trouble);
        }
    })
    .await?;
    let outcome = match (reader.flaw(), not_taken) {
        (Some(Flaw::BareLineEnd), _) => Err(NotTaken::BareLineEnd),
        (Some(Flaw::LineTooLong), _) => Err(NotTaken::LineTooLong),
        (None, Some(fault)) => Err(fault),
        // The filter chain's place: it reads the spooled message before it is kept.
        (None, None) => {
            node.deliveries.accept(envelope, origin, spool.finish()).await.map_err(|error| {
                tracing::warn!(%error, from = %envelope.from, "a message was not kept");
                match error {
                    StoreError::Full => NotTaken::Full,
                    _ => NotTaken::Trouble,
                }
            })
        }
    };
    metrics::message(match outcome {
        Ok(_) => "kept",
        Err(NotTaken::TooBig) => "too_big",
        Err(NotTaken::BareLineEnd) => "bare_line_end",
        Err(NotTaken::LineTooLong) => "line_too_long",
        Err(NotTaken::Full) => "full",
        Err(NotTaken::Trouble) => "trouble",
    });
    Ok(outcome)
}

/// Says goodbye for a reason the client should know, if there still is a client; hands it on.
async fn tell_why(wire: &mut Wire, node: &Node, error: WireError) -> WireError {
    let reply = match error {
        WireError::Stopping => Reply::shutting_down(&node.smtp.hostname),
        WireError::TooSlow => Reply::too_slow(&node.smtp.hostname),
        WireError::EndlessLine => Reply::line_too_long(),
        WireError::Closed
        | WireError::Broken(_)
        | WireError::ProxyHeader(_)
        | WireError::Tls(_) => return error,
    };
    say(wire, &reply).await.err().unwrap_or(error)
}
