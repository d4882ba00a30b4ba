//! What the server says: every reply of the SMTP session, its code and its words, in one place.
//! It does not know when to say which; the session does.

use crate::mail::{AddressFault, DeliveryId};

/// A reply: a code (RFC 5321 §4.2), an enhanced code (RFC 3463; empty where none belongs), words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: &'static str,
    lines: Vec<String>,
}

impl Reply {
    fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Self {
        Self { code, enhanced, lines: vec![text.into()] }
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The reply as it goes over the wire.
    pub fn to_wire(&self) -> String {
        let mut wire = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            let mark = if number + 1 < self.lines.len() { '-' } else { ' ' };
            let space = if self.enhanced.is_empty() { "" } else { " " };
            wire.push_str(&format!("{}{mark}{}{space}{line}\r\n", self.code, self.enhanced));
        }
        wire
    }

    /// `220`: the greeting.
    pub fn greeting(hostname: &str) -> Self {
        Self::new(220, "", format!("{hostname} ESMTP ready"))
    }

    /// The answer to HELO.
    pub fn hello(hostname: &str) -> Self {
        Self::new(250, "", hostname)
    }

    /// The answer to EHLO: the extensions that work.
    pub fn extended_hello(hostname: &str, message_bytes_max: u64, offers_tls: bool) -> Self {
        let mut lines = vec![
            hostname.to_owned(),
            "PIPELINING".to_owned(),
            format!("SIZE {message_bytes_max}"),
            "8BITMIME".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
        ];
        if offers_tls {
            lines.push("STARTTLS".to_owned());
        }
        Self { code: 250, enhanced: "", lines }
    }

    /// STARTTLS: the next thing is the handshake.
    pub fn tls_begins() -> Self {
        Self::new(220, "2.0.0", "go ahead with TLS")
    }

    /// MAIL was taken.
    pub fn sender_ok() -> Self {
        Self::new(250, "2.1.0", "sender ok")
    }

    /// RCPT was taken.
    pub fn recipient_ok() -> Self {
        Self::new(250, "2.1.5", "recipient ok")
    }

    /// RSET and NOOP.
    pub fn ok() -> Self {
        Self::new(250, "2.0.0", "ok")
    }

    /// DATA may come.
    pub fn go_ahead() -> Self {
        Self::new(354, "", "end the message with CRLF.CRLF")
    }

    /// The message is kept: file, directory and rows are on disk.
    pub fn kept(delivery: &DeliveryId) -> Self {
        Self::new(250, "2.0.0", format!("kept as {delivery}"))
    }

    /// QUIT.
    pub fn bye(hostname: &str) -> Self {
        Self::new(221, "2.0.0", format!("{hostname} closing the connection"))
    }

    /// The node is being stopped or drained (RFC 5321 §3.8).
    pub fn shutting_down(hostname: &str) -> Self {
        Self::new(421, "4.3.2", format!("{hostname} is shutting down, try again"))
    }

    /// The client was silent for too long (RFC 5321 §4.5.3.2).
    pub fn too_slow(hostname: &str) -> Self {
        Self::new(421, "4.4.2", format!("{hostname} waited too long for you"))
    }

    /// More connections from one address than allowed.
    pub fn too_many_connections(hostname: &str) -> Self {
        Self::new(421, "4.7.0", format!("{hostname} too many connections from your address"))
    }

    /// More faults than a client that means well makes.
    pub fn too_many_errors(hostname: &str) -> Self {
        Self::new(421, "4.7.0", format!("{hostname} too many errors"))
    }

    /// VRFY (RFC 5321 §7.3: neither yes nor no).
    pub fn cannot_verify() -> Self {
        Self::new(252, "2.5.2", "send some mail, it will be tried")
    }

    /// HELP.
    pub fn help() -> Self {
        Self::new(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT; see RFC 5321")
    }

    /// A verb nobody knows.
    pub fn unknown_command() -> Self {
        Self::new(500, "5.5.2", "no such command")
    }

    /// A verb that exists, not here.
    pub fn not_offered() -> Self {
        Self::new(502, "5.5.1", "this command is not offered here")
    }

    /// Wrong words after a verb.
    pub fn wrong_arguments(what: &str) -> Self {
        Self::new(501, "5.5.4", what)
    }

    /// A parameter of MAIL or RCPT that was not announced.
    pub fn unknown_parameter() -> Self {
        Self::new(555, "5.5.4", "a parameter is not known here")
    }

    /// The address is none.
    pub fn wrong_address(fault: AddressFault) -> Self {
        let enhanced = if fault == AddressFault::NotAscii { "5.6.7" } else { "5.1.3" };
        Self::new(
            if fault == AddressFault::NotAscii { 553 } else { 501 },
            enhanced,
            fault.to_string(),
        )
    }

    /// A command line over the limit.
    pub fn line_too_long() -> Self {
        Self::new(500, "5.5.2", "the line is too long")
    }

    /// A command line with bytes that belong in none.
    pub fn wrong_bytes() -> Self {
        Self::new(500, "5.5.2", "a command is ASCII and ends with CRLF")
    }

    /// A command at the wrong moment.
    pub fn wrong_moment(what: &str) -> Self {
        Self::new(503, "5.5.1", what)
    }

    /// DATA without anyone to give it to.
    pub fn no_recipients() -> Self {
        Self::new(554, "5.5.1", "no valid recipients")
    }

    /// Over `recipients_max` (RFC 5321 §4.5.3.1.10).
    pub fn too_many_recipients() -> Self {
        Self::new(452, "4.5.3", "too many recipients, send the rest in another message")
    }

    /// Nobody of that name.
    pub fn unknown_user() -> Self {
        Self::new(550, "5.1.1", "no such user here")
    }

    /// A user who may not receive.
    pub fn disabled_user() -> Self {
        Self::new(550, "5.2.1", "this mailbox is disabled")
    }

    /// No room left (RFC 5321 §4.2.2, RFC 3463 §3.3): the sender tries again.
    pub fn mailbox_full() -> Self {
        Self::new(452, "4.2.2", "the mailbox is full, try again later")
    }

    /// A domain that is not ours.
    pub fn relay_denied() -> Self {
        Self::new(550, "5.7.1", "relaying denied: the domain is not served here")
    }

    /// Database or file store in trouble: always temporary.
    pub fn trouble() -> Self {
        Self::new(451, "4.3.0", "the mail store is not available now, try again later")
    }

    /// The message is (or was announced) over `message_bytes_max` (RFC 1870 §6.1).
    pub fn too_big(message_bytes_max: u64) -> Self {
        Self::new(552, "5.3.4", format!("the message is larger than {message_bytes_max} octets"))
    }

    /// A lone CR or LF in the message.
    pub fn bare_line_end() -> Self {
        Self::new(550, "5.6.0", "the message has a CR or LF that is not part of a CRLF")
    }

    /// A line of the message over `message_line_bytes_max`.
    pub fn message_line_too_long() -> Self {
        Self::new(550, "5.6.0", "the message has a line that is too long")
    }
}
