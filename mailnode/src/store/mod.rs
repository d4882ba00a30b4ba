//! The only door to what is kept: rows in SQL, messages in files. Each question a connection may
//! ask is one method of [`Store`].
//! It does not know any protocol, nor who asks; every error here is temporary trouble to a client.

mod accounts;
mod database;
mod domains;
mod error;
mod facts;
mod files;
mod hashes;
mod held;
mod import;
mod lane;
mod leases;
mod lookup;
mod messages;
mod nodes;
mod other_domains;
#[cfg(test)]
mod plans;
mod setup;
mod sql;
mod sweep;
mod switch;
mod users;
mod writer;

use std::path::Path;
use std::time::Duration;

pub use accounts::{Login, User};
pub use domains::{Alias, Domain, DomainChanges};
pub use error::StoreError;
pub use facts::{Facts, Weakness};
pub use files::{Draft, FileStore, Kept, MARKER};
pub use import::{BATCH_MAX, Taken, UserData};
pub use leases::{Asked, Holder, Lease};
pub use lookup::Found;
pub use messages::{Delivery, Listed, NewMessage};
pub use nodes::{HEARTBEAT_INTERVAL, NodeRow, SILENCE_MAX};
pub use setup::{SetUp, set_up};
pub use sql::url::{DatabaseUrl, DatabaseUrls};
pub use sweep::Swept;
pub use switch::{Plan, Progress, Switched, Target, plan, switch};
pub use users::UserChanges;

/// Database and file store of one cluster.
#[derive(Debug, Clone)]
pub struct Store {
    database: database::Database,
    files: FileStore,
    cluster: String,
    commit_patience: Duration,
}

impl Store {
    /// Opens the database of a cluster that was set up. Of the file store only its path is taken:
    /// it may be away now and come back.
    ///
    /// `orphan_age`: how old a file without a row must be to be swept; no commit begins for one
    /// that is half as old.
    ///
    /// # Errors
    /// The database is missing, not set up, or of another version; the text says the remedy.
    pub async fn open(
        databases: &DatabaseUrls,
        mail_root: &Path,
        orphan_age: Duration,
    ) -> Result<Self, StoreError> {
        let database = database::Database::open(databases).await?;
        let cluster = setup::cluster(&database).await?.ok_or_else(|| {
            StoreError::Schema("it was not set up to its end: run `mailnode setup`".to_owned())
        })?;
        let files = FileStore::new(mail_root, &cluster);
        let commit_patience = writer::CHANGE_PATIENCE.min(orphan_age / 4);
        Ok(Self { database, files, cluster, commit_patience })
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The messages' files.
    pub fn files(&self) -> &FileStore {
        &self.files
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What it said instead.
    pub async fn check_database(&self) -> Result<(), StoreError> {
        self.database.check().await
    }

    async fn change<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut sql::Connection) -> writer::Work<'c, T> + Send + 'static,
    {
        self.database.writer().change(work).await
    }
}
