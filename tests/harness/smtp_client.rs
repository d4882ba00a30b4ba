//! A small SMTP client that keeps every reply it saw (RFC 5321).
//! It does not know what a test wants; tests and the senders of load call it.

use std::io;

use crate::line::LineStream;

/// One reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The texts behind the digits, one for each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// Asserts the code.
    ///
    /// # Panics
    /// With the whole reply.
    #[track_caller]
    pub fn is(self, code: u16) -> Self {
        assert!(self.code == code, "wanted {code}, the server said {self}");
        self
    }

    /// Asserts that the code is one of several.
    ///
    /// # Panics
    /// With the whole reply.
    #[track_caller]
    pub fn code_in(self, codes: &[u16]) -> Self {
        assert!(codes.contains(&self.code), "wanted one of {codes:?}, the server said {self}");
        self
    }

    /// Asserts how the reply begins, e.g. `550 5.1.1`.
    ///
    /// # Panics
    /// With the whole reply.
    #[track_caller]
    pub fn begins(self, prefix: &str) -> Self {
        assert!(self.to_string().starts_with(prefix), "wanted {prefix}, the server said {self}");
        self
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// A connection that has been greeted.
#[derive(Debug)]
pub struct SmtpClient {
    line: LineStream,
    greeting: Reply,
}

impl SmtpClient {
    /// Connects and reads the greeting, whatever it is.
    ///
    /// # Errors
    /// When there is no connection or no greeting: to a client this is a refusal.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::connect_saying(port, b"")
    }

    /// As [`Self::connect`], but says `first` before it is greeted (a PROXY header).
    ///
    /// # Errors
    /// When there is no connection or no greeting.
    pub fn connect_saying(port: u16, first: &[u8]) -> io::Result<Self> {
        let mut line = LineStream::connect(port)?;
        line.send(first)?;
        let greeting = read_reply(&mut line)?;
        Ok(Self { line, greeting })
    }

    /// Connects and says EHLO.
    ///
    /// # Panics
    /// When either is refused.
    pub fn hello(port: u16) -> Self {
        let mut client = Self::connect(port).expect("a connection and a greeting");
        client.greeting.clone().is(220);
        client.say("EHLO client.example.net").is(250);
        client
    }

    /// What the server said first.
    pub fn greeting(&self) -> &Reply {
        &self.greeting
    }

    /// The host name of the greeting: in a test's cluster it begins with the node's name.
    pub fn node(&self) -> String {
        let text = self.greeting.lines.first().map_or("", String::as_str);
        text.split(['.', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Sends a command and reads its reply.
    ///
    /// # Panics
    /// When the connection breaks; [`Self::try_say`] is for where it may.
    #[track_caller]
    pub fn say(&mut self, command: &str) -> Reply {
        match self.try_say(command) {
            Ok(reply) => reply,
            Err(error) => panic!("after `{}`: {error}", &command[..command.len().min(80)]),
        }
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn try_say(&mut self, command: &str) -> io::Result<Reply> {
        self.line.send(format!("{command}\r\n").as_bytes())?;
        self.read_reply()
    }

    /// Reads one more reply.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no reply.
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.line)
    }

    /// The lines below, for what is not a command.
    pub fn line(&mut self) -> &mut LineStream {
        &mut self.line
    }

    /// Sends one message to one recipient and returns the last reply: that of the data, or the
    /// first one that is a refusal.
    ///
    /// # Errors
    /// When the connection breaks: the message was not answered.
    pub fn deliver(&mut self, to: &str, message: &[u8]) -> io::Result<Reply> {
        self.deliver_to(&[to], message)
    }

    /// As [`Self::deliver`], to several.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn deliver_to(&mut self, recipients: &[&str], message: &[u8]) -> io::Result<Reply> {
        let mut commands = vec!["MAIL FROM:<sender@example.net>".to_owned()];
        commands.extend(recipients.iter().map(|to| format!("RCPT TO:<{to}>")));
        for command in commands {
            let reply = self.try_say(&command)?;
            if reply.code != 250 {
                return Ok(reply);
            }
        }
        let reply = self.try_say("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        self.line.send(&dotted(message))?;
        self.line.send(b".\r\n")?;
        self.read_reply()
    }

    /// Says QUIT and waits for the server's end.
    ///
    /// # Panics
    /// When the server does not answer 221 and close.
    pub fn quit(mut self) {
        self.say("QUIT").is(221);
        self.line.expect_closed().expect("after QUIT the server closes");
    }
}

/// One whole visit: connect, EHLO, one message, QUIT.
///
/// # Panics
/// When anything but 250 comes.
#[track_caller]
pub fn send(port: u16, to: &str, message: &[u8]) {
    let mut client = SmtpClient::hello(port);
    client.deliver(to, message).expect("an answer").is(250);
    client.quit();
}

/// The message as it goes over the wire: a dot before each line that begins with one
/// (RFC 5321 §4.5.2). A message without CRLF at its end gets one.
pub fn dotted(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 2);
    let mut at_start = true;
    for byte in message {
        if at_start && *byte == b'.' {
            wire.push(b'.');
        }
        wire.push(*byte);
        at_start = wire.ends_with(b"\r\n");
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// Reads a reply of one or more lines (RFC 5321 §4.2.1).
fn read_reply(line: &mut LineStream) -> io::Result<Reply> {
    let mut lines = Vec::new();
    loop {
        let bytes = line.read_line()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, format!("no line of a reply: {text:?}"));
        let code: u16 = text.get(..3).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
        lines.push(text.get(4..).unwrap_or_default().to_owned());
        match text.as_bytes().get(3) {
            Some(b'-') => {}
            Some(b' ') | None => return Ok(Reply { code, lines }),
            Some(_) => return Err(wrong()),
        }
    }
}
