//! Bulk both ways at once over one connection, checked to the last octet; the reader here is slow.
//!
//! It does not know what carries the bytes. Called by `scenario::slow`; the far end is `bench
//! nodes`, which calls [`say`] and [`hear`] too and tells in the end what it has said and heard.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Fault;

/// What one write hands over; streams are a multiple of it.
pub(crate) const CHUNK: u64 = 256 * 1024;
/// Where the octets of each direction begin.
pub(crate) const UP: u64 = 0x9e37_79b9_7f4a_7c15;
pub(crate) const DOWN: u64 = 0xd1b5_4a32_d192_ed03;
/// The slow reader begins by reading nothing: all there is between the ends fills up.
const STALL: Duration = Duration::from_secs(1);

/// A checksum as text.
fn text(sum: Sha256) -> String {
    sum.finalize().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Sends so many octets, none like another's neighbours; gives their checksum.
pub(crate) async fn say(
    into: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    bytes: u64,
) -> io::Result<String> {
    let mut chunk = vec![0; usize::try_from(CHUNK).unwrap_or(usize::MAX)];
    let (mut sum, mut state) = (Sha256::new(), seed);
    for _ in 0..bytes / CHUNK {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        sum.update(&chunk);
        into.write_all(&chunk).await?;
    }
    into.flush().await?;
    Ok(text(sum))
}

/// Takes so many octets, `pace` a second at most; gives their checksum.
pub(crate) async fn hear(
    from: &mut (impl AsyncRead + Unpin),
    bytes: u64,
    pace: Option<u64>,
) -> io::Result<String> {
    let mut chunk = vec![0; usize::try_from(CHUNK).unwrap_or(usize::MAX)];
    let (mut sum, mut heard) = (Sha256::new(), 0);
    if pace.is_some() {
        tokio::time::sleep(STALL).await;
    }
    let began = Instant::now();
    while heard < bytes {
        let most = usize::try_from((bytes - heard).min(CHUNK)).unwrap_or(usize::MAX);
        let count = from.read(&mut chunk[..most]).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sum.update(&chunk[..count]);
        heard += count as u64;
        if let Some(pace) = pace {
            let due = Duration::from_secs_f64(heard as f64 / pace as f64);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    Ok(text(sum))
}

/// So many octets each way at once; this end reads `pace` a second. Fails unless every octet has
/// come through as it was said, in both directions.
pub(crate) async fn run(to: SocketAddr, bytes: u64, pace: u64) -> Result<Duration, Fault> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to).await?;
    if stream.read(&mut [0; 512]).await? == 0 {
        return Err(Fault::Wire(io::ErrorKind::UnexpectedEof.into()));
    }
    stream.write_all(format!("BOTH {bytes}\r\n").as_bytes()).await?;
    let (mut from, mut into) = stream.split();
    let (said, heard) =
        tokio::try_join!(say(&mut into, UP, bytes), hear(&mut from, bytes, Some(pace)))?;
    let mut answer = String::new();
    from.read_to_string(&mut answer).await?;
    if answer.trim_end() == format!("{said} {heard}") {
        return Ok(began.elapsed());
    }
    let line = format!("said {said}, heard {heard}; the far end heard and said: {answer:?}");
    Err(Fault::Refused { code: 0, line })
}
