//! Takes away files that belong to nobody: those whose rows were removed a while ago, and orphans,
//! which a crash between file and commit left. It does not know when it runs; the node's chores do.
//!
//! An orphan's age is told by its name, and a commit never begins for a file half that old: so no
//! file can be taken away under a delivery that is still to be committed.

use std::collections::HashSet;
use std::time::Duration;

use super::Store;
use super::error::StoreError;
use super::sql::Statement;
use crate::mail::ids::created_us;

/// Rows looked at in one step.
const PAGE: i64 = 500;

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files unlinked whose rows had been removed.
    pub removed: u64,
    /// Files unlinked that no row names.
    pub orphans: u64,
}

impl Store {
    /// Whether this node is to sweep now: of all that ask, one is told yes per `interval`.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn claim_sweep(&self, interval: Duration) -> Result<bool, StoreError> {
        let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        self.change(move |connection| {
            Box::pin(async move {
                let update = "UPDATE chores SET due_us = {now} + $1 \
                              WHERE name = 'sweep' AND due_us <= {now}";
                Ok(connection.execute(&Statement::new(update).bind(interval)).await? == 1)
            })
        })
        .await
    }

    /// Sweeps once. `now_us`: this machine's time, as in the names it gives.
    ///
    /// # Errors
    /// It ended half-way; what was done is done.
    pub async fn sweep(&self, orphan_age: Duration, now_us: i64) -> Result<Swept, StoreError> {
        let mut swept = Swept { removed: self.sweep_removals().await?, orphans: 0 };
        let age = i64::try_from(orphan_age.as_micros()).unwrap_or(i64::MAX);
        let mut after = 0;
        loop {
            let page = Statement::new(
                "SELECT id, directory FROM accounts WHERE id > $1 ORDER BY id LIMIT $2",
            );
            let page = page.bind(after).bind(PAGE);
            let accounts = self.database.readers().rows(&page).await?;
            let Some(last) = accounts.last() else { return Ok(swept) };
            after = last.int(0)?;
            for row in accounts {
                let (account, directory) = (row.int(0)?, row.text(1)?);
                swept.orphans +=
                    self.sweep_directory(account, &directory, now_us.saturating_sub(age)).await?;
            }
        }
    }

    async fn sweep_removals(&self) -> Result<u64, StoreError> {
        let due = "SELECT file FROM removals WHERE due_us <= {now} LIMIT $1";
        let due = Statement::new(due).bind(PAGE);
        let mut removed = 0;
        loop {
            let files = self.texts(&due).await?;
            if files.is_empty() {
                return Ok(removed);
            }
            removed += files.len() as u64;
            self.files.unlink(files.clone()).await?;
            self.change(move |connection| {
                Box::pin(async move {
                    for file in files {
                        let delete = Statement::new("DELETE FROM removals WHERE file = $1");
                        connection.execute(&delete.bind(&file)).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        }
    }

    /// Unlinks the orphans of one account that are older than `before_us`.
    async fn sweep_directory(
        &self,
        account: i64,
        directory: &str,
        before_us: i64,
    ) -> Result<u64, StoreError> {
        let names = self.files.names(directory.to_owned()).await?;
        let old = |name: &String| created_us(name).is_some_and(|created| created < before_us);
        let mut old: Vec<String> =
            names.into_iter().filter(old).map(|name| format!("{directory}/{name}")).collect();
        if old.is_empty() {
            return Ok(0);
        }
        // Rows are asked for after the listing: what is older than the limit and has no row by
        // now will never have one.
        let known = Statement::new(
            "SELECT file FROM messages \
             WHERE mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = $1) \
             UNION ALL SELECT file FROM removals",
        );
        let known = self.texts(&known.bind(account)).await?;
        let known: HashSet<String> = known.into_iter().collect();
        old.retain(|file| !known.contains(file));
        let orphans = old.len() as u64;
        for file in &old {
            tracing::warn!(file, "an orphan is swept");
        }
        self.files.unlink(old).await?;
        Ok(orphans)
    }

    /// The first column of an answer.
    async fn texts(&self, statement: &Statement) -> Result<Vec<String>, StoreError> {
        let rows = self.database.readers().rows(statement).await?;
        rows.iter().map(|row| row.text(0)).collect()
    }
}
