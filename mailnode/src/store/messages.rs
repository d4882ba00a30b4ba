//! Message rows: put in by groups, listed, taken out. UIDs and modification numbers are given here,
//! in the transaction that makes them visible, under the mailbox row's lock; so they are seen in
//! order on every node. It does not know files but by name, nor who asks.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::Store;
use super::database::NOW_US;
use super::error::StoreError;
use crate::mail::{DeliveryId, Guid, MailboxId, Uid};

/// Rows in one INSERT: with ten values each well under SQLite's 32,766 parameters.
const ROWS_MAX: usize = 500;
/// How long a file outlives its row, for sessions that still read it: longer than any session.
const REMOVAL_DELAY_US: i64 = 3_600 * 1_000_000;

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
#[derive(Debug, Clone, sqlx::FromRow)]
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

/// How much a group adds to one mailbox, and how far its numbers have been given out.
struct Share {
    mailbox: MailboxId,
    count: i64,
    octets: i64,
    next_uid: i64,
    next_modseq: i64,
}

/// Puts a group's rows in. Two statements whatever the group's size (sqlx hands each statement to
/// a thread and back: statements cost, rows do not).
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    group: &[&Delivery],
) -> Result<(), StoreError> {
    let mut shares = add_up(group);
    number(connection, &mut shares).await?;
    let mut rows: Vec<(&Delivery, &NewMessage, Numbers)> = Vec::new();
    for delivery in group {
        for message in &delivery.messages {
            let numbers = take_numbers(&mut shares, message.mailbox)?;
            rows.push((delivery, message, numbers));
        }
    }
    for rows in rows.chunks(ROWS_MAX) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO messages (mailbox_id, uid, guid, file, octets, sha256, \
             internal_date_us, modseq, delivery_id) ",
        );
        query.push_values(rows, |mut row, (delivery, message, numbers)| {
            row.push_bind(message.mailbox.0)
                .push_bind(numbers.uid)
                .push_bind(&message.guid.0)
                .push_bind(&message.file)
                .push_bind(message.octets)
                .push_bind(&message.sha256)
                .push_bind(delivery.internal_date_us)
                .push_bind(numbers.modseq)
                .push_bind(&delivery.id.0);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

fn add_up(group: &[&Delivery]) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for message in group.iter().flat_map(|delivery| &delivery.messages) {
        match shares.iter_mut().find(|share| share.mailbox == message.mailbox) {
            Some(share) => {
                share.count += 1;
                share.octets += message.octets;
            }
            None => shares.push(Share {
                mailbox: message.mailbox,
                count: 1,
                octets: message.octets,
                next_uid: 0,
                next_modseq: 0,
            }),
        }
    }
    shares
}

/// Moves each mailbox's counters on and learns where they stood. The UPDATE locks the rows, in
/// order of their ids, so that two groups can never wait for one another.
async fn number(connection: &mut SqliteConnection, shares: &mut [Share]) -> Result<(), StoreError> {
    shares.sort_by_key(|share| share.mailbox);
    let mut numbered = 0;
    for shares in shares.chunks_mut(ROWS_MAX) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH added (id, count, octets) AS (");
        query.push_values(&*shares, |mut row, share| {
            row.push_bind(share.mailbox.0).push_bind(share.count).push_bind(share.octets);
        });
        // RETURNING sees only the mailboxes' own columns: the new values, the count is taken off.
        query.push(
            ") UPDATE mailboxes SET uidnext = uidnext + added.count, \
             highest_modseq = highest_modseq + added.count, \
             messages = messages + added.count, octets = mailboxes.octets + added.octets \
             FROM added WHERE mailboxes.id = added.id \
             RETURNING mailboxes.id, mailboxes.uidnext, mailboxes.highest_modseq",
        );
        let rows: Vec<(i64, i64, i64)> = query.build_query_as().fetch_all(&mut *connection).await?;
        for (id, uidnext, modseq) in rows {
            let found = shares.binary_search_by_key(&id, |share| share.mailbox.0);
            let share = &mut shares[found.map_err(|_| StoreError::MailboxGone)?];
            share.next_uid = uidnext - share.count;
            share.next_modseq = modseq - share.count + 1;
            numbered += 1;
        }
    }
    if numbered < shares.len() { Err(StoreError::MailboxGone) } else { Ok(()) }
}

/// What one message is given.
struct Numbers {
    uid: i64,
    modseq: i64,
}

fn take_numbers(shares: &mut [Share], mailbox: MailboxId) -> Result<Numbers, StoreError> {
    let found = shares.binary_search_by_key(&mailbox, |share| share.mailbox);
    let share = &mut shares[found.map_err(|_| StoreError::MailboxGone)?];
    let numbers = Numbers { uid: share.next_uid, modseq: share.next_modseq };
    share.next_uid += 1;
    share.next_modseq += 1;
    Ok(numbers)
}

/// Whether all of a delivery's rows are there.
pub(super) async fn is_whole(
    connection: &mut SqliteConnection,
    delivery: &Delivery,
) -> Result<bool, StoreError> {
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM messages WHERE delivery_id = $1")
        .bind(&delivery.id.0)
        .fetch_one(connection)
        .await?;
    Ok(usize::try_from(rows) == Ok(delivery.messages.len()))
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
            Err(error) if error.leaves_outcome_unknown() && self.is_kept(&id).await? => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether a delivery is kept: its rows come in one transaction, so any of them says all.
    async fn is_kept(&self, delivery: &DeliveryId) -> Result<bool, StoreError> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM messages WHERE delivery_id = $1")
            .bind(&delivery.0)
            .fetch_one(self.database.readers())
            .await?;
        Ok(rows > 0)
    }

    /// A mailbox's messages, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list(&self, mailbox: MailboxId) -> Result<Vec<Listed>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT uid, guid, octets, file FROM messages WHERE mailbox_id = $1 ORDER BY uid",
        )
        .bind(mailbox.0)
        .fetch_all(self.database.readers())
        .await?;
        Ok(rows)
    }

    /// Removes messages for good, all in one transaction; those that are gone already are passed
    /// over. Their files follow when nobody can be reading them any more.
    ///
    /// # Errors
    /// None was removed.
    pub async fn remove(&self, mailbox: MailboxId, uids: Vec<Uid>) -> Result<u64, StoreError> {
        self.database
            .writer()
            .change(move |connection| Box::pin(remove(connection, mailbox, uids)))
            .await
    }
}

