//! Where a copy is made: empty, an earlier copy of this very cluster, or a database that it left.
//! Anything else is refused, for it would be overwritten. It does not know what is copied.

use super::tables::TABLES;
use crate::store::database::{Database, has_table, open, writable};
use crate::store::error::StoreError;
use crate::store::sql::standing::{SWITCH, Standing};
use crate::store::sql::url::DatabaseUrls;
use crate::store::sql::{Connection, Kind, Statement};

use super::triggers;

/// What was found there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing, or tables without a row.
    Empty,
    /// A copy that was interrupted, or the database that was left: it is emptied first.
    Stale,
}

/// Looks, and changes nothing.
///
/// # Errors
/// It holds something that is not to be overwritten, or does not answer.
pub(super) async fn look(urls: &DatabaseUrls, cluster: &str) -> Result<Target, StoreError> {
    if urls.file().is_some_and(|file| !file.exists()) {
        return Ok(Target::Empty);
    }
    let mut there = open(&writable(urls).await?).await?;
    if !has_table(&mut there, "cluster").await? {
        return Ok(Target::Empty);
    }
    Database::check_own_schema(&mut there).await?;
    let find = "SELECT uuid FROM cluster";
    let found = there.row(&Statement::new(find)).await?.map(|row| row.text(0)).transpose()?;
    let refused = |what: String| {
        Err(StoreError::Conflict(format!("{urls}: {what}; give an empty database to switch to")))
    };
    match found {
        None => {}
        Some(other) if other != cluster => return refused(format!("it holds cluster {other}")),
        Some(_) => {
            return match standing(&mut there).await? {
                Standing::Copy { .. } | Standing::Left { .. } => Ok(Target::Stale),
                _ => refused("it holds this cluster, and it is in force".to_owned()),
            };
        }
    }
    for table in ["domains", "accounts", "messages"] {
        let count = Statement::new(format!("SELECT count(*) FROM {table}"));
        if there.number(&count).await? > 0 {
            return refused(format!("its table {table} has rows"));
        }
    }
    Ok(Target::Empty)
}

async fn standing(there: &mut Connection) -> Result<Standing, StoreError> {
    let find = format!("SELECT value FROM settings WHERE name = '{SWITCH}'");
    let row = there.row(&Statement::new(find)).await?;
    let value = row.map(|row| row.text(0)).transpose()?;
    Standing::read(&value.unwrap_or_default(), false)
}

/// Makes the tables, says whose copy this is to be, and empties it.
///
/// # Errors
/// The role may not make tables, or whatever else the database says.
pub(super) async fn prepare(
    urls: &DatabaseUrls,
    id: &str,
    source: &DatabaseUrls,
    cluster: (&str, i64),
) -> Result<Connection, StoreError> {
    Database::migrate(urls).await?;
    let mut to = open(&writable(urls).await?).await?;
    to.script(to.kind().writer_session().to_owned()).await?;
    // First of all: from here on no node takes it for a database of its own.
    to.begin().await?;
    let delete = format!("DELETE FROM settings WHERE name = '{SWITCH}'");
    to.execute(&Statement::new(delete)).await?;
    let say = Statement::new(format!(
        "INSERT INTO settings (name, value, changed_us, changed_by) \
         VALUES ('{SWITCH}', $1, {{now}}, 'switch')"
    ));
    to.execute(&say.bind(Standing::copy(id, source))).await?;
    to.execute(&Statement::new("DELETE FROM cluster")).await?;
    let name = Statement::new("INSERT INTO cluster (id, uuid, created_us) VALUES (1, $1, $2)");
    to.execute(&name.bind(cluster.0).bind(cluster.1)).await?;
    to.commit().await?;
    for script in triggers::dropped(to.kind()) {
        to.script(script).await?;
    }
    to.begin().await?;
    to.execute(&Statement::new("DELETE FROM generations")).await?;
    for table in TABLES.iter().rev() {
        let only = if table.only.is_empty() { "1 = 1" } else { table.only };
        let delete = format!("DELETE FROM {} WHERE {only}", table.name);
        to.execute(&Statement::new(delete)).await?;
    }
    to.commit().await?;
    Ok(to)
}

/// What no row says: the ids that are given next, and that the newest generation is this server's.
/// No number leaps: nothing that was given out before is missing.
///
/// # Errors
/// What one of the databases says.
pub(super) async fn finish(from: &mut Connection, to: &mut Connection) -> Result<(), StoreError> {
    let look = to.row(&Statement::new(to.kind().look())).await?;
    let own = look.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?.text(1)?;
    let list = "SELECT generation, server, began_us FROM generations ORDER BY generation";
    let rows = from.rows(&Statement::new(list)).await?;
    for (index, row) in rows.iter().enumerate() {
        let server = if index + 1 == rows.len() { own.clone() } else { row.text(1)? };
        let add = Statement::new(
            "INSERT INTO generations (generation, server, began_us) VALUES ($1, $2, $3)",
        );
        let add = add.bind(row.int(0)?).bind(server).bind(row.int(2)?);
        to.execute(&add).await?;
    }
    if to.kind() == Kind::Postgres {
        for table in TABLES.iter().filter(|table| table.gives_ids()) {
            let name = table.name;
            to.script(format!(
                "SELECT setval(pg_get_serial_sequence('{name}', 'id'), \
                 (SELECT coalesce(max(id), 0) + 1 FROM {name}), false)"
            ))
            .await?;
        }
        to.script("ANALYZE".to_owned()).await?;
    }
    Ok(())
}
