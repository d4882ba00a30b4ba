//! The only place that touches a client's socket: lines in, messages in, replies out, each with a
//! deadline and a limit. It does not know commands; `smtp::serve` and `pop3::serve` use it.
//!
//! Replies are gathered and sent when there is nothing more to read from what has come: a client
//! that pipelines (RFC 2920 §3.2) gets one segment for its whole burst.

pub mod dot;
pub mod line;
mod stream;

use std::io;
use std::time::Duration;

use shared::proxy_header::{self, Parsed, Source};
use shared::shutdown::Stop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use self::dot::DotReader;
use self::line::Cut;
use self::stream::Stream;

/// One read takes up to this.
const READ_BYTES: usize = 16 * 1024;
/// A line that is not over by then will not be: the client is sent away.
const LINE_BYTES_LOST_MAX: usize = 64 * 1024;
/// A PROXY header is at most this long (v2 with all the TLVs we read).
const PROXY_HEADER_BYTES_MAX: usize = 1024;
/// Replies are sent at the latest when this much has gathered.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The connection is over; there is nobody left to tell.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The client hung up.
    #[error("the client hung up")]
    Closed,
    /// The client was silent for too long, or too slow.
    #[error("the client was too slow")]
    TooSlow,
    /// The node is being stopped, and the client was between two commands.
    #[error("the node is stopping")]
    Stopping,
    /// The network's own complaint.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The connection does not begin as agreed with the balancer.
    #[error("PROXY header: {0}")]
    ProxyHeader(&'static str),
    /// There is no TLS with this client.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// A command line without an end.
    #[error("a line of more than {LINE_BYTES_LOST_MAX} octets")]
    EndlessLine,
}

/// One line that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Its bytes, CRLF gone.
    Whole(Vec<u8>),
    /// It was over the limit; its bytes are gone.
    TooLong,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For each line, and for each piece of a message.
    pub silence: Duration,
    /// For a whole message.
    pub message: Duration,
}

/// A connection to a client.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// What has come and was not used, from `used` on.
    received: Vec<u8>,
    used: usize,
    gathered: Vec<u8>,
    patience: Patience,
    stop: Stop,
}

impl Wire {
    /// Takes a connection over. When `stop` is requested, no idle client is waited for.
    pub fn new(stream: TcpStream, patience: Patience, stop: Stop) -> Self {
        let stream = Stream::Plain(stream);
        Self { stream, received: Vec::new(), used: 0, gathered: Vec::new(), patience, stop }
    }

    /// Whether what is said can be read by the two ends only.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Says what was gathered in the clear, then begins TLS. What the client sent in the clear
    /// after its STLS or STARTTLS is dropped unread: another may have put it there, and it must
    /// never be taken for something said inside (RFC 3207 §6, CVE-2021-33515).
    ///
    /// # Errors
    /// The connection is over: no TLS of a kind both know, or none in `patience`.
    pub async fn start_tls(
        &mut self,
        acceptor: &TlsAcceptor,
        patience: Duration,
    ) -> Result<(), WireError> {
        self.send().await?;
        self.shake_hands(acceptor, Vec::new(), patience).await
    }

    /// Begins TLS on a connection that has nothing else; what came with a PROXY header is the
    /// first of it.
    ///
    /// # Errors
    /// As [`Wire::start_tls`].
    pub async fn begin_with_tls(
        &mut self,
        acceptor: &TlsAcceptor,
        patience: Duration,
    ) -> Result<(), WireError> {
        let ahead = self.waiting().to_vec();
        self.shake_hands(acceptor, ahead, patience).await
    }

