//! The nodes of the cluster: each start of a node is an epoch, and a heartbeat by the database's
//! clock says it lives. It does not know what a node does.

use std::time::Duration;

use super::Store;
use super::domains::unless_there;
use super::error::StoreError;
use super::sql::{Row, Statement};
use crate::process::ProcessIdentity;

/// How often a node says that it lives.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Silent for longer than this, a node is taken for dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
const SILENCE_US: i64 = 10_000_000;

/// A node as a listing shows it.
#[derive(Debug, Clone)]
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
    #[allow(clippy::needless_pass_by_value, reason = "a row is read once")]
    fn read(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.text(0)?,
            epoch: row.int(1)?,
            process: row.text(2)?,
            silent_us: row.maybe_int(3)?,
        })
    }

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
                let find = Statement::new(format!("{NODE} WHERE name = $1{{lock}}")).bind(&name);
                let row = connection.row(&find).await?.map(NodeRow::read).transpose()?;
                let last = row.as_ref().map(|row| row.epoch);
                if let Some(row) = row.filter(|row| row.may_live(&own)) {
                    return Err(StoreError::Conflict(format!(
                        "a node named {name} is alive, seen {} s ago (epoch {}): give this one \
                         another name, or stop that one first",
                        row.silent_us.unwrap_or(0) / 1_000_000,
                        row.epoch
                    )));
                }
                let epoch = last.unwrap_or(0) + 1;
                let put = if last.is_some() {
                    "UPDATE nodes SET epoch = $1, process = $2, started_us = {now}, \
                     heartbeat_us = {now} WHERE name = $3"
                } else {
                    "INSERT INTO nodes (epoch, process, name, started_us, heartbeat_us) \
                     VALUES ($1, $2, $3, {now}, {now})"
                };
                let put = Statement::new(put).bind(epoch).bind(own.to_text()).bind(&name);
                let outcome = connection.execute(&put).await;
                unless_there(outcome, || format!("another node takes the name {name} just now"))?;
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
        self.beat(name, epoch, "{now}").await
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
                let update = Statement::new(format!(
                    "UPDATE nodes SET heartbeat_us = {heartbeat} WHERE name = $1 AND epoch = $2"
                ));
                Ok(connection.execute(&update.bind(&name).bind(epoch)).await? == 1)
            })
        })
        .await
    }

    /// The node of this name, if it was ever started.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn node(&self, name: &str) -> Result<Option<NodeRow>, StoreError> {
        let find = Statement::new(format!("{NODE} WHERE name = $1")).bind(name);
        self.database.readers().row(&find).await?.map(NodeRow::read).transpose()
    }
}

impl Store {
    /// All nodes that were ever started, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let list = Statement::new(format!("{NODE} ORDER BY name"));
        self.database.readers().rows(&list).await?.into_iter().map(NodeRow::read).collect()
    }
}

/// A node by a condition that follows.
const NODE: &str = "SELECT name, epoch, process, \
                    CASE WHEN heartbeat_us = 0 THEN NULL ELSE {now} - heartbeat_us END \
                    FROM nodes";