async fn remove(
    connection: &mut SqliteConnection,
    mailbox: MailboxId,
    uids: Vec<Uid>,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    for uids in uids.chunks(ROWS_MAX) {
        let mut listed = QueryBuilder::<Sqlite>::new(format!(
            "INSERT INTO removals (file, due_us) SELECT file, {NOW_US} + {REMOVAL_DELAY_US} "
        ));
        push_chosen(&mut listed, mailbox, uids);
        listed.build().execute(&mut *connection).await?;
        let mut counted = QueryBuilder::<Sqlite>::new(
            "UPDATE mailboxes SET highest_modseq = highest_modseq + 1, \
             messages = messages - chosen.count, octets = mailboxes.octets - chosen.octets \
             FROM (SELECT count(*) AS count, coalesce(sum(octets), 0) AS octets ",
        );
        push_chosen(&mut counted, mailbox, uids);
        counted.push(") AS chosen WHERE mailboxes.id = ").push_bind(mailbox.0);
        counted.build().execute(&mut *connection).await?;
        let mut deleted = QueryBuilder::<Sqlite>::new("DELETE ");
        push_chosen(&mut deleted, mailbox, uids);
        removed += deleted.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(removed)
}

/// `FROM messages WHERE …`: the messages of a mailbox with these numbers.
fn push_chosen(query: &mut QueryBuilder<Sqlite>, mailbox: MailboxId, uids: &[Uid]) {
    query.push("FROM messages WHERE mailbox_id = ").push_bind(mailbox.0).push(" AND uid IN (");
    let mut list = query.separated(", ");
    for uid in uids {
        list.push_bind(uid.0);
    }
    query.push(")");
}
