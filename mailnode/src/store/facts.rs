//! What the database server says of itself: its kind, its clock, and each of its settings with
//! which an acknowledged message could be lost. It does not know who asks; `checkup` does.

use super::Store;
use super::error::StoreError;
use super::nodes::NodeRow;
use super::sql::Kind;
use super::sql::Statement;

/// What the server says of itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name and version, in its own words.
    pub server: String,
    /// Its clock, microseconds since 1970 UTC.
    pub clock_us: i64,
    /// Every setting with which it does not keep what it acknowledges, and what helps.
    pub weaknesses: Vec<Weakness>,
    /// The nodes it knows.
    pub nodes: Vec<NodeRow>,
}

/// A setting with which an acknowledged message could be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weakness {
    /// What is set, and what may come of it.
    pub what: String,
    /// What to set instead.
    pub remedy: String,
}

impl Weakness {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl Store {
    /// Asks the server for all of it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn facts(&self) -> Result<Facts, StoreError> {
        let clock_us = self.database.readers().number(&Statement::new("SELECT {now}")).await?;
        let (server, weaknesses) = match self.database.readers().kind() {
            Kind::Sqlite => self.sqlite().await?,
            Kind::Postgres => self.postgres().await?,
            Kind::MySql => self.mysql().await?,
        };
        Ok(Facts { server, clock_us, weaknesses, nodes: self.nodes().await? })
    }

    async fn one(&self, text: &'static str) -> Result<String, StoreError> {
        let row = self.database.readers().row(&Statement::new(text)).await?;
        row.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?.text(0)
    }

    async fn sqlite(&self) -> Result<(String, Vec<Weakness>), StoreError> {
        let server = format!("SQLite {}", self.one("SELECT sqlite_version()").await?);
        let mut weaknesses = Vec::new();
        let journal = self.one("PRAGMA journal_mode").await?;
        if journal != "wal" {
            weaknesses.push(Weakness::new(
                format!("its journal is `{journal}`, not `wal`: readers and writers stop another"),
                "let no other program change it: `sqlite3 FILE 'PRAGMA journal_mode=WAL'`",
            ));
        }
        let synchronous = Statement::new("PRAGMA synchronous");
        let synchronous = self.database.readers().number(&synchronous).await?;
        if synchronous < 2 {
            weaknesses.push(Weakness::new(
                format!("synchronous is {synchronous}, not FULL: a power cut loses commits"),
                "a program of another version opened it; use this one's `mailnode`",
            ));
        }
        Ok((server, weaknesses))
    }

    async fn postgres(&self) -> Result<(String, Vec<Weakness>), StoreError> {
        let server = format!("PostgreSQL {}", self.one("SHOW server_version").await?);
        let mut weaknesses = Vec::new();
        for (setting, text) in
            [("fsync", "SHOW fsync"), ("full_page_writes", "SHOW full_page_writes")]
        {
            if self.one(text).await? == "off" {
                weaknesses.push(Weakness::new(
                    format!("{setting} is off: a crash of its machine loses or spoils commits"),
                    format!("`ALTER SYSTEM SET {setting} = on; SELECT pg_reload_conf();`"),
                ));
            }
        }
        let standbys = "SELECT CAST(count(*) AS BIGINT) FROM pg_stat_replication";
        let standbys = self.database.readers().number(&Statement::new(standbys)).await?;
        let others = self.database.readers().servers() > 1;
        let awaited = self.one("SHOW synchronous_standby_names").await?;
        if awaited.is_empty() && (standbys > 0 || others) {
            weaknesses.push(Weakness::new(
                "it has a standby whose confirmation is not awaited: if that is promoted, mail \
                 that was acknowledged may be missing",
                "`ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf();`",
            ));
        } else if !awaited.is_empty() && standbys == 0 {
            weaknesses.push(Weakness::new(
                format!(
                    "it waits for the standby `{awaited}`, and none is connected: no commit \
                         ends"
                ),
                "start the standby; while it is away, set synchronous_standby_names = ''",
            ));
        }
        Ok((server, weaknesses))
    }

    async fn mysql(&self) -> Result<(String, Vec<Weakness>), StoreError> {
        let server = self.one("SELECT version()").await?;
        let mut weaknesses = Vec::new();
        let flush = self.variable("innodb_flush_log_at_trx_commit").await?;
        if flush.as_deref().is_some_and(|flush| flush != "1") {
            weaknesses.push(Weakness::new(
                "innodb_flush_log_at_trx_commit is not 1: a crash of its machine loses commits",
                "set it to 1 in the server's configuration and with SET GLOBAL",
            ));
        }
        let is_on = |value: Option<String>| value.is_some_and(|value| value == "ON");
        if is_on(self.variable("log_bin").await?)
            && self.variable("sync_binlog").await?.is_some_and(|sync| sync != "1")
        {
            weaknesses.push(Weakness::new(
                "sync_binlog is not 1: after a crash the replica may lack what was acknowledged",
                "set it to 1 in the server's configuration and with SET GLOBAL",
            ));
        }
        if is_on(self.variable("wsrep_on").await?) {
            weaknesses.push(Weakness::new(
                "it is a node of a Galera cluster: written to at several nodes at once it loses \
                 updates and gives deadlocks at COMMIT",
                "give all mail nodes the same one node of it (`database`), or take a primary with \
                 a semi-synchronous replica",
            ));
        }
        let mut semi_sync = false;
        for name in ["rpl_semi_sync_master_enabled", "rpl_semi_sync_source_enabled"] {
            semi_sync |= is_on(self.variable(name).await?);
        }
        if self.database.readers().servers() > 1 && !semi_sync {
            weaknesses.push(Weakness::new(
                "`database` names several servers, and this one does not wait for its replica: if \
                 that is promoted, mail that was acknowledged may be missing",
                "`SET GLOBAL rpl_semi_sync_master_enabled = ON` here, \
                 `rpl_semi_sync_slave_enabled = ON` at the replica, in both configurations too",
            ));
        }
        Ok((server, weaknesses))
    }

    /// A variable of MariaDB or MySQL; `None`: this one has none of that name.
    async fn variable(&self, name: &str) -> Result<Option<String>, StoreError> {
        let show = Statement::new(format!("SHOW GLOBAL VARIABLES WHERE Variable_name = '{name}'"));
        self.database.readers().row(&show).await?.map(|row| row.text(1)).transpose()
    }
}
