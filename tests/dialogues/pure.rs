//! A world without sockets, clock and database in which the pure sessions answer: mail is a list
//! in memory. It does not know the dialogues; `dialogues.rs` plays them to it.

use std::collections::VecDeque;

use harness::script::Party;
use harness::{ALICE, BOB};
use mailnode::mail::{DeliveryId, Destination, EmailAddress, Envelope, MailboxId, Secret, Uid};
use mailnode::sasl::{Mechanism, Verifier};
use mailnode::wire::dot::{DotReader, DotWriter, Flaw};
use mailnode::wire::line::{self, Cut};
use mailnode::{pop3, smtp};
use pop3::maildrop::{Listing, Maildrop, Message};
use pop3::session::LoginAnswer;
use smtp::session::{NotTaken, RecipientAnswer};

/// Longest line of a command and of a message in this world.
const LINE_BYTES_MAX: usize = 2048;

/// Both policies live as long as the program: sessions borrow them.
static POLICIES: std::sync::LazyLock<(smtp::session::Policy, pop3::session::Policy)> =
    std::sync::LazyLock::new(|| {
        let hostname = "mx.example.test".to_owned();
        let smtp = smtp::session::Policy {
            hostname: hostname.clone(),
            message_bytes_max: 1 << 20,
            recipients_max: 100,
            errors_max: 20,
            tls: true,
        };
        let pop3 = pop3::session::Policy {
            hostname,
            plain_text_login: true,
            tls: true,
            mechanisms: Mechanism::ALL.to_vec(),
            login_delay_s: 0,
            login_failures_max: 3,
            errors_max: 20,
        };
        (smtp, pop3)
    });

/// A kept message: who has it, under which number, and its bytes.
struct Kept {
    mailbox: MailboxId,
    uid: Uid,
    bytes: Vec<u8>,
}

