//! The turn among the processes that write to one SQLite database: a `flock` beside it.
//! It does not know what is written. SQLite's own busy wait starves; a blocking flock is fair, and
//! the kernel drops it when a process dies. A server needs no turns.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::error::StoreError;

/// The small local file that writers lock.
#[derive(Debug)]
pub(in crate::store) struct Turn(File);

impl Turn {
    /// For the database in this file.
    ///
    /// # Errors
    /// The file beside it cannot be made.
    pub(in crate::store) fn beside(database: &Path) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".turn");
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let opened = options.open(&path);
        opened.map(Self).map_err(|error| StoreError::path("open", Path::new(&path), error))
    }

    /// Waits for the turn; blocks the thread, so only the writer's own may call it.
    ///
    /// # Errors
    /// The system's answer.
    pub(in crate::store) fn take(&self) -> Result<TurnTaken<'_>, StoreError> {
        flock(&self.0, FlockOperation::LockExclusive)
            .map_err(|error| StoreError::file("flock of the database's turn", error))?;
        Ok(TurnTaken(&self.0))
    }
}

/// Gives the turn to the next on drop.
pub(in crate::store) struct TurnTaken<'t>(&'t File);

impl Drop for TurnTaken<'_> {
    fn drop(&mut self) {
        if let Err(error) = flock(self.0, FlockOperation::Unlock) {
            tracing::error!(%error, "the database's turn could not be given back");
        }
    }
}
