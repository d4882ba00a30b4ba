//! Message rows: put in by groups, listed, taken out. UIDs and modification numbers are given here,
//! in the transaction that makes them visible, under the mailbox row's lock; so they are seen in
//! order on every node. It does not know files but by name, nor who asks.

use super::Store;
use super::error::StoreError;
use super::lane;
use super::sql::group::LEAP;
use super::sql::{Connection, Statement};
use crate::mail::{DeliveryId, Guid, MailboxId, Uid};

/// Rows named in one statement.
const ROWS_MAX: usize = 512;

/// One message for one or several mailboxes: all of them get it, or none.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its id; committing it twice is impossible.
    pub id: DeliveryId,
    /// When it was taken, in microseconds since 1970.
    pub internal_date_us: i64,
    /// A row per mailbox; never empty.
    pub messages: Vec<NewMessage>,
}

/// A message whose file is already safe on disk.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Where it goes.
    pub mailbox: MailboxId,
    /// Its identity for ever.
    pub guid: Guid,
    /// Its file beneath the mail root.
    pub file: String,
    /// The file's size.
    pub octets: i64,
    /// The file's SHA-256, hexadecimal.
    pub sha256: String,
}

/// A message row as a listing shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its number in the mailbox.
    pub uid: i64,
    /// Its identity for ever.
    pub guid: String,
    /// Its size.
    pub octets: i64,
    /// Its file beneath the mail root.
    pub file: String,
}

impl Store {
    /// Keeps a delivery's rows in one transaction, grouped with those that wait beside it.
    ///
    /// # Errors
    /// Nothing was kept, or nobody knows (after looking it up): temporary trouble either way.
    pub async fn deliver(&self, delivery: Delivery) -> Result<(), StoreError> {
        let id = delivery.id.clone();
        let outcome = self.database.writer().deliver(delivery, self.commit_patience).await;
        match outcome {
            Err(error) if error.leaves_outcome_unknown() && self.is_kept(&id).await? => {
                tracing::warn!(%id, %error, "kept after all: its rows are there");
                self.change(|connection| Box::pin(lane::confirm(connection))).await
            }
            outcome => outcome,
        }
    }

    /// Whether a delivery is kept: its rows come in one transaction, so any of them says all.
    pub(super) async fn is_kept(&self, delivery: &DeliveryId) -> Result<bool, StoreError> {
        let count = Statement::new("SELECT count(*) FROM messages WHERE delivery_id = $1");
        Ok(self.database.readers().number(&count.bind(&delivery.0)).await? > 0)
    }

    /// A mailbox's messages, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self, mailbox: MailboxId) -> Result<Vec<Listed>, StoreError> {
        let list =
            "SELECT uid, guid, octets, file FROM messages WHERE mailbox_id = $1 ORDER BY uid";
        let rows = self.database.readers().rows(&Statement::new(list).bind(mailbox.0)).await?;
        let listed = rows.into_iter().map(|row| {
            Ok(Listed {
                uid: row.int(0)?,
                guid: row.text(1)?,
                octets: row.int(2)?,
                file: row.text(3)?,
            })
        });
        listed.collect()
    }

    /// Removes messages for good, all in one transaction; those that are gone already are passed
    /// over. Their files follow when nobody can be reading them any more.
    ///
    /// # Errors
    /// None was removed.
    pub async fn remove(&self, mailbox: MailboxId, uids: Vec<Uid>) -> Result<u64, StoreError> {
        self.change(move |connection| Box::pin(remove(connection, mailbox, uids))).await
    }
}

pub(super) async fn remove(
    connection: &mut Connection,
    mailbox: MailboxId,
    uids: Vec<Uid>,
) -> Result<u64, StoreError> {
    // The mailbox's row first, as everywhere: whoever holds it has the messages to himself.
    let lock = "SELECT generation, (SELECT max(generation) FROM generations) FROM mailboxes \
                WHERE id = $1{lock}";
    let locked = connection.row(&Statement::new(lock).bind(mailbox.0)).await?;
    let Some(locked) = locked else { return Ok(0) };
    let (before, generation) = (locked.int(0)?, locked.int(1)?);
    let mut leap = if before < generation { LEAP } else { 0 };
    let uids: Vec<i64> = uids.into_iter().map(|uid| uid.0).collect();
    let mut removed = 0;
    for uids in uids.chunks(ROWS_MAX) {
        let chosen = |front: &'static str| {
            let mut statement = Statement::new(front).bind(mailbox.0);
            statement.push(" FROM messages WHERE mailbox_id = $1 AND uid IN ").push_list(uids);
            statement
        };
        let sums = "SELECT count(*), CAST(coalesce(sum(octets), 0) AS {bigint})";
        let Some(sums) = connection.row(&chosen(sums)).await? else { continue };
        let put = "INSERT INTO removals (file, due_us) SELECT file, {now} + 3600000000";
        connection.execute(&chosen(put)).await?;
        let count = Statement::new(
            "UPDATE mailboxes SET highest_modseq = highest_modseq + 1 + $1, \
             uidnext = uidnext + $1, messages = messages - $2, octets = octets - $3, \
             generation = $4 WHERE id = $5",
        );
        let count = count.bind(leap).bind(sums.int(0)?).bind(sums.int(1)?).bind(generation);
        connection.execute(&count.bind(mailbox.0)).await?;
        leap = 0;
        removed += connection.execute(&chosen("DELETE")).await?;
    }
    Ok(removed)
}
