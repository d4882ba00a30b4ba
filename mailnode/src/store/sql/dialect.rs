//! What SQLite, PostgreSQL and MariaDB or MySQL spell differently, side by side; the insertion of
//! a group stands in `group` beside it. Every other statement is the same text for all three.
//! It does not know what is kept.
//!
//! Isolation is READ COMMITTED with row locks (`{lock}`) taken in ascending order of ids; a write
//! on SQLite begins IMMEDIATE, for a deferred one that reads first fails at once when another has
//! committed in between.

use super::standing::SWITCH;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// One file, one machine.
    Sqlite,
    /// PostgreSQL 13 and later.
    Postgres,
    /// MariaDB 10.6 and later, MySQL 8.
    MySql,
}

impl Kind {
    /// What `{word}` in a statement stands for.
    pub(in crate::store) fn word(self, word: &str) -> &'static str {
        match (word, self) {
            // The database's own clock, microseconds since 1970: leases and heartbeats go by it.
            ("now", Self::Sqlite) => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            ("now", Self::Postgres) => {
                "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
            }
            ("now", Self::MySql) => "CAST(unix_timestamp(now(6)) * 1000000 AS SIGNED)",
            // The type to which a sum is brought: each of them has another for sums.
            ("bigint", Self::MySql) => "SIGNED",
            ("bigint", _) => "BIGINT",
            // Locks the rows that are read; on SQLite the transaction has locked all of them.
            ("lock", Self::Sqlite) => "",
            ("lock", _) => " FOR UPDATE",
            // A word that none of them knows, so that the database says where it stands.
            _ => "UNKNOWN_WORD",
        }
    }

    /// Begins a transaction that writes.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
            Self::MySql => "START TRANSACTION",
        }
    }

    /// What a connection that writes is told first. A lock that is not given in time is an error,
    /// and so temporary trouble. PostgreSQL must have a commit on disk (and on the standby, where
    /// there is one) before it says so, whatever its settings are.
    pub(in crate::store) fn writer_session(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => {
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET lock_timeout = '10s'; SET client_min_messages = 'warning'; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            }
            Self::MySql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION innodb_lock_wait_timeout = 10"
            }
        }
    }

    /// What a connection that reads is told first: nobody waits longer for an answer, so the
    /// server need not look for one any longer.
    pub(super) fn reader_session(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "SET statement_timeout = '10s'",
            // MySQL takes for a comment what MariaDB reads.
            Self::MySql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SET SESSION lock_wait_timeout = 10 /*M! , max_statement_time = 10 */"
            }
        }
    }

    /// An expression: 1 if this server may be written to, 0 if it is a standby.
    fn writable(self) -> &'static str {
        match self {
            Self::Sqlite => "1",
            Self::Postgres => {
                "CAST(CASE WHEN pg_is_in_recovery() OR \
                 current_setting('transaction_read_only') = 'on' THEN 0 ELSE 1 END AS BIGINT)"
            }
            Self::MySql => "CAST(CASE WHEN @@global.read_only = 0 THEN 1 ELSE 0 END AS SIGNED)",
        }
    }

    /// One row with one number: 1 if this server may be written to.
    pub(in crate::store) fn is_writable(self) -> String {
        format!("SELECT {}", self.writable())
    }

    /// One row: may it be written to (1 or 0); which server this is, another one after a promotion;
    /// the cluster's id; the number and the server of the newest generation; the value of the row
    /// that says whether it is in force, and whether (1 or 0) its time is still to come.
    pub(in crate::store) fn look(self) -> String {
        let server = match self {
            Self::Sqlite => "'sqlite'",
            Self::Postgres => {
                "CASE WHEN pg_is_in_recovery() THEN '' ELSE \
                 (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()) || '/' || \
                 substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
            }
            Self::MySql => "CAST(@@server_id AS CHAR)",
        };
        let writable = self.writable();
        format!(
            "SELECT {writable}, {server}, (SELECT uuid FROM cluster), \
             coalesce((SELECT max(generation) FROM generations), 0), \
             coalesce((SELECT server FROM generations ORDER BY generation DESC LIMIT 1), ''), \
             coalesce((SELECT value FROM settings WHERE name = '{SWITCH}'), ''), \
             CAST(coalesce((SELECT CASE WHEN changed_us > {{now}} THEN 1 ELSE 0 END \
             FROM settings WHERE name = '{SWITCH}'), 0) AS {{bigint}})"
        )
    }

    /// Counts the tables of this name in the database.
    pub(in crate::store) fn tables_named(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1",
            Self::Postgres => {
                "SELECT count(*) FROM pg_tables \
                 WHERE tablename = $1 AND schemaname = ANY (current_schemas(false))"
            }
            Self::MySql => {
                "SELECT count(*) FROM information_schema.tables \
                 WHERE table_name = $1 AND table_schema = database()"
            }
        }
    }
}