    async fn shake_hands(
        &mut self,
        acceptor: &TlsAcceptor,
        ahead: Vec<u8>,
        patience: Duration,
    ) -> Result<(), WireError> {
        self.received.clear();
        self.used = 0;
        let deadline = Instant::now() + patience;
        let shaken = timeout_at(deadline, self.stream.encrypt(acceptor, ahead)).await;
        let shaken = shaken.map_err(|_| WireError::TooSlow)?;
        shaken.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => WireError::Closed,
            _ => WireError::Tls(error),
        })
    }

    /// Reads the PROXY header that a balancer sends first.
    ///
    /// # Errors
    /// There is none, or it is faulty, or it does not come.
    pub async fn proxy_header(&mut self) -> Result<Source, WireError> {
        loop {
            match proxy_header::parse(self.waiting()) {
                Parsed::Complete { source, length } => {
                    self.used += length;
                    return Ok(source);
                }
                Parsed::Invalid(what) => return Err(WireError::ProxyHeader(what)),
                Parsed::NeedMore if self.waiting().len() > PROXY_HEADER_BYTES_MAX => {
                    return Err(WireError::ProxyHeader("it is too long"));
                }
                Parsed::NeedMore => self.receive().await?,
            }
        }
    }

    /// Reads a line of at most `line_bytes_max` octets (CRLF not counted). `idle`: the client is
    /// between two things, so that a stop need not wait for it.
    ///
    /// # Errors
    /// The connection is over, or the node is being stopped.
    pub async fn line(&mut self, line_bytes_max: usize, idle: bool) -> Result<Line, WireError> {
        loop {
            match line::cut(self.waiting(), line_bytes_max) {
                Cut::Line(length) => {
                    let line = self.waiting()[..length].to_vec();
                    self.used += length + 2;
                    return Ok(Line::Whole(line));
                }
                Cut::TooLong(length) => {
                    self.used += length + 2;
                    return Ok(Line::TooLong);
                }
                Cut::Incomplete if self.waiting().len() > LINE_BYTES_LOST_MAX => {
                    return Err(WireError::EndlessLine);
                }
                Cut::Incomplete => {
                    self.send().await?;
                    let stop = self.stop.clone();
                    tokio::select! {
                        received = self.receive() => received?,
                        () = stop.requested(), if idle => return Err(WireError::Stopping),
                    }
                }
            }
        }
    }

    /// Reads a message up to its end, dots taken off, handing its pieces to `each`. What `each`
    /// does with them is its own affair: a message that cannot be kept is read to its end as well,
    /// or its rest would be taken for commands.
    ///
    /// # Errors
    /// The connection is over, or it took longer than a message may.
    pub async fn message(
        &mut self,
        reader: &mut DotReader,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), WireError> {
        let deadline = Instant::now() + self.patience.message;
        let mut piece = Vec::with_capacity(READ_BYTES);
        loop {
            let read = reader.feed(self.waiting(), &mut piece);
            self.used += read.consumed;
            each(&piece);
            piece.clear();
            if read.ended {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(WireError::TooSlow);
            }
            self.receive().await?;
        }
    }

    /// Gathers bytes to be sent; they go when the client is waited for, or with [`Wire::send`].
    ///
    /// # Errors
    /// The connection is over.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < GATHERED_BYTES_MAX { Ok(()) } else { self.send().await }
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn send(&mut self) -> Result<(), WireError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.patience.silence;
        let mut sent = 0;
        // Each piece the client takes earns it more time; a client that takes none is too slow.
        while sent < self.gathered.len() {
            let written = timeout_at(deadline, self.stream.write(&self.gathered[sent..])).await;
            match written.map_err(|_| WireError::TooSlow)?? {
                0 => return Err(WireError::Closed),
                length => sent += length,
            }
        }
        // TLS keeps what the socket did not take.
        timeout_at(deadline, self.stream.flush()).await.map_err(|_| WireError::TooSlow)??;
        self.gathered.clear();
        if self.gathered.capacity() > READ_BYTES {
            self.gathered.shrink_to(READ_BYTES);
        }
        Ok(())
    }

    /// Sends what was gathered and ends the connection: an orderly end, after which the client's
    /// last words are read and dropped for a moment, so that no reset overtakes the last reply.
    pub async fn close(mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        if self.send().await.is_err()
            || !matches!(timeout_at(deadline, self.stream.shutdown()).await, Ok(Ok(())))
        {
            return;
        }
        let mut rest = [0; 4096];
        for _ in 0..64 {
            match timeout_at(deadline, self.stream.read(&mut rest)).await {
                Ok(Ok(1..)) => {}
                _ => return,
            }
        }
    }

    fn waiting(&self) -> &[u8] {
        &self.received[self.used..]
    }

    /// Sends what was gathered and waits for more bytes.
    async fn receive(&mut self) -> Result<(), WireError> {
        self.send().await?;
        if self.used == self.received.len() {
            // An idle connection holds no more than one read's worth.
            self.received.clear();
            self.received.shrink_to(READ_BYTES);
        } else {
            self.received.drain(..self.used);
        }
        self.used = 0;
        self.received.reserve(READ_BYTES);
        let deadline = Instant::now() + self.patience.silence;
        let read = timeout_at(deadline, self.stream.read_buf(&mut self.received)).await;
        match read.map_err(|_| WireError::TooSlow)? {
            Ok(0) => Err(WireError::Closed),
            Ok(_) => Ok(()),
            // Many clients end TLS by ending the connection, without a close_notify.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(WireError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}