/// The connection of the moment.
enum Talk {
    None,
    Smtp(smtp::session::Session<'static>),
    /// A message is on its way.
    Data(smtp::session::Session<'static>, Envelope, DotReader, Vec<u8>),
    Pop3(pop3::session::Session<'static>),
    Closed,
}

/// All that is.
pub(crate) struct World {
    kept: Vec<Kept>,
    talk: Talk,
    /// What the client said and nobody has read.
    received: Vec<u8>,
    /// What the server said and the dialogue has not heard.
    said: VecDeque<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { kept: Vec::new(), talk: Talk::None, received: Vec::new(), said: VecDeque::new() }
    }

    fn server_says(&mut self, wire: &str) {
        self.said.extend(wire.split_terminator("\r\n").map(str::to_owned));
    }

    /// Reads on until the client has to say more.
    fn go_on(&mut self) {
        loop {
            let before = self.received.len();
            self.talk = match std::mem::replace(&mut self.talk, Talk::None) {
                Talk::Data(session, envelope, reader, message) => {
                    self.read_message(session, envelope, reader, message)
                }
                Talk::Smtp(session) => match self.take_line() {
                    None => Talk::Smtp(session),
                    Some(line) => self.hear_smtp(session, line.as_deref()),
                },
                Talk::Pop3(session) => match self.take_line() {
                    None => Talk::Pop3(session),
                    Some(line) => self.hear_pop3(session, line.as_deref()),
                },
                ended => ended,
            };
            if self.received.len() == before {
                return;
            }
        }
    }

    /// The next line, if it is there; `Err` when it is too long.
    fn take_line(&mut self) -> Option<Result<Vec<u8>, ()>> {
        let (length, fits) = match line::cut(&self.received, LINE_BYTES_MAX) {
            Cut::Incomplete => return None,
            Cut::Line(length) => (length, true),
            Cut::TooLong(length) => (length, false),
        };
        let mut line: Vec<u8> = self.received.drain(..length + 2).collect();
        line.truncate(length);
        Some(if fits { Ok(line) } else { Err(()) })
    }

    fn hear_smtp(
        &mut self,
        session: smtp::session::Session<'static>,
        line: Result<&[u8], &()>,
    ) -> Talk {
        use smtp::session::{Heard, Step};
        let (mut session, mut step) = session.hear(line.map_or(Heard::TooLong, Heard::Line));
        loop {
            match step {
                Step::Say(reply) => {
                    self.server_says(&reply.to_wire());
                    return Talk::Smtp(session);
                }
                Step::Close(reply) => {
                    self.server_says(&reply.to_wire());
                    return Talk::Closed;
                }
                Step::StartTls(reply) => {
                    self.server_says(&reply.to_wire());
                    self.received.clear();
                    return Talk::Smtp(session.encrypted());
                }
                Step::FindRecipient(address) => {
                    (session, step) = session.recipient_found(find(&address));
                }
                Step::TakeMessage(envelope) => {
                    self.server_says(&smtp::reply::Reply::go_ahead().to_wire());
                    let reader = DotReader::new(LINE_BYTES_MAX);
                    return Talk::Data(session, envelope, reader, Vec::new());
                }
            }
        }
    }

    fn read_message(
        &mut self,
        session: smtp::session::Session<'static>,
        envelope: Envelope,
        mut reader: DotReader,
        mut message: Vec<u8>,
    ) -> Talk {
        let piece = reader.feed(&self.received, &mut message);
        self.received.drain(..piece.consumed);
        if !piece.ended {
            return Talk::Data(session, envelope, reader, message);
        }
        let outcome = match reader.flaw() {
            Some(Flaw::BareLineEnd) => Err(NotTaken::BareLineEnd),
            Some(Flaw::LineTooLong) => Err(NotTaken::LineTooLong),
            None => Ok(self.keep(&envelope, &message)),
        };
        let (session, step) = session.message_taken(outcome);
        match step {
            smtp::session::Step::Say(reply) => self.server_says(&reply.to_wire()),
            other => panic!("after a message: {other:?}"),
        }
        Talk::Smtp(session)
    }

    fn keep(&mut self, envelope: &Envelope, message: &[u8]) -> DeliveryId {
        let name = &envelope.greeting.name;
        let trace = format!("Return-Path: <{}>\r\nReceived: from {name} by us\r\n", envelope.from);
        for destination in envelope.destinations() {
            let uid = Uid(self.kept.len() as i64 + 1);
            let bytes = [trace.as_bytes(), message].concat();
            self.kept.push(Kept { mailbox: destination.mailbox, uid, bytes });
        }
        DeliveryId(format!("delivery{}", self.kept.len()))
    }

    fn hear_pop3(
        &mut self,
        session: pop3::session::Session<'static>,
        line: Result<&[u8], &()>,
    ) -> Talk {
        use pop3::session::{Heard, Step};
        let text = line.ok().and_then(|line| line::text(line).ok());
        let (mut session, mut step) = session.hear(text.map_or(Heard::NoText, Heard::Line));
        loop {
            match step {
                Step::Say(reply) => {
                    self.server_says(&reply.to_wire());
                    return Talk::Pop3(session);
                }
                Step::Close(reply) => {
                    self.server_says(&reply.to_wire());
                    return Talk::Closed;
                }
                Step::StartTls(reply) => {
                    self.server_says(&reply.to_wire());
                    self.received.clear();
                    return Talk::Pop3(session.encrypted());
                }
                Step::CheckLogin { user, password } => {
                    (session, step) = session.login_checked(self.login(&user, password.reveal()));
                }
                Step::FindVerifier { user } => {
                    let nonce = "from-the-server".to_owned();
                    (session, step) = session.verifier_found(Some((verifier(&user), nonce)));
                }
                Step::Open { user } => {
                    let known = [ALICE, BOB].into_iter().find(|known| known.address == user);
                    let password = known.map_or("", |known| known.password);
                    (session, step) = session.login_checked(self.login(&user, password));
                }
                Step::WrongProof => {
                    (session, step) = session.login_checked(LoginAnswer::Wrong);
                }
                Step::List(listing) => {
                    self.list(&session, listing);
                    return Talk::Pop3(session);
                }
                Step::Remove(mailbox, uids) => {
                    self.kept.retain(|kept| {
                        kept.mailbox != mailbox || uids.iter().all(|uid| *uid != kept.uid)
                    });
                    (session, step) = session.removed(true);
                }
                Step::Send { message, body_lines } => {
                    self.send(&message, body_lines);
                    return Talk::Pop3(session);
                }
            }
        }
    }

    fn login(&self, user: &str, password: &str) -> LoginAnswer {
        let users = [(ALICE, MailboxId(1)), (BOB, MailboxId(2))];
        let right = |known: &harness::User| known.address == user && known.password == password;
        let Some((_, mailbox)) = users.into_iter().find(|(known, _)| right(known)) else {
            return LoginAnswer::Wrong;
        };
        let hers = self.kept.iter().filter(|kept| kept.mailbox == mailbox);
        let mut maildrop = Maildrop::new(mailbox);
        hers.for_each(|kept| {
            let guid = format!("guid{}", kept.uid.0);
            maildrop.add(kept.uid, &guid, kept.bytes.len() as i64, "");
        });
        LoginAnswer::Opened(maildrop)
    }

    fn list(&mut self, session: &pop3::session::Session<'_>, listing: Listing) {
        self.server_says(&pop3::reply::Reply::listing().to_wire());
        self.said.extend(session.lines(listing));
        self.said.push_back(".".to_owned());
    }

    fn send(&mut self, message: &Message, body_lines: Option<u64>) {
        self.server_says(&pop3::reply::Reply::message_follows(message.octets).to_wire());
        let kept = self.kept.iter().find(|kept| kept.uid == message.uid).expect("it is kept");
        let text = String::from_utf8_lossy(&kept.bytes).into_owned();
        let text = match body_lines {
            None => text,
            Some(count) => top(&text, count as usize),
        };
        let (mut writer, mut wire) = (DotWriter::new(), Vec::new());
        writer.feed(text.as_bytes(), &mut wire);
        writer.end(&mut wire);
        self.server_says(&String::from_utf8_lossy(&wire));
    }
}

/// The header, the empty line and some lines of the body (RFC 1939 §7, TOP).
fn top(text: &str, count: usize) -> String {
    let Some(end) = text.find("\r\n\r\n") else { return text.to_owned() };
    let (header, body) = text.split_at(end + 4);
    let lines = body.split_inclusive("\r\n").take(count);
    format!("{header}{}", lines.collect::<String>())
}

/// What a proof is checked with; whoever does not live here has one that fits nobody.
fn verifier(user: &str) -> Verifier {
    let known = [ALICE, BOB].into_iter().find(|known| known.address == user);
    let of = |known: harness::User| Secret::new(known.password.to_owned());
    match known {
        Some(known) => Verifier::with(&of(known), b"salt", 4096),
        None => Verifier::for_nobody(b"", user),
    }
}

/// Who lives here: the same people as in a test's cluster.
fn find(address: &EmailAddress) -> RecipientAnswer {
    if address.domain() != "example.test" {
        return RecipientAnswer::ForeignDomain;
    }
    let mailbox = match address.local() {
        "alice" => MailboxId(1),
        "bob" => MailboxId(2),
        _ => return RecipientAnswer::UnknownUser,
    };
    RecipientAnswer::Known(vec![Destination { mailbox, directory: address.directory() }])
}

impl Party for World {
    fn open(&mut self, protocol: &str) -> Result<(), String> {
        let (smtp, pop3) = &*POLICIES;
        self.received.clear();
        self.said.clear();
        let greeting;
        (self.talk, greeting) = match protocol {
            "smtp" => {
                let (session, reply) = smtp::session::Session::greet(smtp);
                (Talk::Smtp(session), reply.to_wire())
            }
            "pop3" => {
                let (session, reply) = pop3::session::Session::greet(pop3, false);
                (Talk::Pop3(session), reply.to_wire())
            }
            other => return Err(format!("nobody speaks {other:?} here")),
        };
        self.server_says(&greeting);
        Ok(())
    }

    fn encrypt(&mut self) -> Result<(), String> {
        Ok(()) // The session says so itself; what else was sent is gone.
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.received.extend_from_slice(bytes);
        self.go_on();
        Ok(())
    }

    fn hear(&mut self) -> Result<String, String> {
        self.said.pop_front().ok_or_else(|| "the server is silent".to_owned())
    }

    fn end(&mut self) -> Result<(), String> {
        match (self.said.pop_front(), &self.talk) {
            (None, Talk::Closed) => Ok(()),
            (None, _) => Err("the session goes on".to_owned()),
            (Some(line), _) => Err(format!("the server said {line:?}")),
        }
    }
}
