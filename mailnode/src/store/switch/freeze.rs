//! Holds up all writes to a database for some seconds, whoever makes them, and leaves it then.
//! It does not know what is copied meanwhile; `switch` brings it to an end either way.
//!
//! A row says until when (by the database's clock), and a trigger on each table refuses a write
//! while it does, or once the database was left. Each trigger is made when the writers of its table
//! have ended: databases see to that. So after the last one nobody is half-way through, and a
//! writer pays nothing before. A process that dies renews the row no more: all goes on in seconds.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::triggers;
use crate::store::error::StoreError;
use crate::store::sql::standing::{SWITCH, Standing};
use crate::store::sql::turn::Turn;
use crate::store::sql::url::{DatabaseUrl, DatabaseUrls};
use crate::store::sql::{Connection, Kind, Statement};

/// How long writes are held up if nobody says more.
const HELD_US: i64 = 6_000_000;
/// How often more is said.
const RENEWAL: Duration = Duration::from_secs(1);
/// What has to be left of it when the database is left.
const MARGIN_US: i64 = 1_000_000;

/// Writes are held up until this is dropped, or seconds later.
pub(super) struct Freeze {
    id: String,
    renewal: JoinHandle<()>,
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Holds up all writes; none is half-way through when this returns.
///
/// # Errors
/// Another process does the same just now, or the database does not allow it; the text says how.
pub(super) async fn freeze(
    url: &DatabaseUrl,
    connection: &mut Connection,
    id: &str,
) -> Result<Freeze, StoreError> {
    let turn = url.file().map(Turn::beside).transpose()?;
    let mut renewing = Connection::open(url).await?;
    let taken = turn.as_ref().map(Turn::take).transpose()?;
    claim(connection, id).await?;
    let owner = id.to_owned();
    let renewal = tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if !matches!(renewing.execute(&renewed(&owner)).await, Ok(1)) {
                return; // It has run out, or the server is away: leaving it will fail.
            }
        }
    });
    let freeze = Freeze { id: id.to_owned(), renewal };
    let made = make_triggers(connection).await;
    drop(taken);
    if let Err(error) = made {
        freeze.thaw(connection).await;
        return Err(error);
    }
    Ok(freeze)
}

async fn make_triggers(connection: &mut Connection) -> Result<(), StoreError> {
    let scripts = triggers::made(connection.kind());
    if connection.kind() != Kind::Sqlite {
        for script in scripts {
            connection.script(script).await.map_err(told)?;
        }
        return Ok(());
    }
    connection.begin().await?;
    for script in scripts {
        connection.script(script).await?;
    }
    connection.commit().await
}

/// MariaDB and MySQL with a binary log allow triggers to their administrator alone.
fn told(error: StoreError) -> StoreError {
    let text = error.to_string();
    if text.contains("SUPER") {
        return StoreError::Conflict(format!(
            "{text}: `SET GLOBAL log_bin_trust_function_creators = 1` at the database that is \
             left lets its writes be held up; it may be taken back afterwards"
        ));
    }
    error
}

async fn claim(connection: &mut Connection, id: &str) -> Result<(), StoreError> {
    let busy = || StoreError::Conflict("another `mailnode switch` is at work just now".to_owned());
    let again = Statement::new(format!(
        "UPDATE settings SET changed_us = {{now}} + {HELD_US}, changed_by = $1 \
         WHERE name = '{SWITCH}' AND value = '' AND changed_us < {{now}}"
    ));
    if connection.execute(&again.bind(id)).await? == 1 {
        return Ok(());
    }
    let first = Statement::new(format!(
        "INSERT INTO settings (name, value, changed_us, changed_by) \
         VALUES ('{SWITCH}', '', {{now}} + {HELD_US}, $1)"
    ));
    match connection.execute(&first.bind(id)).await {
        Err(error) if error.is_there_already() => Err(busy()),
        outcome => outcome.map(drop),
    }
}

fn renewed(id: &str) -> Statement {
    let more = Statement::new(format!(
        "UPDATE settings SET changed_us = {{now}} + {HELD_US} \
         WHERE name = '{SWITCH}' AND value = '' AND changed_by = $1 AND changed_us > {{now}}"
    ));
    more.bind(id)
}

impl Freeze {
    /// Leaves the database: from here on nodes follow to `to`, and it is never written again.
    ///
    /// # Errors
    /// It is still in force: writes were not held up all the time. [`StoreError::Unknown`]: it
    /// cannot be seen whether it was left; the next run finds out.
    pub(super) async fn leave(
        self,
        url: &DatabaseUrl,
        connection: &mut Connection,
        to: &DatabaseUrls,
    ) -> Result<(), StoreError> {
        self.renewal.abort();
        let value = Standing::left(&self.id, to);
        let leave = Statement::new(format!(
            "UPDATE settings SET value = $1 WHERE name = '{SWITCH}' AND value = '' \
             AND changed_by = $2 AND changed_us > {{now}} + {MARGIN_US}"
        ));
        match connection.commit_at_once(&leave.bind(&value).bind(&self.id)).await {
            Ok(1) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                let unknown = |_| StoreError::Unknown(error.to_string());
                let mut again = Connection::open(url).await.map_err(unknown)?;
                let find = format!("SELECT value FROM settings WHERE name = '{SWITCH}'");
                let row = again.row(&Statement::new(find)).await.map_err(unknown)?;
                if row.map(|row| row.text(0)).transpose()? == Some(value) {
                    return Ok(());
                }
            }
        }
        Err(StoreError::Conflict(
            "writes were not held up all the time, so the copy may lack some: nothing was \
             switched; run it again"
                .to_owned(),
        ))
    }

    /// Lets writes go on at once.
    pub(super) async fn thaw(self, connection: &mut Connection) {
        self.renewal.abort();
        let thaw = Statement::new(format!(
            "UPDATE settings SET changed_us = 0 \
             WHERE name = '{SWITCH}' AND value = '' AND changed_by = $1"
        ));
        if let Err(error) = connection.execute(&thaw.bind(&self.id)).await {
            tracing::warn!(%error, "writes go on in some seconds");
            return;
        }
        for script in triggers::dropped(connection.kind()) {
            if let Err(error) = connection.script(script).await {
                tracing::warn!(%error, "a trigger of the switch is left behind; it does no harm");
                return;
            }
        }
    }
}
