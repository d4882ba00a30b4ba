//! What a command means now, and what comes next (RFC 1939 §4-§6):
//! (state, input) → (state, step).
//! It does not know sockets, the clock or the database: `pop3::serve` does what each step asks
//! and tells the outcome.

use crate::mail::{Guid, MailboxId, Secret, Uid};

use super::command::{Command, CommandFault};
use super::reply::Reply;

/// What a session goes by; the same for all of a node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name in the greeting.
    pub hostname: String,
    /// USER and PASS are taken although the connection is not encrypted.
    pub plain_text_login: bool,
    /// STLS is offered.
    pub tls: bool,
    /// Wrong logins after which the client is sent away.
    pub login_failures_max: u32,
    /// Faulty commands after which the client is sent away.
    pub errors_max: u32,
}

/// A mailbox as it was at login (RFC 1939 §8: no message comes or goes during the session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maildrop {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its messages, oldest first.
    pub messages: Vec<Message>,
}

/// One message of a maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// Its identity for ever.
    pub guid: Guid,
    /// Its size as RETR sends it, dots not counted.
    pub octets: i64,
    /// Its file, beneath the mail root.
    pub file: String,
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
    /// Nobody could say: temporary.
    Trouble,
}

/// Where a session stands; each state holds only what exists then.
#[derive(Debug)]
enum State {
    Authorization { user: Option<String> },
    LoggingIn,
    Transaction { maildrop: Maildrop, marked: Vec<bool> },
    Update,
}

/// One POP3 session.
#[derive(Debug)]
pub struct Session<'p> {
    policy: &'p Policy,
    state: State,
    encrypted: bool,
    errors: u32,
    login_failures: u32,
}

impl<'p> Session<'p> {
    /// A new session and the greeting that opens it. `encrypted`: TLS came before it.
    pub fn greet(policy: &'p Policy, encrypted: bool) -> (Self, Reply) {
        let state = State::Authorization { user: None };
        let session = Self { policy, state, encrypted, errors: 0, login_failures: 0 };
        (session, Reply::greeting(&policy.hostname))
    }

    /// TLS has begun: what was said before is forgotten (RFC 2595 §4), what counts against the
    /// client is not.
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { state: State::Authorization { user: None }, encrypted: true, ..self }
    }

    /// What is on offer now, as CAPA tells it.
    fn capabilities(&self) -> Vec<String> {
        let mut lines = vec![
            "TOP",
            "UIDL",
            "RESP-CODES",
            "AUTH-RESP-CODE",
            "PIPELINING",
            "EXPIRE NEVER",
            "IMPLEMENTATION mailnode",
        ];
        if self.takes_passwords() {
            lines.push("USER");
        }
        if self.policy.tls && !self.encrypted && self.is_idle() {
            lines.push("STLS");
        }
        lines.into_iter().map(str::to_owned).collect()
    }

    /// Whether a password may be said as it is.
    fn takes_passwords(&self) -> bool {
        self.encrypted || self.policy.plain_text_login
    }

    /// Whether no maildrop is open: cut off now, the client loses no mark it has set.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Authorization { .. })
    }

    /// One line was heard.
    pub fn hear(mut self, heard: Heard<'_>) -> (Self, Step) {
        let understood = match heard {
            Heard::NoText => Err(Reply::wrong_line()),
            Heard::Line(line) => Command::parse(line).map_err(|fault| match fault {
                CommandFault::Unknown => Reply::unknown_command(),
                CommandFault::Arguments(what) => Reply::wrong_arguments(what),
            }),
        };
        match understood {
            Ok(command) => self.obey(command),
            Err(reply) => {
                self.errors += 1;
                if self.errors >= self.policy.errors_max {
                    return (self, Step::Close(Reply::too_many_errors()));
                }
                (self, Step::Say(reply))
            }
        }
    }

    /// The answer to [`Step::CheckLogin`].
    pub fn login_checked(mut self, answer: LoginAnswer) -> (Self, Step) {
        self.state = State::Authorization { user: None };
        match answer {
            LoginAnswer::Opened(maildrop) => {
                let count = maildrop.messages.len();
                self.state = State::Transaction { maildrop, marked: vec![false; count] };
                (self, Step::Say(Reply::logged_in(count)))
            }
            LoginAnswer::Trouble => (self, Step::Say(Reply::trouble())),
            LoginAnswer::Wrong => {
                self.login_failures += 1;
                if self.login_failures >= self.policy.login_failures_max {
                    return (self, Step::Close(Reply::too_many_logins()));
                }
                (self, Step::Say(Reply::wrong_login()))
            }
        }
    }

    /// The outcome of [`Step::Remove`]: all are gone, or none is.
    pub fn removed(self, all: bool) -> (Self, Step) {
        let reply = if all { Reply::bye() } else { Reply::not_removed() };
        (self, Step::Close(reply))
    }

    fn obey(self, command: Command) -> (Self, Step) {
        if command == Command::Capabilities {
            let reply = Reply::capabilities(self.capabilities());
            return (self, Step::Say(reply));
        }
        match self.state {
            State::Authorization { .. } => self.authorize(command),
            State::Transaction { maildrop, marked } => {
                let (state, step) = transact(maildrop, marked, command);
                (Self { state, ..self }, step)
            }
            State::LoggingIn | State::Update => (self, Step::Close(Reply::wrong_moment())),
        }
    }

    fn authorize(mut self, command: Command) -> (Self, Step) {
        let takes_passwords = self.takes_passwords();
        match (command, self.state) {
            (Command::StartTls, state) => {
                let step = match (self.encrypted, self.policy.tls) {
                    (true, _) => Step::Say(Reply::tls_already()),
                    (false, false) => Step::Say(Reply::no_tls()),
                    (false, true) => Step::StartTls(Reply::tls_begins()),
                };
                (Self { state, ..self }, step)
            }
            (Command::Quit, state) => (Self { state, ..self }, Step::Close(Reply::bye())),
            (Command::User(_), state) if !takes_passwords => {
                (Self { state, ..self }, Step::Say(Reply::no_plain_text_login()))
            }
            (Command::User(name), _) => {
                self.state = State::Authorization { user: Some(name) };
                (self, Step::Say(Reply::send_password()))
            }
            (Command::Pass(password), State::Authorization { user: Some(user) }) => {
                let state = State::LoggingIn;
                (Self { state, ..self }, Step::CheckLogin { user, password })
            }
            (_, state) => (Self { state, ..self }, Step::Say(Reply::wrong_moment())),
        }
    }
}

