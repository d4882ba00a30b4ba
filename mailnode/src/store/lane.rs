//! The one connection a process writes with: transactions one after the other, each on a server
//! that may be written to. It does not know what is written; the writer's thread owns it.
//!
//! A connection whose transaction failed or was given up is dropped with it, so nothing half done
//! is ever met again. A commit whose answer did not come is never cancelled and never retried
//! here: its outcome is unknown, and whoever asked looks it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::messages::Delivery;
use super::sql::group::Terms;
use super::sql::primary::Primary;
use super::sql::turn::{Turn, TurnTaken};
use super::sql::url::DatabaseUrls;
use super::sql::{Connection, Kind, Statement, group, standing};

/// How long a transaction may take, its commit and the standby's word for it included, before its
/// connection is given up.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts to find a server that may be written to.
const PAUSE: Duration = Duration::from_millis(50);

/// The writer's connection and its turn among the processes.
pub(super) struct Lane {
    primary: Primary,
    /// SQLite's processes take turns; servers order theirs themselves. With the addresses it is of.
    turn: Option<(DatabaseUrls, Option<Turn>)>,
    /// `None`: to be opened, at the start and after an error.
    held: Option<Held>,
    /// Whether deliveries are checked for room.
    quotas: Arc<AtomicBool>,
}

struct Held {
    connection: Connection,
    generation: i64,
    /// Of the server: once another is used, it is of no use.
    turn: u64,
}

impl Lane {
    pub(super) fn of(primary: Primary, quotas: Arc<AtomicBool>) -> Self {
        Self { primary, turn: None, held: None, quotas }
    }

    /// A connection, opened before the turn is taken: while writes are held up nobody has it.
    async fn ready(&mut self, give_up: Instant) -> Result<Held, StoreError> {
        let used = match self.held.take() {
            Some(used) if used.turn == self.primary.turn() => used,
            _ => opened(&self.primary, give_up).await?,
        };
        let urls = self.primary.urls();
        if self.turn.as_ref().is_none_or(|(of, _)| *of != urls) {
            let turn = urls.file().map(Turn::beside).transpose()?;
            self.turn = Some((urls, turn));
        }
        Ok(used)
    }

    /// Asks whether writes are held up, for a change is not tried twice, as a delivery is: then the
    /// connection is given up, and the next one is had when writes go on, or elsewhere.
    async fn let_go_of_one_held_up(&mut self) -> Result<(), StoreError> {
        let Some(mut used) = self.held.take() else { return Ok(()) };
        let asked = async move {
            let asked = used.connection.number(&Statement::new(standing::SWITCHING)).await;
            (used, asked)
        };
        if let (used, Ok(0)) = patiently(&self.primary, asked).await? {
            self.held = Some(used);
        }
        Ok(())
    }

    /// Runs `work` in a transaction and commits it. `give_up`: when to look no longer for a server
    /// to begin on.
    pub(super) async fn transaction<T>(
        &mut self,
        give_up: Instant,
        work: impl AsyncFnOnce(&mut Connection, Terms) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.let_go_of_one_held_up().await?;
        let used = self.ready(give_up).await?;
        let Self { primary, turn, held, quotas } = self;
        let has_quotas = quotas.load(Ordering::Relaxed);
        let _taken = taken(turn)?;
        let mut used = begun(primary, Some(used), give_up).await?;
        let transact = async move {
            let outcome = transact(&mut used, has_quotas, work).await;
            (used, outcome)
        };
        let (used, outcome) = patiently(primary, transact).await?;
        if !spoils(&outcome) {
            *held = Some(used);
        }
        outcome
    }

    /// Keeps a group in a transaction of its own, in the database's fewest round trips.
    pub(super) async fn keep(
        &mut self,
        give_up: Instant,
        deliveries: &[&Delivery],
    ) -> Result<(), StoreError> {
        let mut used = self.ready(give_up).await?;
        let Self { primary, turn, held, quotas } = self;
        let has_quotas = quotas.load(Ordering::Relaxed);
        let _taken = taken(turn)?;
        let keep = async move {
            let Held { connection, generation, .. } = &mut used;
            let terms = Terms { generation: *generation, has_quotas };
            let mut outcome = group::keep(connection, deliveries, terms).await;
            let open = connection.kind() != Kind::Postgres;
            if open && matches!(outcome, Err(StoreError::MailboxGone | StoreError::Full)) {
                outcome = connection.rollback().await.and(outcome);
            }
            (used, outcome)
        };
        let (used, outcome) = patiently(primary, keep).await?;
        if !spoils(&outcome) {
            *held = Some(used);
        }
        outcome
    }
}

