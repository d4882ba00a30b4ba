//! Connections that only read: a few that are kept, each used by one statement at a time.
//! It does not know what is asked. One whose statement failed, or was given up, is thrown away; a
//! server that is away, restarting or being replaced is waited for, within the reader's patience.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::dialect::Kind;
use super::primary::Primary;
use super::row::Row;
use super::statement::Statement;
use crate::store::error::StoreError;

/// Connections that only read; a lookup takes some 0.1 ms, so few are plenty.
const READERS_MAX: usize = 8;
/// How long a reader waits for its answer, all in all.
const READER_PATIENCE: Duration = Duration::from_secs(8);
/// Between two attempts while no server may be used.
const PAUSE: Duration = Duration::from_millis(50);

/// The readers of a process.
#[derive(Clone)]
pub(in crate::store) struct Readers(Arc<Shared>);

struct Shared {
    primary: Primary,
    idle: Mutex<Vec<(Connection, u64)>>,
    permits: Semaphore,
}

impl Readers {
    pub(in crate::store) fn of(primary: Primary) -> Self {
        let (idle, permits) = (Mutex::default(), Semaphore::new(READERS_MAX));
        Self(Arc::new(Shared { primary, idle, permits }))
    }

    /// Which database it is.
    pub(in crate::store) fn kind(&self) -> Kind {
        self.0.primary.urls().kind()
    }

    /// How many servers the settings name.
    pub(in crate::store) fn servers(&self) -> usize {
        self.0.primary.urls().all().len()
    }

    /// All rows of an answer.
    ///
    /// # Errors
    /// What the database says, or that it does not answer in time: temporary, all of it.
    pub(in crate::store) async fn rows(
        &self,
        statement: &Statement,
    ) -> Result<Vec<Row>, StoreError> {
        let give_up = Instant::now() + READER_PATIENCE;
        let mut last = StoreError::Late("an answer of the database");
        loop {
            let tried_at = Instant::now();
            let attempt = give_up.min(tried_at + self.attempt_patience());
            match timeout_at(attempt, self.try_rows(statement)).await {
                // The others that are kept lead to the same silent server.
                Err(_) => {
                    self.forget();
                    if attempt < give_up {
                        continue;
                    }
                    return Err(last);
                }
                Ok(Err(error)) if error.may_pass() && self.kind() != Kind::Sqlite => last = error,
                Ok(outcome) => return outcome,
            }
            // The others that are kept are as old as the one that failed.
            let failed_at_once = self.forget() && tried_at.elapsed() < PAUSE;
            if !failed_at_once {
                sleep(PAUSE).await;
            }
        }
    }

    /// The first row of an answer, if there is one.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub(in crate::store) async fn row(
        &self,
        statement: &Statement,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// The number in the only row of an answer that cannot be empty.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub(in crate::store) async fn number(&self, statement: &Statement) -> Result<i64, StoreError> {
        let row = self.row(statement).await?;
        row.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?.int(0)
    }

    /// How long one server may be silent before another connection is tried: a machine that has
    /// vanished says nothing, and its place may have been taken. SQLite has only the one.
    fn attempt_patience(&self) -> Duration {
        if self.kind() == Kind::Sqlite { READER_PATIENCE } else { READER_PATIENCE / 2 }
    }

    async fn try_rows(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        let permit = self.0.permits.acquire().await;
        let _permit = permit.map_err(|_| StoreError::Ended)?;
        let (mut connection, turn) = match self.kept() {
            Some(kept) => kept,
            None => self.0.primary.reader().await?,
        };
        let rows = connection.rows(statement).await?;
        self.idle().push((connection, turn));
        Ok(rows)
    }

    /// A connection to the server that is used now.
    fn kept(&self) -> Option<(Connection, u64)> {
        let turn = self.0.primary.turn();
        let mut idle = self.idle();
        if idle.first().is_some_and(|(_, of)| *of != turn) {
            idle.retain(|(_, of)| *of == turn);
        }
        idle.pop()
    }

    /// Throws away all that are kept. False: there was none.
    fn forget(&self) -> bool {
        let old = std::mem::take(&mut *self.idle());
        !old.is_empty()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, u64)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}
