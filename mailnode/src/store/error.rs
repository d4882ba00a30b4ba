//! What can go wrong behind the store's door, in the words an administrator can act on.
//! It does not know what a client is told: whoever asked decides, and any trouble is temporary.

use std::io;
use std::path::Path;

use sqlx::mysql::MySqlDatabaseError;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's own complaint.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// No server may be used now: each one's address (without its password) and why not.
    #[error("database: {0}")]
    Away(String),
    /// Another database takes its place just now.
    #[error("database: writes are held up for seconds: `mailnode switch` moves it just now")]
    Frozen,
    /// The database is no cluster's, or another version's.
    #[error("database: {0}")]
    Schema(String),
    /// A plain system call on the file store failed.
    #[error("file store: {what}: {error}")]
    File {
        /// What was tried, on which name beneath the root.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The marker with the cluster's id is not where it should be: the mount is lost, or another's.
    #[error("file store: {0}")]
    Lost(String),
    /// It took longer than allowed; what was asked may or may not have been done.
    #[error("{0} took longer than allowed")]
    Late(&'static str),
    /// The database failed at the commit and does not say whether it was done.
    #[error("the outcome of a commit is not known: {0}")]
    Unknown(String),
    /// The store's own thread is gone; only a new start helps.
    #[error("the database writer has ended")]
    Ended,
    /// A mailbox of the delivery was removed since it was asked for.
    #[error("a mailbox of the delivery is gone")]
    MailboxGone,
    /// A mailbox of the delivery has no room for it.
    #[error("a mailbox of the delivery is full")]
    Full,
    /// What was asked for contradicts what is there; the text says the remedy.
    #[error("{0}")]
    Conflict(String),
}

/// PostgreSQL: it stops, crashed or starts; all connections are taken; it is read-only.
const PASSING_STATES: [&str; 5] = ["57P01", "57P02", "57P03", "53300", "25006"];
/// MariaDB, MySQL: all connections are taken; it stops; it is read-only; the connection was ended.
const PASSING_NUMBERS: [u16; 5] = [1040, 1053, 1290, 1836, 1927];

impl StoreError {
    /// Whether what was asked may have been done after all.
    pub(super) fn leaves_outcome_unknown(&self) -> bool {
        !matches!(self, Self::MailboxGone | Self::Full | Self::Conflict(_))
    }

    /// Whether it is the server that is away, not the statement that is wrong: with another
    /// connection, perhaps to another server, it may go well.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Away(_) | Self::Frozen => true,
            Self::Database(sqlx::Error::Database(said)) => {
                let number =
                    said.try_downcast_ref::<MySqlDatabaseError>().map(|said| said.number());
                let state = said.code().unwrap_or_default();
                number.is_some_and(|number| PASSING_NUMBERS.contains(&number))
                    || PASSING_STATES.contains(&&*state)
                    || state.starts_with("08")
            }
            Self::Database(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))
            }
            _ => false,
        }
    }

    /// Whether a row of the same key is there already.
    pub(super) fn is_there_already(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(said)) => said.is_unique_violation(),
            _ => false,
        }
    }

    /// The text without the word `database:` in front of it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Database(error) => error.to_string(),
            Self::Away(text) | Self::Schema(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// For a system call on `what` that failed.
    pub(super) fn file(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::File { what: what.into(), error: error.into() }
    }

    /// For a path that failed.
    pub(super) fn path(what: &str, path: &Path, error: impl Into<io::Error>) -> Self {
        Self::file(format!("{what} {}", path.display()), error)
    }
}
