//! The one writer of a process: a thread of its own that takes what waits, up to a limit, and
//! commits it in one transaction (measured: 3 to 7 times the rate of one commit each).
//! It does not know what a change means; `messages` inserts a group, the others bring closures.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::lane::{self, Lane};
use super::messages::Delivery;
use super::sql::primary::Primary;
use super::sql::{Connection, group};
use crate::metrics;

/// Deliveries in one transaction; beyond 32 a larger group gains some 5 %.
const GROUP_MAX: usize = 64;
/// Rows in one transaction, for deliveries to many mailboxes.
const GROUP_ROWS_MAX: usize = 1_000;
/// Changes that wait; more waiting ones than this wait outside.
const QUEUE_MAX: usize = 4_096;
/// How long a change may wait for its turn and its commit; what has not begun by then never does.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// A future that borrows the writer's connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
type Change =
    Box<dyn for<'l> FnOnce(&'l mut Lane) -> Pin<Box<dyn Future<Output = ()> + 'l>> + Send>;

enum Job {
    Deliver(WaitingDelivery),
    Change(Change),
}

struct WaitingDelivery {
    delivery: Delivery,
    give_up: Instant,
    answer: Answer<()>,
}

/// The door to the writer's thread.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// Whether deliveries are checked for room: not before a user with a quota was looked up.
    quotas: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread, which owns its connection until the last door is dropped.
    pub(super) fn start(primary: Primary) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::file("start the writer's runtime", error))?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let quotas = Arc::new(AtomicBool::new(false));
        let lane = Lane::of(primary, quotas.clone());
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(write(lane, queue)))
            .map_err(|error| StoreError::file("start the writer's thread", error))?;
        Ok(Self { jobs, quotas })
    }

    /// A user with a quota was looked up: from now on each delivery is checked for room in its
    /// transaction. Whatever is delivered to was looked up by this process before.
    pub(super) fn watch_quotas(&self) {
        self.quotas.store(true, Ordering::Relaxed);
    }

    /// Commits a delivery together with those that wait beside it: all its rows, or none.
    /// `patience`: a delivery that has not begun to be written by then never is.
    ///
    /// # Errors
    /// [`StoreError::Late`]: the outcome is not known here. Every other: nothing was kept.
    pub(super) async fn deliver(
        &self,
        delivery: Delivery,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let give_up = Instant::now() + patience;
        self.send(Job::Deliver(WaitingDelivery { delivery, give_up, answer })).await?;
        // Twice the patience: what began in time may take as long again, and its word counts.
        await_answer(answered, patience * 2).await
    }

    /// Runs `work` in a transaction of its own; commits if it returns `Ok`.
    ///
    /// # Errors
    /// What `work` returned, or the database said.
    pub(super) async fn change<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let give_up = Instant::now() + CHANGE_PATIENCE;
        let change: Change = Box::new(move |lane| {
            Box::pin(async move {
                let outcome = if Instant::now() > give_up {
                    Err(StoreError::Late("a change of the database"))
                } else {
                    lane.transaction(give_up, async |connection, _| work(connection).await).await
                };
                drop(answer.send(outcome));
            })
        });
        self.send(Job::Change(change)).await?;
        await_answer(answered, CHANGE_PATIENCE * 2).await
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        match tokio::time::timeout(CHANGE_PATIENCE, self.jobs.send(job)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Err(StoreError::Late("the queue of the database writer")),
        }
    }
}

async fn await_answer<T>(
    answered: oneshot::Receiver<Result<T, StoreError>>,
    patience: Duration,
) -> Result<T, StoreError> {
    match tokio::time::timeout(patience, answered).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(StoreError::Ended),
        Err(_) => Err(StoreError::Late("a commit")),
    }
}

/// The thread's whole life.
async fn write(mut lane: Lane, mut queue: mpsc::Receiver<Job>) {
    let mut next = queue.recv().await;
    while let Some(job) = next.take() {
        match job {
            Job::Change(change) => change(&mut lane).await,
            Job::Deliver(first) => {
                let mut group = vec![first];
                next = fill(&mut group, &mut queue);
                deliver(&mut lane, group).await;
            }
        }
        if next.is_none() {
            next = queue.recv().await;
        }
    }
}

/// Takes what waits, without waiting for more. Returns the first job that does not belong.
fn fill(group: &mut Vec<WaitingDelivery>, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
    let mut rows = group.iter().map(|waiting| waiting.delivery.messages.len()).sum::<usize>();
    while group.len() < GROUP_MAX && rows < GROUP_ROWS_MAX {
        match queue.try_recv() {
            Ok(Job::Deliver(waiting)) => {
                rows += waiting.delivery.messages.len();
                group.push(waiting);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}

/// Commits a group; if that fails, each on its own, so that one bad row hurts nobody else.
async fn deliver(lane: &mut Lane, group: Vec<WaitingDelivery>) {
    let now = Instant::now();
    let (group, late): (Vec<_>, Vec<_>) = group.into_iter().partition(|one| one.give_up > now);
    for waiting in late {
        // Not begun, so the outcome is known: not kept.
        drop(waiting.answer.send(Err(StoreError::Conflict("waited too long to begin".to_owned()))));
    }
    let all: Vec<&Delivery> = group.iter().map(|waiting| &waiting.delivery).collect();
    if all.is_empty() {
        return;
    }
    metrics::commit_group(all.len());
    let give_up = group.iter().map(|waiting| waiting.give_up).max().unwrap_or(now);
    if let Err(error) = lane.keep(give_up, &all).await {
        tracing::warn!(%error, deliveries = group.len(), "a group was not kept, trying one by one");
        for waiting in group {
            let outcome = deliver_again(lane, &waiting).await;
            drop(waiting.answer.send(outcome));
        }
        return;
    }
    for waiting in group {
        drop(waiting.answer.send(Ok(())));
    }
}

/// One delivery after its group failed. Should the group's commit have been done all the same, its
/// rows are there: what is there decides, not the error.
async fn deliver_again(lane: &mut Lane, waiting: &WaitingDelivery) -> Result<(), StoreError> {
    let delivery = &waiting.delivery;
    let outcome = lane.transaction(waiting.give_up, async |connection, terms| {
        if lane::is_whole(connection, delivery).await? {
            return lane::confirm(connection).await;
        }
        group::insert(connection, &[delivery], terms).await
    });
    outcome.await
}
