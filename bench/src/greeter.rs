//! The node behind the balancers under test: it greets first, as mail servers do, and does so
//! little that what is measured is what stands before it.
//!
//! It does not know the benches. Called by `main` (`bench nodes`), which the scenarios start as a
//! process of its own; the tests use it in their own process.
//!
//! After `220` a line decides: `QUIT` is answered 221 and the end comes from here; `ECHO` sends
//! everything back; `SINK COUNT` takes that many bytes, answers with the count and ends; `BOTH
//! COUNT` says as many at the same time, and ends with the checksums of what it heard and said. The
//! commands of SMTP get their replies and the mail is thrown away (recipients that begin with
//! `refuse` meet 451), so that the generator can be tried without a mail server.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::load::both;

/// Length of the fixed part of a PROXY header, version 2; its last two bytes count the rest.
const PROXY_BYTES: usize = 16;

/// Takes connections until the task is dropped. `proxied`: each begins with a PROXY v2 header.
pub(crate) async fn serve(listener: TcpListener, proxied: bool) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A client or a health check that goes away is no one's fault.
                    let _ = guest(stream, proxied).await;
                });
            }
            // Out of descriptors: those that close make room.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

/// The life of one connection.
async fn guest(mut stream: TcpStream, proxied: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if proxied {
        let mut header = [0; PROXY_BYTES];
        stream.read_exact(&mut header).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        stream.read_exact(&mut vec![0; rest]).await?;
    }
    stream.write_all(b"220 node.bench.test ESMTP\r\n").await?;
    let mut unread = Vec::with_capacity(512);
    loop {
        let Some(line) = next_line(&mut stream, &mut unread).await? else { return Ok(()) };
        let line = line.to_ascii_uppercase();
        let verb = &line[..line.len().min(4)];
        let reply: &[u8] = match verb {
            b"QUIT" => return stream.write_all(b"221 bye\r\n").await,
            b"ECHO" => return echo(stream).await,
            b"SINK" => return sink(stream, unread.len(), &line).await,
            b"BOTH" => return both_ways(stream, &unread, &line).await,
            b"RCPT" if line.windows(8).any(|part| part == b":<REFUSE") => b"451 later\r\n",
            b"DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                skip_message(&mut stream, &mut unread).await?;
                b"250 thrown away\r\n"
            }
            _ => b"250 ok\r\n",
        };
        stream.write_all(reply).await?;
    }
}

/// The next line without its end; none at the end of the stream.
async fn next_line(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = unread.drain(..=end).collect();
            line.truncate(end.saturating_sub(1));
            return Ok(Some(line));
        }
        if unread.len() > 4096 || stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads to the line that is a lone dot.
async fn skip_message(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<()> {
    while let Some(line) = next_line(stream, unread).await? {
        if line == b"." {
            return Ok(());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"250 as you say\r\n").await?;
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn both_ways(mut stream: TcpStream, already: &[u8], line: &[u8]) -> io::Result<()> {
    let wanted = line.get(5..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let Some(wanted) = wanted else { return stream.write_all(b"501 how many?\r\n").await };
    let (from, mut into) = stream.split();
    let mut from = already.chain(from);
    let (said, heard) = tokio::try_join!(
        both::say(&mut into, both::DOWN, wanted),
        both::hear(&mut from, wanted, None)
    )?;
    into.write_all(format!("{heard} {said}\r\n").as_bytes()).await
}

async fn sink(mut stream: TcpStream, already: usize, line: &[u8]) -> io::Result<()> {
    let wanted = line.get(5..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let Some(wanted) = wanted else { return stream.write_all(b"501 how many?\r\n").await };
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = already as u64;
    while bytes < wanted {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
    }
    stream.write_all(format!("{bytes}\r\n").as_bytes()).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::load::roundtrip::Ball;
    use crate::load::smtp::Mail;
    use crate::load::{Amount, bulk, churn, idle, roundtrip, smtp};

    /// A greeting node in this thread.
    async fn node() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, false));
        address
    }

    fn mail(recipient: &str, keep: bool) -> Mail {
        Mail { size: 2000, mailboxes: 3, recipient: recipient.to_owned(), keep }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn every_load_does_what_was_asked_and_no_more() {
        let to = node().await;
        let amount = Amount::Count(50);
        for outcome in [
            churn::run(to, 4, amount).await,
            roundtrip::run(to, 4, amount, Ball::Echo).await,
            roundtrip::run(to, 4, amount, Ball::Noop).await,
            smtp::run(to, 4, amount, mail("user{}@example.test", true)).await,
            smtp::run(to, 4, amount, mail("user{}@example.test", false)).await,
        ] {
            assert_eq!((outcome.done, outcome.troubles()), (50, 0), "{outcome}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn mail_is_spread_over_the_mailboxes() {
        let outcome =
            smtp::run(node().await, 4, Amount::Count(10), mail("u{}@example.test", true)).await;
        let counts: Vec<_> = outcome.delivered.into_iter().collect();
        assert_eq!(counts, [(0, 4), (1, 3), (2, 3)]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_451_is_no_delivery() {
        let refused = mail("refuse@example.test", true);
        let outcome = smtp::run(node().await, 2, Amount::Count(6), refused).await;
        assert_eq!((outcome.done, outcome.refused.get(&451)), (0, Some(&6)), "{outcome}");
        assert_eq!(outcome.first_trouble.as_deref(), Some("451 later"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bulk_is_counted_at_the_far_end() {
        let outcome = bulk::run(node().await, 2, 3_000_001).await;
        assert_eq!((outcome.done, outcome.bytes, outcome.troubles()), (2, 6_000_002, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn both_ways_every_octet_is_compared() {
        let took = both::run(node().await, 8 * both::CHUNK, 1 << 30).await;
        took.expect("all of them came through");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn idle_connections_are_held_and_end() {
        let held = idle::fill(node().await, 100).await.unwrap();
        assert_eq!(held.len(), 100);
        idle::leave(held).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dead_peer_is_a_failure() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let outcome = churn::run(gone, 1, Amount::Count(2)).await;
        assert_eq!((outcome.done, outcome.failed), (0, 2), "{outcome}");
    }
}