/// RFC 1939 §5: the commands of an open maildrop.
fn transact(maildrop: Maildrop, mut marked: Vec<bool>, command: Command) -> (State, Step) {
    // A number that names a message not marked, as its index.
    let find = |number: usize| match number.checked_sub(1) {
        Some(index) if marked.get(index) == Some(&false) => Some(index),
        _ => None,
    };
    let none = || Step::Say(Reply::no_such_message());
    let step = match command {
        Command::Stat => {
            let (count, octets) = left(&maildrop, &marked)
                .fold((0, 0), |(count, octets), (_, message)| (count + 1, octets + message.octets));
            Step::Say(Reply::stat(count, octets))
        }
        Command::List(Some(number)) => find(number).map_or_else(none, |index| {
            Step::Say(Reply::one(number, &maildrop.messages[index].octets.to_string()))
        }),
        Command::Uidl(Some(number)) => find(number).map_or_else(none, |index| {
            Step::Say(Reply::one(number, &maildrop.messages[index].guid.0))
        }),
        Command::List(None) => Step::Say(Reply::all(
            left(&maildrop, &marked)
                .map(|(number, message)| format!("{number} {}", message.octets))
                .collect(),
        )),
        Command::Uidl(None) => Step::Say(Reply::all(
            left(&maildrop, &marked)
                .map(|(number, message)| format!("{number} {}", message.guid))
                .collect(),
        )),
        Command::Retr(number) => find(number).map_or_else(none, |index| Step::Send {
            message: maildrop.messages[index].clone(),
            body_lines: None,
        }),
        Command::Top { number, lines } => find(number).map_or_else(none, |index| Step::Send {
            message: maildrop.messages[index].clone(),
            body_lines: Some(lines),
        }),
        Command::Dele(number) => match find(number) {
            Some(index) => {
                marked[index] = true;
                Step::Say(Reply::marked(number))
            }
            None => none(),
        },
        Command::Reset => {
            marked.fill(false);
            Step::Say(Reply::marks_removed(marked.len()))
        }
        Command::Noop => Step::Say(Reply::ok()),
        Command::Quit => return (State::Update, quit(&maildrop, &marked)),
        Command::User(_) | Command::Pass(_) | Command::StartTls | Command::Capabilities => {
            Step::Say(Reply::wrong_moment())
        }
    };
    (State::Transaction { maildrop, marked }, step)
}

/// The messages that are not marked, with their numbers.
fn left<'a>(
    maildrop: &'a Maildrop,
    marked: &'a [bool],
) -> impl Iterator<Item = (usize, &'a Message)> {
    let all = maildrop.messages.iter().enumerate();
    all.filter(|(index, _)| !marked[*index]).map(|(index, message)| (index + 1, message))
}

/// RFC 1939 §6: only QUIT in an open maildrop removes what was marked.
fn quit(maildrop: &Maildrop, marked: &[bool]) -> Step {
    let uids: Vec<Uid> = maildrop
        .messages
        .iter()
        .zip(marked)
        .filter(|(_, marked)| **marked)
        .map(|(message, _)| message.uid)
        .collect();
    if uids.is_empty() { Step::Close(Reply::bye()) } else { Step::Remove(maildrop.mailbox, uids) }
}
