//! What the server says: every reply of the POP3 session, in one place (RFC 1939 §3; response
//! codes in brackets of RFC 2449 §8 and RFC 3206). It does not know when to say which.

/// A reply: a status line, and where one belongs a multi-line rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    good: bool,
    text: String,
    lines: Option<Vec<String>>,
}

impl Reply {
    fn good(text: impl Into<String>) -> Self {
        Self { good: true, text: text.into(), lines: None }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self { good: false, text: text.into(), lines: None }
    }

    /// Whether it is a `+OK`.
    pub fn is_good(&self) -> bool {
        self.good
    }

    /// The reply as it goes over the wire. No line of a multi-line reply here begins with a dot.
    pub fn to_wire(&self) -> String {
        let mark = if self.good { "+OK" } else { "-ERR" };
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
        Self { good: true, text: "capabilities follow".to_owned(), lines: Some(lines) }
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

    /// LIST and UIDL of all.
    pub fn all(lines: Vec<String>) -> Self {
        Self { good: true, text: format!("{} messages", lines.len()), lines: Some(lines) }
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
        Self::bad("[SYS/TEMP] the deleted messages could not be removed, all are kept")
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
