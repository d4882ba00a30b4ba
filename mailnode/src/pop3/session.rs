//! What a command means now, and what comes next (RFC 1939 §4-§6, RFC 5034):
//! (state, input) → (state, step).
//! It does not know sockets, the clock or the database: `pop3::serve` does what each step asks
//! and tells the outcome.

use crate::mail::{MailboxId, Secret, Uid};
use crate::sasl::{self, Exchange, Mechanism, Verifier};

use super::command::{Command, CommandFault, Initial};
use super::maildrop::{Listing, Maildrop, Message};
use super::reply::Reply;
use super::transaction::transact;

/// What a session goes by; the same for all of a node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name in the greeting.
    pub hostname: String,
    /// Passwords are taken although the connection is not encrypted.
    pub plain_text_login: bool,
    /// STLS is offered.
    pub tls: bool,
    /// The ways to log in besides USER and PASS, the best first.
    pub mechanisms: Vec<Mechanism>,
    /// Seconds between two logins to one maildrop; 0: any.
    pub login_delay_s: u64,
    /// Wrong logins after which the client is sent away.
    pub login_failures_max: u32,
    /// Faulty commands after which the client is sent away.
    pub errors_max: u32,
}

/// One input: a line without its CRLF, or the news that it was no line of text.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// A line.
    Line(&'a str),
    /// A line over the limit, or with bytes that belong in no command.
    NoText,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this and read on.
    Say(Reply),
    /// Say this, begin TLS, and read on with [`Session::encrypted`].
    StartTls(Reply),
    /// Check this login and open the maildrop, then call [`Session::login_checked`].
    CheckLogin {
        /// The whole address, as given.
        user: String,
        /// As given.
        password: Secret,
    },
    /// Find what this user's proof is checked with, then call [`Session::verifier_found`].
    FindVerifier {
        /// The whole address, as given.
        user: String,
    },
    /// The login is right: open the maildrop, then call [`Session::login_checked`].
    Open {
        /// The whole address, as given.
        user: String,
    },
    /// The proof is wrong: do what belongs to a wrong login, then call [`Session::login_checked`].
    WrongProof,
    /// Say [`Reply::listing`] and [`Session::lines`], and read on.
    List(Listing),
    /// Say [`Reply::message_follows`] and send the message, or [`Reply::trouble`], and read on.
    Send {
        /// The message.
        message: Message,
        /// TOP: its header and this many lines of its body; `None`: all.
        body_lines: Option<u64>,
    },
    /// Remove these for good, then call [`Session::removed`].
    Remove(MailboxId, Vec<Uid>),
    /// Say this and hang up.
    Close(Reply),
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginAnswer {
    /// Right: here is the maildrop.
    Opened(Maildrop),
    /// Wrong name or wrong password, nobody is told which; or an account that may not log in.
    Wrong,
    /// Right, and somebody else has the maildrop open, on whichever node.
    InUse,
    /// Right, and too soon after the last login.
    TooSoon,
    /// Nobody could say: temporary.
    Trouble,
}

/// Where a session stands; each state holds only what exists then.
#[derive(Debug)]
enum State {
    Authorization { user: Option<String> },
    Authenticating(Exchange),
    LoggingIn,
    Transaction(Maildrop),
    Update,
}

/// One POP3 session.
#[derive(Debug)]
pub struct Session<'p> {
    policy: &'p Policy,
    state: State,
    encrypted: bool,
    /// UTF8 was said (RFC 6856 §2).
    utf8: bool,
    errors: u32,
    login_failures: u32,
}

impl<'p> Session<'p> {
    /// A new session and the greeting that opens it. `encrypted`: TLS came before it.
    pub fn greet(policy: &'p Policy, encrypted: bool) -> (Self, Reply) {
        let state = State::Authorization { user: None };
        let (utf8, errors, login_failures) = (false, 0, 0);
        let session = Self { policy, state, encrypted, utf8, errors, login_failures };
        (session, Reply::greeting(&policy.hostname))
    }

