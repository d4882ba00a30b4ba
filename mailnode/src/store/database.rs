//! The SQL database of a process: connections to read with, and the one writer.
//! It does not know what is asked of it: statements stand in the files named after what they keep.
//!
//! The schema: a step only adds, and what it made superfluous goes with the step after it, so this
//! program works with its own version and with the next one. Steps are taken by `setup` alone.

use std::time::Duration;

use sqlx::migrate::Migrator;

use super::error::StoreError;
use super::sql::primary::Primary;
use super::sql::readers::Readers;
use super::sql::standing::SWITCH;
use super::sql::turn::Turn;
use super::sql::url::{DatabaseUrl, DatabaseUrls};
use super::sql::{Connection, Statement};
use super::writer::Writer;

/// The schema's steps that this build knows, the same ones for each database.
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRESQL: Migrator = sqlx::migrate!("migrations/postgresql");
static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

/// The schema this build works with, and the step after it.
const SCHEMA_MIN: i64 = 1;
const SCHEMA_MAX: i64 = SCHEMA_MIN + 1;

/// How long a server may take to connect to when a program starts.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A process's open database.
#[derive(Debug, Clone)]
pub(super) struct Database {
    primary: Primary,
    readers: Readers,
    writer: Writer,
}

impl Database {
    /// Opens an existing database whose schema this build works with.
    ///
    /// # Errors
    /// It is missing, unreadable, not set up, or of another version; the text says the remedy.
    pub(super) async fn open(urls: &DatabaseUrls) -> Result<Self, StoreError> {
        check_schema(urls).await?;
        let primary = Primary::of(urls.clone());
        // Asked once: what starts, or looks, does not wait for a server to come back.
        drop(primary.reader().await?);
        if primary.urls() != *urls {
            check_schema(&primary.urls()).await?;
        }
        let readers = Readers::of(primary.clone());
        let writer = Writer::start(primary.clone())?;
        Ok(Self { primary, readers, writer })
    }

    /// Brings the tables to this build's version; a SQLite file is created if there is none.
    ///
    /// # Errors
    /// The file cannot be made, or a step failed.
    pub(super) async fn migrate(urls: &DatabaseUrls) -> Result<(), StoreError> {
        let url = writable(urls).await?;
        let mut connection = Connection::open_or_create(&url).await?;
        let turn = urls.file().map(Turn::beside).transpose()?;
        let _taken = turn.as_ref().map(Turn::take).transpose()?;
        // A newer program's steps are none of ours.
        if schema_version(&mut connection).await?.is_some_and(|(version, _)| version > SCHEMA_MIN) {
            return Ok(());
        }
        let outcome = match &mut connection {
            Connection::Sqlite(connection) => SQLITE.run(&mut **connection).await,
            Connection::Postgres(connection, _) => POSTGRESQL.run(&mut **connection).await,
            Connection::MySql(connection) => MYSQL.run(&mut **connection).await,
        };
        outcome.map_err(|error| StoreError::Schema(format!("{url}: {error}")))
    }

    /// The id of the cluster in a database of any version; `None` if there is no database, or no
    /// cluster in it. Changes nothing.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) async fn peek_cluster(urls: &DatabaseUrls) -> Result<Option<String>, StoreError> {
        if urls.file().is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        let url = writable(urls).await?;
        let mut connection = open(&url).await?;
        if !has_table(&mut connection, "cluster").await? {
            return Ok(None);
        }
        let row = connection.row(&Statement::new("SELECT uuid FROM cluster")).await?;
        row.map(|row| row.text(0)).transpose()
    }

    /// Whether the schema is this build's own version: only that one is known table by table.
    ///
    /// # Errors
    /// It is another's; the text says the remedy.
    pub(super) async fn check_own_schema(connection: &mut Connection) -> Result<(), StoreError> {
        match schema_version(connection).await? {
            Some((SCHEMA_MIN, 0)) => Ok(()),
            other => Err(StoreError::Schema(format!(
                "its schema is version {}, this program copies {SCHEMA_MIN} alone: use the \
                 program of that version",
                other.map_or(0, |(version, _)| version)
            ))),
        }
    }

    /// Connections to read with.
    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// The one that writes.
    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether the database answers; one that was left is followed.
    ///
    /// # Errors
    /// What it said instead.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let ask = "SELECT uuid, coalesce((SELECT value FROM settings WHERE name = $1), '') \
                   FROM cluster";
        match self.readers.row(&Statement::new(ask).bind(SWITCH)).await? {
            Some(row) => self.primary.hear(&row.text(1)?),
            None => Ok(()),
        }
    }
}

