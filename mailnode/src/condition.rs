//! How the node is: whether the parts it stands on are there, looked at every second.
//! It does not know what follows from it; `/ready` and the protocols ask.
//!
//! A store that was lost and is back needs nobody's hand: the next look finds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::shutdown::Stop;

use crate::metrics::{self, Part};
use crate::store::{FileStore, Store, StoreError};

/// How often the parts are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// A part that takes longer to answer is not well: a hung mount answers never.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was seen last.
#[derive(Debug, Default)]
pub struct Condition {
    takes_mail: AtomicBool,
    /// A sentence per part that is not well; `None`: nobody has looked yet.
    faults: Mutex<Option<Vec<String>>>,
}

impl Condition {
    /// Whether mail can be taken: database and mail store are there. The log store is not needed
    /// for that; its lines go to the process's log meanwhile.
    pub fn takes_mail(&self) -> bool {
        self.takes_mail.load(Ordering::Relaxed)
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// What is not, in a sentence per part.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.faults.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Err("starting".to_owned()),
            Some(faults) if faults.is_empty() => Ok(()),
            Some(faults) => Err(faults.join("; ")),
        }
    }

    /// Looks at every part once.
    pub async fn look(&self, store: &Store, logs: &FileStore) {
        let (database, mail, logs) = tokio::join!(
            in_time("the database", store.check_database()),
            in_time("the mail store", store.files().check()),
            in_time("the log store", logs.check()),
        );
        self.takes_mail.store(database.is_ok() && mail.is_ok(), Ordering::Relaxed);
        let mut faults = Vec::new();
        for (part, outcome) in
            [(Part::Database, database), (Part::MailStore, mail), (Part::LogStore, logs)]
        {
            metrics::part(part, outcome.is_ok());
            faults.extend(outcome.err().map(|error: StoreError| error.to_string()));
        }
        self.note(faults);
    }

    fn note(&self, faults: Vec<String>) {
        let mut noted = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let before = noted.replace(faults);
        let now = noted.as_deref().unwrap_or_default();
        if before.as_deref().unwrap_or_default() != now {
            match now {
                [] => tracing::info!("ready again"),
                faults => tracing::error!(faults = faults.join("; "), "not ready"),
            }
        }
    }
}

async fn in_time(
    part: &'static str,
    check: impl Future<Output = Result<(), StoreError>>,
) -> Result<(), StoreError> {
    tokio::time::timeout(PATIENCE, check).await.unwrap_or(Err(StoreError::Late(part)))
}

/// Looks again and again until the stop.
pub async fn watch(condition: Arc<Condition>, store: Store, logs: FileStore, stop: Stop) {
    loop {
        condition.look(&store, &logs).await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.requested() => return,
        }
    }
}
