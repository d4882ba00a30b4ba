//! A small POP3 client (RFC 1939).
//! It does not know what a test wants; tests read their mail with it.

use std::io;
use std::path::Path;

use crate::line::LineStream;
use crate::user::User;

/// A connection that has been greeted.
#[derive(Debug)]
pub struct Pop3Client {
    line: LineStream,
    greeting: String,
}

impl Pop3Client {
    /// Connects and reads the greeting, whatever it is.
    ///
    /// # Errors
    /// When there is no connection or no greeting.
    pub fn connect(port: u16) -> io::Result<Self> {
        let mut line = LineStream::connect(port)?;
        let greeting = read_text(&mut line)?;
        Ok(Self { line, greeting })
    }

    /// Connects to a port where TLS comes first, and reads the greeting.
    ///
    /// # Errors
    /// When there is no connection, no TLS with this certificate, or no greeting.
    pub fn connect_tls(port: u16, trusted: &Path) -> io::Result<Self> {
        let mut line = LineStream::connect(port)?;
        line.encrypt(trusted)?;
        let greeting = read_text(&mut line)?;
        Ok(Self { line, greeting })
    }

    /// Connects and logs in.
    ///
    /// # Panics
    /// When either is refused.
    #[track_caller]
    pub fn login(port: u16, user: User) -> Self {
        let mut client = Self::connect(port).expect("a connection and a greeting");
        client.ok(&format!("USER {}", user.address));
        client.ok(&format!("PASS {}", user.password));
        client
    }

    /// What the server said first.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Sends a command and returns the one line that answers it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn say(&mut self, command: &str) -> io::Result<String> {
        self.line.send(format!("{command}\r\n").as_bytes())?;
        read_text(&mut self.line)
    }

    /// Sends a command that must be answered `+OK`, and returns the text behind it.
    ///
    /// # Panics
    /// When the answer is another.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        let answer = self.say(command).expect("an answer");
        let text = answer.strip_prefix("+OK");
        let text = text.unwrap_or_else(|| panic!("`{command}` was answered {answer:?}"));
        text.trim_start().to_owned()
    }

    /// Sends a command that must be answered `+OK` and more lines up to a single dot.
    /// Returns these lines' bytes, dots taken off, each with its CRLF.
    ///
    /// # Panics
    /// When the answer is another.
    #[track_caller]
    pub fn long(&mut self, command: &str) -> Vec<u8> {
        self.ok(command);
        let mut text = Vec::new();
        loop {
            let line = self.line.read_line().expect("the lines of a long answer");
            match line.strip_prefix(b".") {
                Some(b"") => return text,
                Some(rest) => text.extend_from_slice(rest),
                None => text.extend_from_slice(&line),
            }
            text.extend_from_slice(b"\r\n");
        }
    }

    /// The lines of a long answer as texts.
    ///
    /// # Panics
    /// When the answer is another.
    #[track_caller]
    pub fn lines(&mut self, command: &str) -> Vec<String> {
        let text = self.long(command);
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// How many messages lie there, and their octets together.
    ///
    /// # Panics
    /// When STAT is refused.
    #[track_caller]
    pub fn stat(&mut self) -> (usize, u64) {
        let answer = self.ok("STAT");
        let mut numbers = answer.split(' ');
        let count = numbers.next().and_then(|n| n.parse().ok());
        let octets = numbers.next().and_then(|n| n.parse().ok());
        let (Some(count), Some(octets)) = (count, octets) else {
            panic!("STAT was answered {answer:?}")
        };
        (count, octets)
    }

    /// The bytes of message `number`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn retr(&mut self, number: usize) -> Vec<u8> {
        self.long(&format!("RETR {number}"))
    }

    /// Says QUIT and waits for the server's end.
    ///
    /// # Panics
    /// When the server does not answer `+OK` and close.
    #[track_caller]
    pub fn quit(mut self) {
        self.ok("QUIT");
        self.line.expect_closed().expect("after QUIT the server closes");
    }

    /// The lines below, for what is not a command.
    pub fn line(&mut self) -> &mut LineStream {
        &mut self.line
    }
}

/// All messages of a user, in the order of the maildrop.
///
/// # Panics
/// When anything is refused.
#[track_caller]
pub fn read_all(port: u16, user: User) -> Vec<Vec<u8>> {
    let mut client = Pop3Client::login(port, user);
    let (count, octets) = client.stat();
    let messages: Vec<_> = (1..=count).map(|number| client.retr(number)).collect();
    let read: usize = messages.iter().map(Vec::len).sum();
    assert_eq!(read as u64, octets, "STAT's octets are those of the {count} messages");
    client.quit();
    messages
}

fn read_text(line: &mut LineStream) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&line.read_line()?).into_owned())
}