/// Connects; an error names the address.
pub(super) async fn open(url: &DatabaseUrl) -> Result<Connection, StoreError> {
    let opened = tokio::time::timeout(CONNECT_PATIENCE, Connection::open(url)).await;
    let opened = opened.unwrap_or(Err(StoreError::Late("connecting")));
    opened.map_err(|error| StoreError::Away(format!("{url}: {}", error.reason())))
}

/// Of several servers the one that may be written to, even before there are tables.
pub(super) async fn writable(urls: &DatabaseUrls) -> Result<DatabaseUrl, StoreError> {
    let [first, others @ ..] = urls.all() else { return Err(StoreError::Ended) };
    if others.is_empty() {
        return Ok(first.clone());
    }
    let mut told = Vec::new();
    for url in urls.all() {
        let asked = match open(url).await {
            Ok(mut connection) => {
                connection.number(&Statement::new(url.kind().is_writable())).await
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(1) => return Ok(url.clone()),
            Ok(_) => told.push(format!("{url}: it is read-only, a standby as it seems")),
            Err(error) => told.push(error.reason()),
        }
    }
    Err(StoreError::Away(told.join("; ")))
}

pub(super) async fn has_table(connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
    let tables = Statement::new(connection.kind().tables_named()).bind(name);
    Ok(connection.number(&tables).await? > 0)
}

/// The schema's version, and how many of its steps were not taken to their end; `None`: no step.
async fn schema_version(connection: &mut Connection) -> Result<Option<(i64, i64)>, StoreError> {
    if !has_table(connection, "_sqlx_migrations").await? {
        return Ok(None);
    }
    let versions = Statement::new(
        "SELECT coalesce(max(version), 0), \
         CAST(coalesce(sum(CASE WHEN success THEN 0 ELSE 1 END), 0) AS {bigint}) \
         FROM _sqlx_migrations",
    );
    let row = connection.row(&versions).await?;
    row.map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

async fn check_schema(urls: &DatabaseUrls) -> Result<(), StoreError> {
    if let Some(file) = urls.file().filter(|file| !file.exists()) {
        let file = file.display();
        return Err(StoreError::Schema(format!(
            "{file} does not exist: run `mailnode setup` first"
        )));
    }
    let url = writable(urls).await?;
    let mut connection = open(&url).await?;
    let there = schema_version(&mut connection).await;
    let there = there.map_err(|error| StoreError::Schema(format!("{url}: {}", error.reason())))?;
    let Some((version, broken)) = there else {
        return Err(StoreError::Schema(format!(
            "{url}: it holds no cluster: run `mailnode setup` first"
        )));
    };
    let remedy = match version {
        _ if broken > 0 => "a step of its schema was not taken to its end: restore it, or make it \
                            anew if it is empty, and run `mailnode setup`"
            .to_owned(),
        ..SCHEMA_MIN => format!(
            "its schema is version {version}, this program works with {SCHEMA_MIN} and \
             {SCHEMA_MAX}: run `mailnode setup`"
        ),
        SCHEMA_MIN..=SCHEMA_MAX => return Ok(()),
        _ => format!(
            "its schema is version {version}, this program works with {SCHEMA_MIN} and \
             {SCHEMA_MAX}: use a newer program"
        ),
    };
    Err(StoreError::Schema(format!("{url}: {remedy}")))
}
