//! Bulk upward: a few streams that push bytes as fast as the other end takes them.
//!
//! It does not know what carries the bytes. Called by `main` (`bench load up`) and
//! `scenario::proxy`. The far end is `bench nodes`: it is told how many bytes come, and answers
//! and ends when it has them all. No half-close is needed: nginx does not pass one on by itself.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fault, Outcome, run_clients};

/// What one write hands over.
const CHUNK: usize = 256 * 1024;

/// A whole stream may take so long.
const STREAM_LIMIT: Duration = Duration::from_secs(60);

/// Pushes `bytes_each` through each of `streams` at once.
pub(crate) async fn run(to: SocketAddr, streams: usize, bytes_each: u64) -> Outcome {
    let chunk: Rc<Vec<u8>> = Rc::new(vec![b'x'; CHUNK]);
    run_clients(streams, |_| client(to, Rc::clone(&chunk), bytes_each)).await
}

async fn client(to: SocketAddr, chunk: Rc<Vec<u8>>, bytes: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let start = Instant::now();
    let late = || Err(Fault::Wire(std::io::ErrorKind::TimedOut.into()));
    let limited = tokio::time::timeout(STREAM_LIMIT, push(to, &chunk, bytes));
    match limited.await.unwrap_or_else(|_| late()) {
        Ok(()) => {
            outcome.finish_step(start.elapsed());
            outcome.bytes = bytes;
        }
        Err(fault) => outcome.trouble(&fault),
    }
    outcome
}

async fn push(to: SocketAddr, chunk: &[u8], bytes: u64) -> Result<(), Fault> {
    let mut stream = TcpStream::connect(to).await?;
    let mut greeting = [0; 512];
    if stream.read(&mut greeting).await? == 0 {
        return Err(Fault::Wire(std::io::ErrorKind::UnexpectedEof.into()));
    }
    stream.write_all(format!("SINK {bytes}\r\n").as_bytes()).await?;
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        stream.write_all(&chunk[..part]).await?;
        left -= part as u64;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.trim_end() == bytes.to_string() {
        return Ok(());
    }
    Err(Fault::Refused { code: 0, line: format!("{bytes} bytes sent, counted: {answer:?}") })
}
