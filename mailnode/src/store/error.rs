//! What can go wrong behind the store's door, in the words an administrator can act on.
//! It does not know what a client is told: whoever asked decides, and any trouble is temporary.

use std::io;
use std::path::Path;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's own complaint.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
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
    /// What was asked for contradicts what is there; the text says the remedy.
    #[error("{0}")]
    Conflict(String),
}

impl StoreError {
    /// Whether what was asked may have been done after all.
    pub(super) fn leaves_outcome_unknown(&self) -> bool {
        matches!(self, Self::Late(_) | Self::Unknown(_) | Self::Ended)
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
