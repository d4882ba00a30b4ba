//! Does any conversation end in order? It does not know sockets: lines are heard, steps answered.
//! No message is taken without a sender and a known recipient, and no line of a reply has a CR or
//! LF of its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::mail::{DeliveryId, Destination, MailboxId};
use mailnode::smtp::session::{Heard, NotTaken, Policy, RecipientAnswer, Session, Step};

fuzz_target!(|data: &[u8]| {
    let policy = Policy {
        hostname: "mx.example.test".to_owned(),
        message_bytes_max: 1000,
        recipients_max: 3,
        errors_max: 5,
        tls: data.len() % 2 == 0,
    };
    let (mut session, greeting) = Session::greet(&policy);
    let mut step = Step::Say(greeting.clone());
    for (number, line) in data.split(|byte| *byte == 0xfe).enumerate() {
        loop {
            (session, step) = match step {
                Step::Say(reply) => {
                    let wire = reply.to_wire();
                    let lines = wire.strip_suffix("\r\n").expect("a reply ends with CRLF");
                    assert!(!lines.replace("\r\n", "").contains(['\r', '\n']), "{wire:?}");
                    break;
                }
                Step::FindRecipient(_) => session.recipient_found(match number % 3 {
                    0 => RecipientAnswer::UnknownUser,
                    _ => RecipientAnswer::Known(vec![Destination {
                        mailbox: MailboxId(1),
                        directory: "d/u".to_owned(),
                    }]),
                }),
                Step::TakeMessage(envelope) => {
                    assert!((1..=3).contains(&envelope.to.len()));
                    session.message_taken(match number % 2 {
                        0 => Err(NotTaken::Trouble),
                        _ => Ok(DeliveryId("id".to_owned())),
                    })
                }
                Step::StartTls(_) => {
                    session = session.encrypted();
                    step = Step::Say(greeting.clone());
                    continue;
                }
                Step::Close(_) => return,
            };
        }
        (session, step) = session.hear(Heard::Line(line));
    }
});
