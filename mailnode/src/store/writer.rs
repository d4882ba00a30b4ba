//! The one writer of a process: a thread of its own that takes what waits, up to a limit, and
//! commits it in one transaction (measured: 3 to 7 times the rate of one commit each).
//! It does not know what a change means; `messages` inserts a group, the others bring closures.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::database::Turn;
use super::error::StoreError;
use super::messages::{self, Delivery};
use crate::metrics;

/// Deliveries in one transaction; beyond 32 a larger group gains some 5 %.
const GROUP_MAX: usize = 64;
/// Rows in one transaction, for deliveries to many mailboxes.
const GROUP_ROWS_MAX: usize = 1_000;
/// Changes that wait; more waiting ones than this wait outside.
const QUEUE_MAX: usize = 4_096;
/// How long a change may wait for its turn and its commit; what has not begun by then never does.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// A future that borrows the writer's connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;
type Change = Box<
    dyn for<'c> FnOnce(&'c mut SqliteConnection, &'c Turn) -> Pin<Box<dyn Future<Output = ()> + 'c>>
        + Send,
>;

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
}

impl Writer {
    /// Starts the thread, which owns the connection until the last door is dropped.
    pub(super) fn start(connection: SqliteConnection, turn: Turn) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| StoreError::file("start the writer's runtime", error))?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(write(connection, turn, queue)))
            .map_err(|error| StoreError::file("start the writer's thread", error))?;
        Ok(Self { jobs })
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
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let give_up = Instant::now() + CHANGE_PATIENCE;
        let change: Change = Box::new(move |connection, turn| {
            Box::pin(async move {
                let outcome = if Instant::now() > give_up {
                    Err(StoreError::Late("a change of the database"))
                } else {
                    in_transaction(connection, turn, work).await
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
async fn write(mut connection: SqliteConnection, turn: Turn, mut queue: mpsc::Receiver<Job>) {
    let mut next = queue.recv().await;
    while let Some(job) = next.take() {
        match job {
            Job::Change(change) => change(&mut connection, &turn).await,
            Job::Deliver(first) => {
                let mut group = vec![first];
                next = fill(&mut group, &mut queue);
                deliver(&mut connection, &turn, group).await;
            }
        }
        if next.is_none() {
            next = queue.recv().await;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database writer's connection did not close cleanly");
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
async fn deliver(connection: &mut SqliteConnection, turn: &Turn, group: Vec<WaitingDelivery>) {
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
    let outcome = commit(connection, turn, &all).await;
    if let Err(error) = outcome {
        tracing::warn!(%error, deliveries = group.len(), "a group was not kept, trying one by one");
        for waiting in group {
            let outcome = commit_again(connection, turn, &waiting.delivery).await;
            drop(waiting.answer.send(outcome));
        }
        return;
    }
    for waiting in group {
        drop(waiting.answer.send(Ok(())));
    }
}

/// One transaction for a group.
async fn commit(
    connection: &mut SqliteConnection,
    turn: &Turn,
    group: &[&Delivery],
) -> Result<(), StoreError> {
    let _taken = turn.take()?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    messages::insert(&mut transaction, group).await?;
    transaction.commit().await.map_err(|error| StoreError::Unknown(error.to_string()))
}

/// One delivery after its group failed. Should the group's commit have been done all the same, the
/// delivery's unique id refuses a second row: what is there decides, not the error.
async fn commit_again(
    connection: &mut SqliteConnection,
    turn: &Turn,
    delivery: &Delivery,
) -> Result<(), StoreError> {
    let Err(error) = commit(connection, turn, &[delivery]).await else { return Ok(()) };
    match messages::is_whole(connection, delivery).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(error),
        Err(lookup) => Err(StoreError::Unknown(format!("{error}; looking it up: {lookup}"))),
    }
}

async fn in_transaction<T, F>(
    connection: &mut SqliteConnection,
    turn: &Turn,
    work: F,
) -> Result<T, StoreError>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
{
    let _taken = turn.take()?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let value = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(value)
}
