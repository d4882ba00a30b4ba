//! SASL (RFC 4422): who says he is whom, and how he shows it; one for all protocols.
//! It does not know sockets, accounts or base64 lines: a protocol hands it octets and does what
//! each step asks.

mod plain;
mod scram;
mod verifier;

pub use self::verifier::Verifier;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use self::plain::Plain;
use self::scram::Scram;
use crate::mail::Secret;

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Address and password at once (RFC 4616).
    Plain,
    /// One after the other (draft-murchison-sasl-login), for old clients.
    Login,
    /// A proof that one knows it (RFC 5802, RFC 7677). SCRAM-SHA-256-PLUS would stand beside it,
    /// with the channel's own octets handed to [`Exchange::begin`].
    ScramSha256,
}

impl Mechanism {
    /// All there are, the best first.
    pub const ALL: [Self; 3] = [Self::ScramSha256, Self::Plain, Self::Login];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of a name, in any case of letters.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Whether the password itself is said: not for lines that others can read.
    pub fn says_password(self) -> bool {
        !matches!(self, Self::ScramSha256)
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge and let [`Exchange::hear`] hear the response.
    Challenge(Vec<u8>),
    /// Find this user's [`Verifier`] and call [`Exchange::verifier_found`].
    FindVerifier {
        /// The whole address, as given.
        user: String,
    },
    /// It ends with a login to be checked.
    Check {
        /// The whole address, as given.
        user: String,
        /// As given.
        password: Secret,
    },
    /// It ends: the client has proved that it knows this user's password.
    Proven {
        /// The whole address, as given.
        user: String,
    },
    /// It ends with a response that is none.
    Malformed,
    /// It ends: the proof is wrong, or the client wants to be somebody else.
    Wrong,
}

/// An exchange on its way.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    Plain(Plain),
    Scram(Box<Scram>),
    Over,
}

impl Exchange {
    /// Begins; `initial` is the response that came with the mechanism's name, if one did.
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> (Self, Step) {
        let state = match mechanism {
            Mechanism::Plain => State::Plain(Plain::Whole),
            Mechanism::Login => State::Plain(Plain::User),
            Mechanism::ScramSha256 => State::Scram(Box::new(Scram::First)),
        };
        let exchange = Self(state);
        match (initial, mechanism) {
            (Some(initial), _) => exchange.hear(initial),
            (None, Mechanism::Login) => (exchange, Step::Challenge(plain::ASK_USER.to_vec())),
            (None, _) => (exchange, Step::Challenge(Vec::new())),
        }
    }

    fn of(scram: Option<Scram>) -> Self {
        Self(scram.map_or(State::Over, |scram| State::Scram(Box::new(scram))))
    }

    /// The client's response to a challenge.
    pub fn hear(self, response: &[u8]) -> (Self, Step) {
        match self.0 {
            State::Plain(plain) => {
                let (plain, step) = plain.hear(response);
                (Self(plain.map_or(State::Over, State::Plain)), step)
            }
            State::Scram(scram) => {
                let (scram, step) = scram.hear(response);
                (Self::of(scram), step)
            }
            State::Over => (Self(State::Over), Step::Malformed),
        }
    }

    /// The answer to [`Step::FindVerifier`]: the user's, or one that fits no password, and a
    /// nonce of the server's own, printable and without a comma, never used before.
    pub fn verifier_found(self, verifier: Verifier, nonce: &str) -> (Self, Step) {
        match self.0 {
            State::Scram(scram) => {
                let (scram, step) = scram.verifier_found(verifier, nonce);
                (Self::of(scram), step)
            }
            State::Plain(_) | State::Over => (Self(State::Over), Step::Malformed),
        }
    }
}

/// A challenge or response as lines carry it.
pub fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// What such a line carries; `None`: it is no base64 of RFC 4648 §4, padded and canonical.
pub fn decode(line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line).ok()
}
