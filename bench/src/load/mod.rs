//! The load generator: many clients at once in one thread, and what came of them.
//!
//! It does not know what it talks to, and starts nothing. Called by `main` (`bench load`) and by
//! the scenarios. One file per kind of load.

pub(crate) mod both;
pub(crate) mod bulk;
pub(crate) mod churn;
pub(crate) mod conversation;
pub(crate) mod idle;
pub(crate) mod pop3;
pub(crate) mod roundtrip;
pub(crate) mod smtp;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One client's step (a connection, a message) may take so long; then it has failed.
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// After so many failures a load gives up: the peer is gone.
const FAILURES_MAX: u64 = 1_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// As many as go into this time.
    Time(Duration),
    /// This many.
    Count(u64),
}

/// Gives out the work: each ticket is one step and carries its number, from 0.
#[derive(Clone)]
pub(crate) struct Tickets {
    next: Rc<Cell<u64>>,
    count: u64,
    deadline: Option<Instant>,
}

impl Tickets {
    /// Tickets for one load that starts now.
    pub(crate) fn new(amount: Amount) -> Self {
        let (count, deadline) = match amount {
            Amount::Time(time) => (u64::MAX, Some(Instant::now() + time)),
            Amount::Count(count) => (count, None),
        };
        Self { next: Rc::new(Cell::new(0)), count, deadline }
    }

    /// The next ticket, or none when the load is over.
    pub(crate) fn take(&self) -> Option<u64> {
        let over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let number = self.next.get();
        if over || number >= self.count {
            return None;
        }
        self.next.set(number + 1);
        Some(number)
    }
}

/// Times of single steps, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Keeps one time.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// The time that `share` (0 to 1) of all steps did not exceed, in microseconds; 0 without any.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        // Nearest rank; a share of 1 is the last one.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=last")]
        let rank = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        f64::from(sorted[rank.min(last)])
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Steps that ended as they should: connections closed, round trips, messages answered 250.
    pub(crate) done: u64,
    /// Steps cut off by an error of the network or a deadline.
    pub(crate) failed: u64,
    /// Steps the peer refused, by its reply code: a 451 is not a delivery.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// What the first failure or refusal said.
    pub(crate) first_trouble: Option<String>,
    /// Bytes of payload moved.
    pub(crate) bytes: u64,
    /// From the start to the end of the last step.
    pub(crate) took: Duration,
    /// A time for each step done.
    pub(crate) latencies: Latencies,
    /// Deliveries by mailbox number (SMTP only).
    pub(crate) delivered: BTreeMap<u64, u64>,
}

impl Outcome {
    /// Steps per second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// Steps that failed or were refused.
    pub(crate) fn troubles(&self) -> u64 {
        self.failed + self.refused.values().sum::<u64>()
    }

    fn finish_step(&mut self, time: Duration) {
        self.done += 1;
        self.latencies.add(time);
    }

    fn trouble(&mut self, fault: &Fault) {
        match fault {
            Fault::Wire(_) => self.failed += 1,
            Fault::Refused { code, .. } => *self.refused.entry(*code).or_default() += 1,
        }
        self.first_trouble.get_or_insert_with(|| fault.to_string());
    }

    fn absorb(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.bytes += other.bytes;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        for (mailbox, count) in other.delivered {
            *self.delivered.entry(mailbox).or_default() += count;
        }
        self.latencies.0.extend(other.latencies.0);
        self.first_trouble = self.first_trouble.take().or(other.first_trouble);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "done={} failed={} refused={} seconds={:.3} rate={:.1} p50_us={:.0} p99_us={:.0}",
            self.done,
            self.failed,
            self.refused.values().sum::<u64>(),
            self.took.as_secs_f64(),
            self.rate(),
            self.latencies.quantile(0.5),
            self.latencies.quantile(0.99),
        )?;
        if self.bytes > 0 {
            write!(out, " bytes={}", self.bytes)?;
        }
        for (code, count) in &self.refused {
            write!(out, " refused_{code}={count}")?;
        }
        match &self.first_trouble {
            Some(text) => write!(out, " first_trouble={text:?}"),
            None => Ok(()),
        }
    }
}

/// Why a step did not end as it should.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection broke, was refused or took too long.
    Wire(io::Error),
    /// The peer said no.
    Refused {
        /// The reply code; 0 where the protocol has none (POP3).
        code: u16,
        /// The reply's last line.
        line: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(out),
            Self::Refused { line, .. } => out.write_str(line),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Wire(error)
    }
}

/// Runs one step under the generator's deadline.
async fn limited<T>(step: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match tokio::time::timeout(STEP_LIMIT, step).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Wire(io::Error::new(io::ErrorKind::TimedOut, "no answer in 20 s"))),
    }
}

/// Notes a fault; false when the client should give up. The pause keeps a dead peer from being
/// hammered.
async fn go_on_after(outcome: &mut Outcome, fault: &Fault) -> bool {
    outcome.trouble(fault);
    tokio::time::sleep(Duration::from_millis(10)).await;
    outcome.troubles() < FAILURES_MAX
}

/// Runs `clients` at once in this thread and adds up what they did.
async fn run_clients<F>(clients: usize, mut client: impl FnMut(usize) -> F) -> Outcome
where
    F: Future<Output = Outcome> + 'static,
{
    let start = Instant::now();
    let local = tokio::task::LocalSet::new();
    let running: Vec<_> = (0..clients).map(|number| local.spawn_local(client(number))).collect();
    let mut total = Outcome::default();
    local
        .run_until(async {
            for task in running {
                match task.await {
                    Ok(outcome) => total.absorb(outcome),
                    Err(error) => total.trouble(&Fault::Wire(io::Error::other(error))),
                }
            }
        })
        .await;
    total.took = start.elapsed();
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut times = Latencies::default();
        assert_eq!(times.quantile(0.5), 0.0);
        (1..=100).rev().for_each(|time| times.add(Duration::from_micros(time)));
        let of = [0.0, 0.5, 0.99, 1.0].map(|share| times.quantile(share));
        assert_eq!(of, [1.0, 50.0, 99.0, 100.0]);
    }

    #[test]
    fn a_count_gives_that_many_tickets() {
        let tickets = Tickets::new(Amount::Count(3));
        let other = tickets.clone();
        assert_eq!([tickets.take(), other.take(), tickets.take()], [Some(0), Some(1), Some(2)]);
        assert_eq!(other.take(), None);
    }
}
