//! One client's side of a protocol of lines: send, read a whole reply.
//!
//! It does not know which command comes when. Called by the kinds of load that talk.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Fault;

/// The longest reply that is understood.
const REPLY_MAX: usize = 64 * 1024;

/// A connection and what was read of it beyond the last reply.
pub(crate) struct Conversation {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Conversation {
    /// Connects; sends what is written at once (TCP_NODELAY).
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::with_capacity(512) })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads one line with its end.
    pub(crate) async fn line(&mut self) -> io::Result<String> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.unread[seen..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=seen + end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            seen = self.unread.len();
            if seen > REPLY_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without end"));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads an SMTP reply of one line or more (RFC 5321 §4.2.1) and expects its first digit.
    pub(crate) async fn reply(&mut self, class: u8) -> Result<u16, Fault> {
        loop {
            let line = self.line().await?;
            if line.as_bytes().get(3) == Some(&b'-') {
                continue;
            }
            let code = line.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            if line.as_bytes()[0] == class {
                return Ok(code);
            }
            return Err(Fault::Refused { code, line: line.trim_end().to_owned() });
        }
    }

    /// Sends a command and expects the first digit of its reply.
    pub(crate) async fn ask(&mut self, command: &str, class: u8) -> Result<u16, Fault> {
        self.send(command.as_bytes()).await?;
        self.reply(class).await
    }

    /// Sends a command, if there is one, and expects POP3's `+OK` (RFC 1939 §3).
    pub(crate) async fn pop3(&mut self, command: &str) -> Result<String, Fault> {
        self.send(command.as_bytes()).await?;
        let line = self.line().await?;
        if line.starts_with("+OK") {
            return Ok(line);
        }
        Err(Fault::Refused { code: 0, line: line.trim_end().to_owned() })
    }

    /// Reads on until the peer ends the connection; gives the number of bytes.
    pub(crate) async fn rest(&mut self) -> io::Result<usize> {
        let mut bytes = self.unread.len();
        self.unread.clear();
        loop {
            match self.stream.read_buf(&mut self.unread).await? {
                0 => return Ok(bytes),
                more => bytes += more,
            }
            self.unread.clear();
        }
    }
}