fn taken(turn: &Option<(DatabaseUrls, Option<Turn>)>) -> Result<Option<TurnTaken<'_>>, StoreError> {
    turn.as_ref().and_then(|(_, turn)| turn.as_ref()).map(Turn::take).transpose()
}

/// Whether the connection behind an outcome is of no use any more.
fn spoils<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Database(_) | StoreError::Unknown(_)))
}

/// A connection to a server that may be written to; a server is waited for until `give_up`.
async fn opened(primary: &Primary, give_up: Instant) -> Result<Held, StoreError> {
    loop {
        match primary.writer().await {
            Ok((connection, generation)) => {
                return Ok(Held { connection, generation, turn: primary.turn() });
            }
            Err(error) if may_pass(primary, &error, give_up) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// A connection in a transaction that has just begun: nothing is lost if it has to begin anew.
async fn begun(
    primary: &Primary,
    held: Option<Held>,
    give_up: Instant,
) -> Result<Held, StoreError> {
    let mut held = held;
    loop {
        let mut used = match held.take() {
            Some(used) => used,
            None => opened(primary, give_up).await?,
        };
        let begin = async move {
            let outcome = used.connection.begin().await;
            (used, outcome)
        };
        let (used, outcome) = patiently(primary, begin).await?;
        match outcome {
            Ok(()) => return Ok(used),
            Err(error) if may_pass(primary, &error, give_up) => {}
            Err(error) => return Err(error),
        }
    }
}

fn may_pass(primary: &Primary, error: &StoreError, give_up: Instant) -> bool {
    // A SQLite file does not come and go, but a switch holds up its writes.
    let passes = match error {
        StoreError::Frozen => true,
        _ => primary.urls().kind() != Kind::Sqlite && error.may_pass(),
    };
    passes && Instant::now() + PAUSE < give_up
}

async fn transact<T>(
    held: &mut Held,
    has_quotas: bool,
    work: impl AsyncFnOnce(&mut Connection, Terms) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let Held { connection, generation, .. } = held;
    let terms = Terms { generation: *generation, has_quotas };
    match work(connection, terms).await {
        Ok(value) => connection.commit().await.map(|()| value),
        Err(error) => {
            if !matches!(error, StoreError::Database(_)) {
                connection.rollback().await?;
            }
            Err(error)
        }
    }
}

/// Awaits what owns its connection. A server that says nothing for too long, or another that was
/// promoted meanwhile, ends the wait: the connection goes, and the outcome is unknown.
async fn patiently<T>(primary: &Primary, work: impl Future<Output = T>) -> Result<T, StoreError> {
    let given_up = |why: &str| StoreError::Unknown(why.to_owned());
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = tokio::time::sleep(TRANSACTION_PATIENCE) => Err(given_up("no answer in a minute")),
        () = primary.superseded() => Err(given_up("another server was promoted meanwhile")),
    }
}

/// Whether all of a delivery's rows are there.
pub(super) async fn is_whole(
    connection: &mut Connection,
    delivery: &Delivery,
) -> Result<bool, StoreError> {
    let count = Statement::new("SELECT count(*) FROM messages WHERE delivery_id = $1");
    let rows = connection.number(&count.bind(&delivery.id.0)).await?;
    Ok(usize::try_from(rows) == Ok(delivery.messages.len()))
}

/// Writes a row, so that this commit is confirmed as far as commits are: by the standby, where
/// there is one, and with it all that was committed before. Rows that were only read do not say
/// that the standby has them too.
pub(super) async fn confirm(connection: &mut Connection) -> Result<(), StoreError> {
    let write = "UPDATE counters SET value = value + 1 WHERE name = 'confirmed'";
    connection.execute(&Statement::new(write)).await.map(drop)
}
