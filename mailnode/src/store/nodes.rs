//! The nodes of the cluster: each start of a node is an epoch, and a heartbeat by the database's
//! clock says it lives. It does not know what a node does.

use std::time::Duration;

use sqlx::{AssertSqlSafe, FromRow};

use super::Store;
use super::database::NOW_US;
use super::error::StoreError;
use crate::process::ProcessIdentity;

/// How often a node says that it lives.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Silent for longer than this, a node is taken for dead.
const SILENCE_US: i64 = 10_000_000;

/// A node as a listing shows it.
#[derive(Debug, Clone, FromRow)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// How often it was started.
    pub epoch: i64,
    /// Its run; see [`ProcessIdentity`].
    pub process: String,
    /// Microseconds since its last heartbeat; `None` after a clean stop.
    pub silent_us: Option<i64>,
}

impl NodeRow {
    /// Whether the node may still be running, for all we know.
    pub fn may_live(&self, own: &ProcessIdentity) -> bool {
        self.silent_us.is_some_and(|silent| silent < SILENCE_US) && !own.knows_dead(&self.process)
    }
}

impl Store {
    /// Registers a start of a node and gives it its epoch.
    ///
    /// # Errors
    /// A living node has the name, and so the log directory; or the database does not answer.
    pub async fn register_node(
        &self,
        name: String,
        own: ProcessIdentity,
    ) -> Result<i64, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let row: Option<NodeRow> = sqlx::query_as(AssertSqlSafe(select("WHERE name = $1")))
                    .bind(&name)
                    .fetch_optional(&mut *connection)
                    .await?;
                if let Some(row) = row.filter(|row| row.may_live(&own)) {
                    return Err(StoreError::Conflict(format!(
                        "a node named {name} is alive, seen {} s ago (epoch {}): give this one \
                         another name, or stop that one first",
                        row.silent_us.unwrap_or(0) / 1_000_000,
                        row.epoch
                    )));
                }
                let upsert = format!(
                    "INSERT INTO nodes (name, epoch, process, started_us, heartbeat_us) \
                     VALUES ($1, 1, $2, {NOW_US}, {NOW_US}) ON CONFLICT (name) DO UPDATE SET \
                     epoch = nodes.epoch + 1, process = excluded.process, \
                     started_us = excluded.started_us, heartbeat_us = excluded.heartbeat_us \
                     RETURNING epoch"
                );
                let epoch = sqlx::query_scalar(AssertSqlSafe(upsert))
                    .bind(&name)
                    .bind(own.to_text())
                    .fetch_one(connection)
                    .await?;
                Ok(epoch)
            })
        })
        .await
    }

    /// Says that a node's run lives. False: another run has taken its name, it must end.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn heartbeat(&self, name: String, epoch: i64) -> Result<bool, StoreError> {
        self.beat(name, epoch, NOW_US).await
    }

    /// Says goodbye: the name is free at once.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn release_node(&self, name: String, epoch: i64) -> Result<(), StoreError> {
        self.beat(name, epoch, "0").await.map(drop)
    }

    async fn beat(
        &self,
        name: String,
        epoch: i64,
        heartbeat: &'static str,
    ) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let update = format!(
                    "UPDATE nodes SET heartbeat_us = {heartbeat} WHERE name = $1 AND epoch = $2"
                );
                let outcome = sqlx::query(AssertSqlSafe(update))
                    .bind(&name)
                    .bind(epoch)
                    .execute(connection)
                    .await?;
                Ok(outcome.rows_affected() == 1)
            })
        })
        .await
    }

    /// The node of this name, if it was ever started.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn node(&self, name: &str) -> Result<Option<NodeRow>, StoreError> {
        let row = sqlx::query_as(AssertSqlSafe(select("WHERE name = $1")))
            .bind(name)
            .fetch_optional(self.database.readers())
            .await?;
        Ok(row)
    }
}

fn select(condition: &str) -> String {
    format!(
        "SELECT name, epoch, process, \
         CASE WHEN heartbeat_us = 0 THEN NULL ELSE {NOW_US} - heartbeat_us END AS silent_us \
         FROM nodes {condition}"
    )
}
