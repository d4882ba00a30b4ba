//! What the server says: every reply of the POP3 session, in one place (RFC 1939 §3; response
//! codes in brackets of RFC 2449 §8 and RFC 3206). It does not know when to say which.

use crate::sasl;

/// A reply: a status line, and where one belongs a multi-line rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    mark: Mark,
    text: String,
    lines: Option<Vec<String>>,
}

/// What a reply begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    Bad,
    /// A challenge of SASL.
    Challenge,
}

impl Reply {
    fn good(text: impl Into<String>) -> Self {
        Self { mark: Mark::Good, text: text.into(), lines: None }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self { mark: Mark::Bad, text: text.into(), lines: None }
    }

    /// Whether it is a `+OK`.
    pub fn is_good(&self) -> bool {
        self.mark == Mark::Good
    }

    /// The reply as it goes over the wire. No line of a multi-line reply here begins with a dot.
    pub fn to_wire(&self) -> String {
        let mark = match self.mark {
            Mark::Good => "+OK",
            Mark::Bad => "-ERR",
            Mark::Challenge => "+",
        };
        let mut wire = format!("{mark} {}\r\n", self.text);
        if let Some(lines) = &self.lines {
            for line in lines {
                wire.push_str(line);
                wire.push_str("\r\n");
            }
            wire.push_str(".\r\n");
        }
        wire
    }

    /// The greeting.
    pub fn greeting(hostname: &str) -> Self {
        Self::good(format!("{hostname} POP3 ready"))
    }

    /// CAPA (RFC 2449 §6), with the names of what is on offer now.
    pub fn capabilities(lines: Vec<String>) -> Self {
        Self { lines: Some(lines), ..Self::good("capabilities follow") }
    }

    /// AUTH alone, with the names of what is on offer now.
    pub fn mechanisms(lines: Vec<String>) -> Self {
        Self { lines: Some(lines), ..Self::good("mechanisms follow") }
    }

    /// What SASL asks (RFC 5034 §4).
    pub fn challenge(octets: &[u8]) -> Self {
        Self { mark: Mark::Challenge, ..Self::good(sasl::encode(octets)) }
    }

    /// The client has thought better of it.
    pub fn cancelled() -> Self {
        Self::bad("given up, as you wish")
    }

    /// What was said in an exchange is no response.
    pub fn wrong_response() -> Self {
        Self::bad("that is no response to it")
    }

    /// AUTH with a name that is not on offer.
    pub fn unknown_mechanism() -> Self {
        Self::bad("this mechanism is not offered here")
    }

    /// UTF8.
    pub fn utf8() -> Self {
        Self::good("UTF-8 it is")
    }

    /// Somebody else has the maildrop open (RFC 2449 §8.1.1).
    pub fn in_use() -> Self {
        Self::bad("[IN-USE] another session has this maildrop open")
    }

    /// A login too soon after the last one (RFC 2449 §8.1.1).
    pub fn too_soon(seconds: u64) -> Self {
        Self::bad(format!("[LOGIN-DELAY] one login in {seconds} seconds, no more"))
    }

    /// USER: the same for those who exist and those who do not.
    pub fn send_password() -> Self {
        Self::good("send the password")
    }

    /// The maildrop is open.
    pub fn logged_in(messages: usize) -> Self {
        Self::good(format!("{messages} messages"))
    }

    /// `+OK count octets`: STAT.
    pub fn stat(messages: usize, octets: i64) -> Self {
        Self::good(format!("{messages} {octets}"))
    }

    /// `+OK number what`: LIST and UIDL of one message.
    pub fn one(number: usize, what: &str) -> Self {
        Self::good(format!("{number} {what}"))
    }

    /// The line before those of LIST and UIDL of all; they end with a dot.
    pub fn listing() -> Self {
        Self::good("all messages, and a dot after them")
    }

    /// The line before a message of RETR or TOP.
    pub fn message_follows(octets: i64) -> Self {
        Self::good(format!("{octets} octets"))
    }

    /// DELE.
    pub fn marked(number: usize) -> Self {
        Self::good(format!("message {number} will be deleted at QUIT"))
    }

    /// RSET.
    pub fn marks_removed(messages: usize) -> Self {
        Self::good(format!("{messages} messages, none marked"))
    }

    /// NOOP.
    pub fn ok() -> Self {
        Self::good("nothing done")
    }

    /// QUIT.
    pub fn bye() -> Self {
        Self::good("bye")
    }

    /// QUIT when the marked messages could not be removed (RFC 1939 §6): none of them is.
    pub fn not_removed() -> Self {
        Self::bad("[SYS/TEMP] the deleted messages were not removed")
    }

    /// A login that is not right; whether name or password is wrong is not told (RFC 3206 §4).
    pub fn wrong_login() -> Self {
        Self::bad("[AUTH] wrong address or password")
    }

    /// STLS: the next thing is the handshake.
    pub fn tls_begins() -> Self {
        Self::good("go ahead with TLS")
    }

    /// STLS where there is no certificate.
    pub fn no_tls() -> Self {
        Self::bad("TLS is not offered here")
    }

    /// STLS inside of TLS.
    pub fn tls_already() -> Self {
        Self::bad("TLS has begun already")
    }

    /// More wrong logins than allowed on one connection.
    pub fn too_many_logins() -> Self {
        Self::bad("[AUTH] too many wrong logins")
    }

    /// USER before TLS where that is not allowed.
    pub fn no_plain_text_login() -> Self {
        Self::bad("[SYS/PERM] login without TLS is not allowed here")
    }

    /// Database or file store in trouble: always temporary (RFC 3206 §4).
    pub fn trouble() -> Self {
        Self::bad("[SYS/TEMP] the mail store is not available now, try again later")
    }

    /// The node is being stopped or drained.
    pub fn shutting_down() -> Self {
        Self::bad("[SYS/TEMP] the server is shutting down, try again")
    }

    /// The client was silent for too long (RFC 1939 §3).
    pub fn too_slow() -> Self {
        Self::bad("[SYS/TEMP] waited too long for you")
    }

    /// More connections from one address than allowed.
    pub fn too_many_connections() -> Self {
        Self::bad("[SYS/TEMP] too many connections from your address")
    }

    /// More faults than a client that means well makes.
    pub fn too_many_errors() -> Self {
        Self::bad("[SYS/PERM] too many errors")
    }

    /// A number that names no message, or one marked as deleted.
    pub fn no_such_message() -> Self {
        Self::bad("no such message")
    }

    /// A verb nobody knows.
    pub fn unknown_command() -> Self {
        Self::bad("no such command")
    }

    /// Wrong words after a verb.
    pub fn wrong_arguments(what: &str) -> Self {
        Self::bad(what)
    }

    /// A command at the wrong moment.
    pub fn wrong_moment() -> Self {
        Self::bad("this command does not belong here")
    }

    /// A line over the limit, or with bytes that belong in no command.
    pub fn wrong_line() -> Self {
        Self::bad("a command is one line of text that ends with CRLF")
    }
}
