//! A connection that is read line by line: the ground of the two mail clients.
//! It does not know any protocol; `smtp_client`, `pop3_client` and `script` stand on it.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustls::ClientConnection;

use crate::{ReadSome, tls};

/// A server that says nothing for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client's connection to 127.0.0.1 with what was read ahead.
#[derive(Debug)]
pub struct LineStream {
    stream: TcpStream,
    tls: Option<ClientConnection>,
    ahead: Vec<u8>,
    taken: usize,
}

impl LineStream {
    /// Connects; every read and write has 30 s.
    ///
    /// # Errors
    /// What the connect said.
    pub fn connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tls: None, ahead: Vec::new(), taken: 0 })
    }

    /// Begins TLS with a server whose certificate is the one in `trusted`, for `localhost`.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// When the server said something more in the clear.
    pub fn encrypt(&mut self, trusted: &Path) -> io::Result<()> {
        assert_eq!(self.ahead[self.taken..].escape_ascii().to_string(), "", "said in the clear");
        self.tls = Some(tls::shake_hands(&mut self.stream, trusted)?);
        Ok(())
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket said.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).write_all(bytes),
            None => self.stream.write_all(bytes),
        }
    }

    /// Sends each byte in a packet of its own.
    ///
    /// # Errors
    /// What the socket said.
    pub fn send_byte_by_byte(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.iter().try_for_each(|byte| self.stream.write_all(&[*byte]))
    }

    /// Ends the sending side; reading goes on.
    ///
    /// # Errors
    /// What the socket said.
    pub fn end_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// One line without its end. A line must end with CRLF.
    ///
    /// # Errors
    /// `UnexpectedEof` when the server closed, `TimedOut`/`WouldBlock` when it was silent,
    /// `InvalidData` when a line ended with LF alone.
    pub fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut looked = self.taken;
        loop {
            let found = self.ahead[looked..].iter().position(|byte| *byte == b'\n');
            if let Some(at) = found {
                let end = looked + at;
                let line = &self.ahead[self.taken..end];
                let Some(line) = line.strip_suffix(b"\r") else {
                    let shown = String::from_utf8_lossy(line).into_owned();
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a line ended with LF alone: {shown:?}"),
                    ));
                };
                let line = line.to_vec();
                self.taken = end + 1;
                return Ok(line);
            }
            looked = self.ahead.len();
            if self.fill()? == 0 {
                let rest = String::from_utf8_lossy(&self.ahead[self.taken..]).into_owned();
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the server closed the connection; before that: {rest:?}"),
                ));
            }
            looked -= self.forget_taken();
        }
    }

    /// Whether the server closes now (rather than say something more or stay silent).
    ///
    /// # Errors
    /// When it says something, or nothing for 30 s.
    pub fn expect_closed(&mut self) -> Result<(), String> {
        match self.read_line() {
            Ok(line) => Err(format!("a line {:?}", String::from_utf8_lossy(&line))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
                Err("the connection stays open".to_owned())
            }
            Err(_) => Ok(()),
        }
    }

    /// The stream itself, for options and odd ways to end it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 65_536];
        let count = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read_some(&mut piece)?,
            None => self.stream.read_some(&mut piece)?,
        };
        self.ahead.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    /// Drops what was handed out and says how many bytes that were.
    fn forget_taken(&mut self) -> usize {
        let taken = std::mem::take(&mut self.taken);
        self.ahead.drain(..taken);
        taken
    }
}