    /// TLS has begun: what was said before is forgotten (RFC 2595 §4), what counts against the
    /// client is not.
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { state: State::Authorization { user: None }, encrypted: true, ..self }
    }

    /// Whether no maildrop is open: cut off now, the client loses no mark it has set.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Authorization { .. } | State::Authenticating(_))
    }

    /// The lines of [`Step::List`].
    pub fn lines(&self, listing: Listing) -> impl Iterator<Item = String> + '_ {
        let maildrop = match &self.state {
            State::Transaction(maildrop) => Some(maildrop),
            _ => None,
        };
        maildrop.into_iter().flat_map(move |maildrop| maildrop.lines(listing))
    }

    /// One line was heard.
    pub fn hear(mut self, heard: Heard<'_>) -> (Self, Step) {
        if let State::Authenticating(exchange) = self.state {
            self.state = State::Authorization { user: None };
            return self.respond(exchange, heard);
        }
        let understood = match heard {
            Heard::NoText => Err(Reply::wrong_line()),
            Heard::Line(line) => Command::parse(line).map_err(|fault| match fault {
                CommandFault::Unknown => Reply::unknown_command(),
                CommandFault::Arguments(what) => Reply::wrong_arguments(what),
            }),
        };
        match understood {
            Ok(command) => self.obey(command),
            Err(reply) => self.faulty(reply),
        }
    }

    /// The answer to [`Step::CheckLogin`], [`Step::Open`] and [`Step::WrongProof`].
    pub fn login_checked(mut self, answer: LoginAnswer) -> (Self, Step) {
        self.state = State::Authorization { user: None };
        let reply = match answer {
            LoginAnswer::Opened(maildrop) => {
                let reply = Reply::logged_in(maildrop.len());
                self.state = State::Transaction(maildrop);
                reply
            }
            LoginAnswer::Trouble => Reply::trouble(),
            LoginAnswer::InUse => Reply::in_use(),
            LoginAnswer::TooSoon => Reply::too_soon(self.policy.login_delay_s),
            LoginAnswer::Wrong => {
                self.login_failures += 1;
                if self.login_failures >= self.policy.login_failures_max {
                    return (self, Step::Close(Reply::too_many_logins()));
                }
                Reply::wrong_login()
            }
        };
        (self, Step::Say(reply))
    }

    /// The answer to [`Step::FindVerifier`]: the user's, or one that fits nobody, and a nonce;
    /// `None`: nobody could say.
    pub fn verifier_found(mut self, found: Option<(Verifier, String)>) -> (Self, Step) {
        match (std::mem::replace(&mut self.state, State::LoggingIn), found) {
            (State::Authenticating(exchange), Some((verifier, nonce))) => {
                let (exchange, step) = exchange.verifier_found(verifier, &nonce);
                self.go_on(exchange, step)
            }
            _ => self.login_checked(LoginAnswer::Trouble),
        }
    }

    /// The outcome of [`Step::Remove`]: all are gone, or none is.
    pub fn removed(self, all: bool) -> (Self, Step) {
        let reply = if all { Reply::bye() } else { Reply::not_removed() };
        (self, Step::Close(reply))
    }

    fn faulty(mut self, reply: Reply) -> (Self, Step) {
        self.errors += 1;
        if self.errors >= self.policy.errors_max {
            return (self, Step::Close(Reply::too_many_errors()));
        }
        (self, Step::Say(reply))
    }

    /// What is on offer now, as CAPA tells it (RFC 2449 §6).
    fn capabilities(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
                .map(str::to_owned)
                .into();
        if self.policy.login_delay_s > 0 {
            lines.push(format!("LOGIN-DELAY {}", self.policy.login_delay_s));
        }
        lines.push("UTF8 USER".to_owned());
        lines.push("IMPLEMENTATION mailnode".to_owned());
        if self.takes_passwords() {
            lines.push("USER".to_owned());
        }
        let offered: Vec<_> = self.mechanisms().map(Mechanism::name).collect();
        if !offered.is_empty() {
            lines.push(format!("SASL {}", offered.join(" ")));
        }
        if self.policy.tls && !self.encrypted && self.is_idle() {
            lines.push("STLS".to_owned());
        }
        lines
    }

    /// Whether a password may be said as it is.
    fn takes_passwords(&self) -> bool {
        self.encrypted || self.policy.plain_text_login
    }

    fn mechanisms(&self) -> impl Iterator<Item = Mechanism> + '_ {
        let takes_passwords = self.takes_passwords();
        let all = self.policy.mechanisms.iter().copied();
        all.filter(move |mechanism| takes_passwords || !mechanism.says_password())
    }

    fn obey(self, command: Command) -> (Self, Step) {
        if command == Command::Capabilities {
            let reply = Reply::capabilities(self.capabilities());
            return (self, Step::Say(reply));
        }
        match self.state {
            State::Authorization { .. } => self.authorize(command),
            State::Transaction(mut maildrop) => {
                let is_over = command == Command::Quit;
                let step = transact(&mut maildrop, command);
                let state = if is_over { State::Update } else { State::Transaction(maildrop) };
                (Self { state, ..self }, step)
            }
            State::Authenticating(_) | State::LoggingIn | State::Update => {
                (self, Step::Close(Reply::wrong_moment()))
            }
        }
    }

    fn authorize(mut self, command: Command) -> (Self, Step) {
        let before = std::mem::replace(&mut self.state, State::Authorization { user: None });
        let reply = match command {
            Command::Quit => return (self, Step::Close(Reply::bye())),
            Command::StartTls if self.encrypted => Reply::tls_already(),
            Command::StartTls if !self.policy.tls => Reply::no_tls(),
            // RFC 6856 §2.1: what was agreed on must not be taken away unseen.
            Command::StartTls if self.utf8 => Reply::wrong_moment(),
            Command::StartTls => return (self, Step::StartTls(Reply::tls_begins())),
            Command::Utf8 => {
                self.utf8 = true;
                Reply::utf8()
            }
            Command::User(_) if !self.takes_passwords() => Reply::no_plain_text_login(),
            Command::User(name) => {
                self.state = State::Authorization { user: Some(name) };
                Reply::send_password()
            }
            Command::Pass(password) => match before {
                State::Authorization { user: Some(user) } => {
                    self.state = State::LoggingIn;
                    return (self, Step::CheckLogin { user, password });
                }
                _ => Reply::wrong_moment(),
            },
            Command::Auth(None) => {
                Reply::mechanisms(self.mechanisms().map(|one| one.name().to_owned()).collect())
            }
            Command::Auth(Some((name, initial))) => return self.authenticate(&name, initial),
            _ => Reply::wrong_moment(),
        };
        (self, Step::Say(reply))
    }

    /// AUTH mechanism [initial response] (RFC 5034 §4).
    fn authenticate(self, name: &str, initial: Option<Initial>) -> (Self, Step) {
        let known = Mechanism::named(name);
        let Some(mechanism) = known.filter(|known| self.policy.mechanisms.contains(known)) else {
            return self.faulty(Reply::unknown_mechanism());
        };
        if mechanism.says_password() && !self.takes_passwords() {
            return (self, Step::Say(Reply::no_plain_text_login()));
        }
        let (exchange, step) =
            Exchange::begin(mechanism, initial.as_ref().map(|initial| &*initial.0));
        self.go_on(exchange, step)
    }

    /// A line in the midst of an exchange: `*`, or a response in base64.
    fn respond(self, exchange: Exchange, heard: Heard<'_>) -> (Self, Step) {
        match heard {
            Heard::Line("*") => (self, Step::Say(Reply::cancelled())),
            Heard::Line(line) => match sasl::decode(line) {
                Some(response) => {
                    let (exchange, step) = exchange.hear(&response);
                    self.go_on(exchange, step)
                }
                None => self.faulty(Reply::wrong_response()),
            },
            Heard::NoText => self.faulty(Reply::wrong_line()),
        }
    }

    fn go_on(mut self, exchange: Exchange, step: sasl::Step) -> (Self, Step) {
        let step = match step {
            sasl::Step::Challenge(challenge) => {
                self.state = State::Authenticating(exchange);
                return (self, Step::Say(Reply::challenge(&challenge)));
            }
            sasl::Step::FindVerifier { user } => {
                self.state = State::Authenticating(exchange);
                return (self, Step::FindVerifier { user });
            }
            sasl::Step::Check { user, password } => Step::CheckLogin { user, password },
            sasl::Step::Proven { user } => Step::Open { user },
            sasl::Step::Wrong => Step::WrongProof,
            sasl::Step::Malformed => {
                self.state = State::Authorization { user: None };
                return self.faulty(Reply::wrong_response());
            }
        };
        self.state = State::LoggingIn;
        (self, step)
    }
}
