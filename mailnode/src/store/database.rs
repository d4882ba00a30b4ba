//! The SQL database: connections to read with, and one writer per process.
//! It does not know what is asked of it: statements stand in the files named after what they keep.
//!
//! SQLite, one machine, several node processes: WAL with synchronous FULL, and writers that take
//! turns by a `flock` beside the database. SQLite's own busy wait starves; a blocking flock is
//! fair, and the kernel drops it when a process dies. Every write transaction is IMMEDIATE: a
//! deferred one that reads first fails at once when another has committed in between.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::error::StoreError;
use super::writer::Writer;

/// The migrations this build knows; run by `setup`, never by a starting node.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// The database's own clock, in microseconds since 1970: leases and heartbeats go by no node's.
pub(super) const NOW_US: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";

/// Connections that only read; a lookup takes some 0.1 ms, so few are plenty.
const READERS_MAX: u32 = 8;
/// How long a reader waits for a free connection.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    path: PathBuf,
}

impl DatabaseUrl {
    /// Reads `sqlite:///absolute/path`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let path = PathBuf::from(text.strip_prefix("sqlite://")?);
        (path.is_absolute() && path.file_name().is_some()).then_some(Self { path })
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Writers queue by flock; this only bridges a checkpoint or a recovery.
            .busy_timeout(Duration::from_secs(5))
            // Group statements differ by their number of rows: keep them all prepared.
            .statement_cache_capacity(300)
            .disable_statement_logging()
    }

    /// A connection of the writer's own, to be kept for the process's life: the last close of a
    /// database deletes its WAL, and a growing WAL costs a journal commit per transaction.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        Ok(self.options().connect().await?)
    }

    /// The small local file that writers lock.
    fn turn_path(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".turn");
        name.into()
    }
}

/// A process's open database.
#[derive(Debug, Clone)]
pub struct Database {
    readers: SqlitePool,
    writer: Writer,
}

impl Database {
    /// Opens an existing database whose schema is this build's.
    ///
    /// # Errors
    /// It is missing, unreadable, not set up, or of another version; the text says the remedy.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        if !url.path.exists() {
            return Err(StoreError::Schema(format!(
                "{} does not exist: run `mailnode setup` first",
                url.path.display()
            )));
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READER_PATIENCE)
            .connect_with(url.options())
            .await?;
        check_schema(&readers).await?;
        let writer = Writer::start(url.clone(), Turn::open(url)?)?;
        Ok(Self { readers, writer })
    }

    /// Creates the database if there is none and brings its tables to this build's version.
    ///
    /// # Errors
    /// The file cannot be made, or a migration failed (nothing of it remains).
    pub async fn migrate(url: &DatabaseUrl) -> Result<(), StoreError> {
        let mut connection = url.options().create_if_missing(true).connect().await?;
        let turn = Turn::open(url)?;
        let guard = turn.take()?;
        let outcome = MIGRATIONS.run(&mut connection).await;
        drop(guard);
        connection.close().await?;
        outcome.map_err(|error| StoreError::Schema(error.to_string()))
    }

    /// The id of the cluster in a database of any version; `None` if there is no database, or no
    /// cluster in it. Changes nothing.
    ///
    /// # Errors
    /// The file is there and cannot be read as a database.
    pub(super) async fn peek_cluster(url: &DatabaseUrl) -> Result<Option<String>, StoreError> {
        if !url.path.exists() {
            return Ok(None);
        }
        let mut connection = url.options().connect().await?;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'cluster'",
        )
        .fetch_one(&mut connection)
        .await?;
        if tables == 0 {
            return Ok(None);
        }
        let id = sqlx::query_scalar("SELECT uuid FROM cluster").fetch_optional(&mut connection);
        Ok(id.await?)
    }

    /// Connections to read with.
    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// The one that writes.
    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT uuid FROM cluster").fetch_optional(&self.readers).await?;
        Ok(())
    }
}

async fn check_schema(readers: &SqlitePool) -> Result<(), StoreError> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let there: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(readers)
            .await;
    match there {
        Ok(Some(version)) if version == known => Ok(()),
        Ok(Some(version)) if version > known => Err(StoreError::Schema(format!(
            "its schema is version {version}, this program knows {known}: use a newer program"
        ))),
        Ok(version) => Err(StoreError::Schema(format!(
            "its schema is version {}, this program needs {known}: run `mailnode setup`",
            version.unwrap_or(0)
        ))),
        Err(sqlx::Error::Database(_)) => {
            Err(StoreError::Schema("it holds no cluster: run `mailnode setup` first".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// The turn among the processes that write to one SQLite database.
#[derive(Debug)]
pub(super) struct Turn(File);

impl Turn {
    fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let path = url.turn_path();
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map(Self).map_err(|error| StoreError::path("open", &path, error))
    }

    /// Waits for the turn; blocks the thread, so only the writer's own may call it.
    pub(super) fn take(&self) -> Result<TurnTaken<'_>, StoreError> {
        flock(&self.0, FlockOperation::LockExclusive)
            .map_err(|error| StoreError::file("flock of the database's turn", error))?;
        Ok(TurnTaken(&self.0))
    }
}

/// Gives the turn to the next on drop.
pub(super) struct TurnTaken<'t>(&'t File);

impl Drop for TurnTaken<'_> {
    fn drop(&mut self) {
        if let Err(error) = flock(self.0, FlockOperation::Unlock) {
            tracing::error!(%error, "the database's turn could not be given back");
        }
    }
}
