//! A client every millisecond: how long did each wait for the first word, and who got none?
//!
//! It does not know what befalls the nodes. Called by `scenario::failover`.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Voice;

/// From one client to the next.
const EVERY: Duration = Duration::from_millis(1);
/// How long a client waits for the first word: longer than a slow node takes.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// How long it waits for an answer afterwards.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a session does nothing, so that some are open at any time.
const PAUSE: Duration = Duration::from_millis(20);

/// What came of all clients of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// How many came.
    pub(crate) clients: u64,
    /// How many got no greeting, or a refusal.
    pub(crate) failed: u64,
    /// How many were greeted and lost their session afterwards.
    pub(crate) cut: u64,
    /// The longest wait for the first word, of those that failed as well.
    pub(crate) worst: Duration,
    /// What the first that failed has seen, and when.
    pub(crate) first_failure: Option<String>,
    /// How late the clock of this bench was at worst: no wait is known better.
    pub(crate) late: Duration,
}

/// How one visit ended.
enum End {
    Served,
    Cut,
    Failed(String),
}

/// Sends a client to `to` every millisecond for `time` and waits for the last of them.
pub(crate) async fn run(voice: Voice, to: SocketAddr, time: Duration) -> Tally {
    let mut clients = JoinSet::new();
    let mut tally = Tally::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut tick = ticks.tick().await;
    while began.elapsed() < time {
        tally.late = tally.late.max(tick.elapsed());
        let at = began.elapsed();
        clients.spawn(async move { (at, visit(voice, to).await) });
        while let Some(Ok((at, visit))) = clients.try_join_next() {
            tally.add(at, visit);
        }
        tick = ticks.tick().await;
    }
    while let Some(visit) = clients.join_next().await {
        if let Ok((at, visit)) = visit {
            tally.add(at, visit);
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, at: Duration, (wait, end): (Duration, End)) {
        self.clients += 1;
        self.worst = self.worst.max(wait);
        match end {
            End::Served => {}
            End::Cut => self.cut += 1,
            End::Failed(why) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| {
                    format!(
                        "the client of ms {} after {} ms: {why}",
                        at.as_millis(),
                        wait.as_millis()
                    )
                });
            }
        }
    }
}

/// One client: the first word, a pause, one line and its answer, an end.
async fn visit(voice: Voice, to: SocketAddr) -> (Duration, End) {
    let began = Instant::now();
    let greeted = timeout(PATIENCE, greeted(voice, to)).await;
    let wait = began.elapsed();
    let stream = match greeted {
        Ok(Ok(stream)) => stream,
        Ok(Err(why)) => return (wait, End::Failed(why)),
        Err(_) => return (wait, End::Failed("silence".to_owned())),
    };
    sleep(PAUSE).await;
    match timeout(ANSWER_PATIENCE, answered(voice, stream)).await {
        Ok(Ok(())) => (wait, End::Served),
        Ok(Err(_)) | Err(_) => (wait, End::Cut),
    }
}

async fn greeted(voice: Voice, to: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    stream.write_all(voice.hello()).await.map_err(|error| format!("hello: {error}"))?;
    let mut first = [0; 128];
    match stream.read(&mut first).await {
        Ok(0) => Err("an end without a word".to_owned()),
        Ok(length) if voice.greeting().starts_with(&first[..length]) => Ok(stream),
        Ok(length) => Err(format!("{:?}", String::from_utf8_lossy(&first[..length]).trim_end())),
        Err(error) => Err(error.to_string()),
    }
}

async fn answered(voice: Voice, mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(voice.line()).await?;
    let mut answer = [0; 64];
    match stream.read(&mut answer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Somebody who says the same to all and then nothing.
    async fn says(words: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(words).await;
            }
        });
        address
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refusal_and_an_end_are_failures_and_a_lost_session_is_a_cut() {
        for (words, failed, cut) in
            [(Voice::Smtp.refusal(), 1, 0), (b"".as_slice(), 1, 0), (Voice::Smtp.greeting(), 0, 1)]
        {
            let mut tally = Tally::default();
            tally.add(Duration::ZERO, visit(Voice::Smtp, says(words).await).await);
            assert_eq!((tally.failed, tally.cut), (failed, cut), "{tally:?}");
        }
    }
}
