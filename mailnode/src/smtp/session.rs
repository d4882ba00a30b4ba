//! What a command means now, and what comes next (RFC 5321 §4.1.4):
//! (state, input) → (state, step).
//! It does not know sockets, the clock or the database: `smtp::serve` does what each step asks
//! and tells the outcome.

use crate::mail::{
    DeliveryId, Destination, EmailAddress, Envelope, Greeting, Recipient, ReversePath,
};
use crate::wire::line;

use super::command::{Command, CommandFault, Target};
use super::reply::Reply;

/// What a session goes by; the same for all of a node.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name in greetings and replies.
    pub hostname: String,
    /// Largest message, in octets.
    pub message_bytes_max: u64,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Faulty commands after which the client is sent away.
    pub errors_max: u32,
    /// STARTTLS is offered.
    pub tls: bool,
}

/// One input: a line without its CRLF, or the news that it was too long.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// The bytes of a line.
    Line(&'a [u8]),
    /// A line over the limit; its bytes are gone.
    TooLong,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this and read on.
    Say(Reply),
    /// Ask who this is, then call [`Session::recipient_found`].
    FindRecipient(EmailAddress),
    /// Say [`Reply::go_ahead`], take the message, then call [`Session::message_taken`].
    TakeMessage(Envelope),
    /// Say this, begin TLS, and read on with [`Session::encrypted`].
    StartTls(Reply),
    /// Say this and hang up.
    Close(Reply),
}

/// What the store says of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientAnswer {
    /// Known, and where the mail goes; never empty.
    Known(Vec<Destination>),
    /// The domain is ours, the user is not.
    UnknownUser,
    /// The domain is not ours.
    ForeignDomain,
    /// The account may not receive.
    Disabled,
    /// A mailbox it leads to has no room left: temporary.
    Full,
    /// Nobody could say: temporary.
    Trouble,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// Over `message_bytes_max`.
    TooBig,
    /// A lone CR or LF in it.
    BareLineEnd,
    /// A line over the limit in it.
    LineTooLong,
    /// A mailbox has no room for it: temporary.
    Full,
    /// Database, file store or local temp in trouble: temporary.
    Trouble,
}

/// Where a session stands; each state holds only what exists then.
#[derive(Debug)]
enum State {
    Connected,
    Greeted(Greeting),
    Mail(Transaction),
    /// A recipient is being asked for.
    Asking(Transaction, EmailAddress),
    /// A message is on its way.
    Taking(Greeting),
}

#[derive(Debug)]
struct Transaction {
    greeting: Greeting,
    from: ReversePath,
    to: Vec<Recipient>,
}

/// One SMTP session of an incoming client.
#[derive(Debug)]
pub struct Session<'p> {
    policy: &'p Policy,
    state: State,
    errors: u32,
    encrypted: bool,
}

impl<'p> Session<'p> {
    /// A new session and the greeting that opens it.
    pub fn greet(policy: &'p Policy) -> (Self, Reply) {
        let session = Self { policy, state: State::Connected, errors: 0, encrypted: false };
        (session, Reply::greeting(&policy.hostname))
    }

