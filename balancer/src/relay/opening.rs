//! What passes before a node is committed to: its first word, and a client's first flight.
//! It does not know how long anything may take; `reach` does, and calls it. Until the first word
//! was handed to the client, the node can be dropped and nobody has noticed.

use super::{Loss, Relay, Side, deliver};
use crate::eventloop::Received;
use crate::flight::Flight;
use crate::greeting::{self, Greeting};
use crate::outcome::Cause;
use crate::settings::Protocol;
use crate::verdict::cause_of_silence;

impl Relay<'_> {
    /// Hands the node's first word to the client, if it has come; `None` where it has not. What it
    /// means is read as far as it takes to see whether it is `judged` a refusal.
    ///
    /// # Errors
    /// The node is busy, ended without a word, or broke. The client has heard nothing then, so
    /// another node may be tried for it.
    pub(crate) fn first_word(&mut self, judged: Option<Protocol>) -> Option<Result<(), Cause>> {
        if !self.node.is_readable() {
            return None;
        }
        self.core().with_scratch(|scratch| {
            let (bytes, last) = match self.node.receive(scratch) {
                Ok(Received::Nothing) => return None,
                Ok(Received::End) => return Some(Err(Cause::Closed)),
                Ok(Received::Last(bytes)) => (bytes, true),
                Ok(Received::Bytes(bytes)) => (bytes, false),
                Err(error) => return Some(Err(cause_of_silence(&error))),
            };
            let held = self.down.rest.take().unwrap_or_default();
            let joined = (!held.is_empty()).then(|| [&held, &scratch[..bytes]].concat());
            let said = joined.as_deref().unwrap_or(&scratch[..bytes]);
            match judged.map(|protocol| greeting::read(protocol, said)) {
                Some(Greeting::Busy) => return Some(Err(Cause::Busy)),
                Some(Greeting::Unfinished) if last => return Some(Err(Cause::Closed)),
                Some(Greeting::Unfinished) => {
                    self.down.rest = Some(Box::new(said.to_vec()));
                    return None;
                }
                // A refusal of this very client, or nothing that is known: not ours to judge.
                Some(Greeting::Welcome | Greeting::Refused | Greeting::Strange) | None => {}
            }
            self.down.ended = last;
            if let Err(error) = deliver(self.client, &mut self.down, said) {
                self.give_up(Side::Client, Loss::of(&error));
            }
            Some(Ok(()))
        })
    }

    /// Takes what the client has said since, keeps it, and hands it on to the node.
    ///
    /// # Errors
    /// The node broke.
    pub(crate) fn hand_on(&mut self, flight: &mut Flight) -> Result<(), Cause> {
        while self.client.is_readable() && !flight.ended && !flight.is_too_large() {
            let room = flight.room();
            let received = self.core().with_scratch(|scratch| {
                let received = self.client.receive(&mut scratch[..room]);
                if let Ok(Received::Bytes(bytes) | Received::Last(bytes)) = received {
                    flight.said.extend_from_slice(&scratch[..bytes]);
                }
                received
            });
            match received {
                Ok(Received::Nothing) => break,
                Ok(Received::Bytes(_)) => {}
                // A client that broke is found out by whoever waits.
                Ok(Received::Last(_) | Received::End) | Err(_) => flight.ended = true,
            }
        }
        if flight.sent < flight.said.len() && self.node.is_writable() {
            let sent = self.node.send(&flight.said[flight.sent..], false);
            flight.sent += sent.map_err(|error| cause_of_silence(&error))?;
        }
        Ok(())
    }

    /// The node has begun: from here on it is like any other connection.
    pub(crate) fn adopt(&mut self, flight: Flight) {
        self.up.bytes = flight.sent as u64;
        self.up.ended = flight.ended;
        let rest = &flight.said[flight.sent..];
        self.up.rest = (!rest.is_empty()).then(|| Box::new(rest.to_vec()));
    }
}