    /// TLS has begun: all that was said before is forgotten (RFC 3207 §4.2).
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { state: State::Connected, encrypted: true, ..self }
    }

    /// Whether the client is between two transactions: cut off now, it loses nothing it has said.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Connected | State::Greeted(_))
    }

    /// One line was heard.
    pub fn hear(mut self, heard: Heard<'_>) -> (Self, Step) {
        match understand(heard) {
            Ok(command) => self.obey(command),
            Err(reply) => {
                self.errors += 1;
                if self.errors >= self.policy.errors_max {
                    let reply = Reply::too_many_errors(&self.policy.hostname);
                    return (self, Step::Close(reply));
                }
                (self, Step::Say(reply))
            }
        }
    }

    /// The answer to [`Step::FindRecipient`].
    pub fn recipient_found(mut self, answer: RecipientAnswer) -> (Self, Step) {
        let State::Asking(mut transaction, address) = self.state else {
            return (self, Step::Say(Reply::trouble()));
        };
        let reply = match answer {
            RecipientAnswer::Known(destinations) => {
                if transaction.to.iter().all(|known| known.address != address) {
                    transaction.to.push(Recipient { address, destinations });
                }
                Reply::recipient_ok()
            }
            RecipientAnswer::UnknownUser => Reply::unknown_user(),
            RecipientAnswer::ForeignDomain => Reply::relay_denied(),
            RecipientAnswer::Disabled => Reply::disabled_user(),
            RecipientAnswer::Full => Reply::mailbox_full(),
            RecipientAnswer::Trouble => Reply::trouble(),
        };
        self.state = State::Mail(transaction);
        (self, Step::Say(reply))
    }

    /// The outcome of [`Step::TakeMessage`]: the transaction is over either way.
    pub fn message_taken(mut self, outcome: Result<DeliveryId, NotTaken>) -> (Self, Step) {
        if let State::Taking(greeting) = self.state {
            self.state = State::Greeted(greeting);
        }
        let reply = match outcome {
            Ok(delivery) => Reply::kept(&delivery),
            Err(NotTaken::TooBig) => Reply::too_big(self.policy.message_bytes_max),
            Err(NotTaken::BareLineEnd) => Reply::bare_line_end(),
            Err(NotTaken::LineTooLong) => Reply::message_line_too_long(),
            Err(NotTaken::Full) => Reply::mailbox_full(),
            Err(NotTaken::Trouble) => Reply::trouble(),
        };
        (self, Step::Say(reply))
    }

    fn obey(self, command: Command) -> (Self, Step) {
        match command {
            Command::Hello { name, extended } => self.hello(Greeting { name, extended }),
            Command::Mail { from, size } => self.mail(from, size),
            Command::Rcpt(target) => self.rcpt(target),
            Command::Data => self.data(),
            Command::StartTls => self.start_tls(),
            Command::Reset => self.reset(),
            Command::Noop => (self, Step::Say(Reply::ok())),
            Command::Verify => (self, Step::Say(Reply::cannot_verify())),
            Command::Help => (self, Step::Say(Reply::help())),
            Command::Quit => {
                let reply = Reply::bye(&self.policy.hostname);
                (self, Step::Close(reply))
            }
        }
    }

    /// RFC 5321 §4.1.4: EHLO at any time also ends the transaction at hand.
    fn hello(self, greeting: Greeting) -> (Self, Step) {
        let reply = if greeting.extended {
            let offers_tls = self.policy.tls && !self.encrypted;
            let policy = self.policy;
            Reply::extended_hello(&policy.hostname, policy.message_bytes_max, offers_tls)
        } else {
            Reply::hello(&self.policy.hostname)
        };
        (Self { state: State::Greeted(greeting), ..self }, Step::Say(reply))
    }

    fn mail(self, from: ReversePath, size: u64) -> (Self, Step) {
        let (state, reply) = match self.state {
            State::Greeted(greeting) if size > self.policy.message_bytes_max => {
                (State::Greeted(greeting), Reply::too_big(self.policy.message_bytes_max))
            }
            State::Greeted(greeting) => {
                let transaction = Transaction { greeting, from, to: Vec::new() };
                (State::Mail(transaction), Reply::sender_ok())
            }
            State::Connected => (State::Connected, Reply::wrong_moment("say EHLO first")),
            state => (state, Reply::wrong_moment("a sender was given already: RSET or DATA")),
        };
        (Self { state, ..self }, Step::Say(reply))
    }

    fn rcpt(self, target: Target) -> (Self, Step) {
        let address = match target {
            Target::Address(address) => address,
            // RFC 5321 §4.5.1: <postmaster> is the postmaster of this host.
            Target::Postmaster => {
                match EmailAddress::parse(&format!("postmaster@{}", self.policy.hostname)) {
                    Ok(address) => address,
                    Err(_) => return (self, Step::Say(Reply::unknown_user())),
                }
            }
        };
        match self.state {
            State::Mail(transaction) if transaction.to.len() < self.policy.recipients_max => {
                let state = State::Asking(transaction, address.clone());
                (Self { state, ..self }, Step::FindRecipient(address))
            }
            State::Mail(_) => (self, Step::Say(Reply::too_many_recipients())),
            _ => (self, Step::Say(Reply::wrong_moment("MAIL comes before RCPT"))),
        }
    }

    fn data(self) -> (Self, Step) {
        match self.state {
            State::Mail(transaction) if transaction.to.is_empty() => {
                let state = State::Mail(transaction);
                (Self { state, ..self }, Step::Say(Reply::no_recipients()))
            }
            State::Mail(Transaction { greeting, from, to }) => {
                let state = State::Taking(greeting.clone());
                let envelope = Envelope { greeting, from, to };
                (Self { state, ..self }, Step::TakeMessage(envelope))
            }
            _ => (self, Step::Say(Reply::wrong_moment("MAIL and RCPT come before DATA"))),
        }
    }

    fn start_tls(self) -> (Self, Step) {
        let step = if self.encrypted {
            Step::Say(Reply::wrong_moment("TLS has begun already"))
        } else if self.policy.tls {
            Step::StartTls(Reply::tls_begins())
        } else {
            Step::Say(Reply::not_offered())
        };
        (self, step)
    }

    fn reset(self) -> (Self, Step) {
        let state = match self.state {
            State::Mail(Transaction { greeting, .. }) => State::Greeted(greeting),
            state => state,
        };
        (Self { state, ..self }, Step::Say(Reply::ok()))
    }
}

fn understand(heard: Heard<'_>) -> Result<Command, Reply> {
    let line = match heard {
        Heard::TooLong => return Err(Reply::line_too_long()),
        Heard::Line(line) => line,
    };
    let line = line::text(line).map_err(|flaw| match flaw {
        // Only addresses may ever hold such bytes, with SMTPUTF8 (RFC 6531), not offered here.
        line::Flaw::NotAscii => Reply::wrong_address(crate::mail::AddressFault::NotAscii),
        line::Flaw::BareLineEnd | line::Flaw::Control => Reply::wrong_bytes(),
    })?;
    Command::parse(line).map_err(|fault| match fault {
        CommandFault::Unknown => Reply::unknown_command(),
        CommandFault::NotOffered => Reply::not_offered(),
        CommandFault::Arguments(what) => Reply::wrong_arguments(what),
        CommandFault::Address(fault) => Reply::wrong_address(fault),
        CommandFault::Parameter => Reply::unknown_parameter(),
    })
}
