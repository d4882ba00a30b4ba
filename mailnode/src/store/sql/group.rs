//! A group of deliveries into their mailboxes: the hottest write, so each database has its own
//! fewest round trips. It does not know why deliveries are grouped; the writer brings them.
//!
//! SQLite: two statements whatever the group's size (sqlx hands each to a thread and back, so
//! statements cost and rows do not). PostgreSQL: one statement, which is the transaction. MariaDB,
//! MySQL: two trips, the rows locked and read, then changed and committed. All of them lock the
//! mailboxes in ascending order of ids, so two groups of two nodes never wait for one another.

use std::fmt::Write as _;

use super::connection::Connection;
use super::dialect::Kind;
use super::quota;
use super::statement::Statement;
use crate::mail::MailboxId;
use crate::store::error::StoreError;
use crate::store::messages::{Delivery, NewMessage};

/// Rows in one INSERT on SQLite: with ten values each well under its 32,766 parameters.
const ROWS_MAX: usize = 500;
/// How far a mailbox's counters leap at its first change after a promotion: what the demoted
/// server gave out and did not hand on is never given out again.
pub(in crate::store) const LEAP: i64 = 10_000;

/// One of a message's texts.
type TextOf = fn(&NewMessage) -> &str;

/// How much a group adds to one mailbox, and how far its numbers have been given out.
struct Share {
    mailbox: MailboxId,
    count: i64,
    octets: i64,
    next_uid: i64,
    next_modseq: i64,
}

/// What one message is given.
struct Numbered<'d> {
    delivery: &'d Delivery,
    message: &'d NewMessage,
    uid: i64,
    modseq: i64,
}

/// What a group is kept under.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Terms {
    /// Of the server that is written to.
    pub(in crate::store) generation: i64,
    /// Whether any mailbox may be full: else none is asked.
    pub(in crate::store) has_quotas: bool,
}

/// Puts a group's rows in and commits them: all, or none.
///
/// # Errors
/// [`StoreError::MailboxGone`]; what the database says; perhaps it was committed all the same.
pub(in crate::store) async fn keep(
    connection: &mut Connection,
    group: &[&Delivery],
    terms: Terms,
) -> Result<(), StoreError> {
    match connection.kind() {
        Kind::Sqlite => {
            connection.begin().await?;
            insert(connection, group, terms).await?;
            connection.commit().await
        }
        Kind::Postgres => {
            let outcome = connection.commit_at_once(&in_one(group, terms)).await;
            outcome.map(drop).map_err(quota::told)
        }
        Kind::MySql => in_two(connection, group, terms, "START TRANSACTION;", "COMMIT").await,
    }
}

/// Puts a group's rows in, in a transaction that was begun.
///
/// # Errors
/// [`StoreError::MailboxGone`]; what the database says.
pub(in crate::store) async fn insert(
    connection: &mut Connection,
    group: &[&Delivery],
    terms: Terms,
) -> Result<(), StoreError> {
    match connection.kind() {
        Kind::Sqlite => in_rows(connection, group, terms).await,
        Kind::Postgres => {
            let outcome = connection.execute(&in_one(group, terms)).await;
            outcome.map(drop).map_err(quota::told)
        }
        Kind::MySql => in_two(connection, group, terms, "", "").await,
    }
}

/// Which mailboxes a group adds to, and how much, by their ids.
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
    shares.sort_by_key(|share| share.mailbox);
    shares
}

/// Gives each message its numbers, in the order of the group.
fn number<'d>(
    group: &[&'d Delivery],
    shares: &mut [Share],
) -> Result<Vec<Numbered<'d>>, StoreError> {
    let mut rows = Vec::new();
    for delivery in group {
        for message in &delivery.messages {
            let found = shares.binary_search_by_key(&message.mailbox, |share| share.mailbox);
            let share = &mut shares[found.map_err(|_| StoreError::MailboxGone)?];
            let (uid, modseq) = (share.next_uid, share.next_modseq);
            rows.push(Numbered { delivery, message, uid, modseq });
            share.next_uid += 1;
            share.next_modseq += 1;
        }
    }
    Ok(rows)
}

async fn in_rows(
    connection: &mut Connection,
    group: &[&Delivery],
    terms: Terms,
) -> Result<(), StoreError> {
    let mut shares = add_up(group);
    move_on(connection, &mut shares, terms.generation).await?;
    for shares in shares.chunks(ROWS_MAX).take_while(|_| terms.has_quotas) {
        let ids: Vec<i64> = shares.iter().map(|share| share.mailbox.0).collect();
        let mut over = Statement::new(quota::OVER);
        if connection.row(over.push_list(&ids)).await?.is_some() {
            return Err(StoreError::Full);
        }
    }
    let rows = number(group, &mut shares)?;
    for rows in rows.chunks(ROWS_MAX) {
        let mut statement = Statement::new(
            "INSERT INTO messages (mailbox_id, uid, guid, file, octets, sha256, \
             internal_date_us, modseq, delivery_id) VALUES ",
        );
        for (index, row) in rows.iter().enumerate() {
            let Numbered { delivery, message, uid, modseq } = row;
            statement.push(if index > 0 { ", (" } else { "(" }).push_value(message.mailbox.0);
            statement.push(", ").push_value(*uid);
            statement.push(", ").push_value(&message.guid.0);
            statement.push(", ").push_value(&message.file);
            statement.push(", ").push_value(message.octets);
            statement.push(", ").push_value(&message.sha256);
            statement.push(", ").push_value(delivery.internal_date_us);
            statement.push(", ").push_value(*modseq);
            statement.push(", ").push_value(&delivery.id.0).push(")");
        }
        connection.execute(&statement).await?;
    }
    Ok(())
}

/// SQLite: moves each mailbox's counters on and learns where they stood.
async fn move_on(
    connection: &mut Connection,
    shares: &mut [Share],
    generation: i64,
) -> Result<(), StoreError> {
    let mut numbered = 0;
    for shares in shares.chunks_mut(ROWS_MAX) {
        let mut statement = Statement::new("WITH added (id, count, octets) AS (VALUES ");
        for (index, share) in shares.iter().enumerate() {
            statement.push(if index > 0 { ", (" } else { "(" }).push_value(share.mailbox.0);
            statement.push(", ").push_value(share.count);
            statement.push(", ").push_value(share.octets).push(")");
        }
        let leap = leap(generation);
        // RETURNING sees only the mailboxes' own columns: the new values, the count is taken off.
        statement.push(&format!(
            ") UPDATE mailboxes SET uidnext = uidnext + {leap} + added.count, \
             highest_modseq = highest_modseq + {leap} + added.count, \
             messages = messages + added.count, octets = mailboxes.octets + added.octets, \
             generation = {generation} FROM added WHERE mailboxes.id = added.id \
             RETURNING mailboxes.id, mailboxes.uidnext, mailboxes.highest_modseq"
        ));
        for row in connection.rows(&statement).await? {
            let id = row.int(0)?;
            let found = shares.binary_search_by_key(&id, |share| share.mailbox.0);
            let share = &mut shares[found.map_err(|_| StoreError::MailboxGone)?];
            share.next_uid = row.int(1)? - share.count;
            share.next_modseq = row.int(2)? - share.count + 1;
            numbered += 1;
        }
    }
    if numbered < shares.len() { Err(StoreError::MailboxGone) } else { Ok(()) }
}

/// What a mailbox's counters leap by: nothing if its last change was in this generation.
pub(in crate::store) fn leap(generation: i64) -> String {
    format!("CASE WHEN mailboxes.generation < {generation} THEN {LEAP} ELSE 0 END")
}

/// PostgreSQL: all of it in one statement. One that finds a mailbox gone divides by zero, and so
/// undoes itself.
fn in_one(group: &[&Delivery], terms: Terms) -> Statement {
    let shares = add_up(group);
    let places = places(group, &shares);
    let rows: Vec<(&Delivery, &NewMessage)> =
        group.iter().flat_map(|one| one.messages.iter().map(move |row| (*one, row))).collect();
    let share = |of: fn(&Share) -> i64| shares.iter().map(of).collect::<Vec<i64>>();
    let ints = |of: fn(&NewMessage) -> i64| rows.iter().map(|row| of(row.1)).collect::<Vec<i64>>();
    let texts = |of: TextOf| rows.iter().map(|row| of(row.1).to_owned()).collect::<Vec<String>>();
    let generation = terms.generation;
    let leap = leap(generation);
    let (over, verdict) =
        if terms.has_quotas { (quota::OVER_MOVED, quota::OR_ROOT) } else { ("", "1") };
    Statement::new(format!(
        "WITH added AS ( \
           SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (id, count, octets) \
         ), locked AS MATERIALIZED ( \
           SELECT id FROM mailboxes WHERE id = ANY ($1) ORDER BY id FOR UPDATE \
         ), moved AS ( \
           UPDATE mailboxes SET uidnext = uidnext + {leap} + added.count, \
             highest_modseq = highest_modseq + {leap} + added.count, \
             messages = messages + added.count, octets = mailboxes.octets + added.octets, \
             generation = {generation} \
           FROM added JOIN locked ON locked.id = added.id WHERE mailboxes.id = added.id \
           RETURNING mailboxes.id, mailboxes.uidnext - added.count AS uid, \
             mailboxes.highest_modseq - added.count + 1 AS modseq, \
             mailboxes.account_id, mailboxes.messages, mailboxes.octets \
         ){over}, put AS ( \
           INSERT INTO messages (mailbox_id, uid, guid, file, octets, sha256, \
             internal_date_us, modseq, delivery_id) \
           SELECT given.mailbox, moved.uid + given.place, given.guid, given.file, given.octets, \
             given.sha256, given.date, moved.modseq + given.place, given.delivery \
           FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], \
             $9::text[], $10::bigint[], $11::text[]) \
             AS given (mailbox, place, guid, file, octets, sha256, date, delivery) \
           JOIN moved ON moved.id = given.mailbox RETURNING 1 \
         ) SELECT {verdict} / (CASE WHEN count(*) = $12 THEN 1 ELSE 0 END) FROM put"
    ))
    .bind(share(|share| share.mailbox.0))
    .bind(share(|share| share.count))
    .bind(share(|share| share.octets))
    .bind(ints(|message| message.mailbox.0))
    .bind(places)
    .bind(texts(|message| &message.guid.0))
    .bind(texts(|message| &message.file))
    .bind(ints(|message| message.octets))
    .bind(texts(|message| &message.sha256))
    .bind(rows.iter().map(|row| row.0.internal_date_us).collect::<Vec<i64>>())
    .bind(rows.iter().map(|row| row.0.id.0.clone()).collect::<Vec<String>>())
    .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

/// Each message's place among those of the group for its mailbox, from 0.
fn places(group: &[&Delivery], shares: &[Share]) -> Vec<i64> {
    let mut next = vec![0; shares.len()];
    let messages = group.iter().flat_map(|delivery| &delivery.messages);
    let placed = messages.filter_map(|message| {
        let at = shares.binary_search_by_key(&message.mailbox, |share| share.mailbox).ok()?;
        next[at] += 1;
        Some(next[at] - 1)
    });
    placed.collect()
}

/// MariaDB, MySQL: locks and reads the mailboxes in one trip, changes and commits in another.
/// Values stand in the text, numbers as they are and text in hexadecimal: nothing to escape.
async fn in_two(
    connection: &mut Connection,
    group: &[&Delivery],
    terms: Terms,
    opening: &str,
    closing: &str,
) -> Result<(), StoreError> {
    let generation = terms.generation;
    let mut shares = add_up(group);
    let ids: Vec<String> = shares.iter().map(|share| share.mailbox.0.to_string()).collect();
    let ids = ids.join(", ");
    let locked = format!(
        "{opening} SELECT id, uidnext, highest_modseq, generation FROM mailboxes \
         WHERE id IN ({ids}) ORDER BY id FOR UPDATE"
    );
    let locked = connection.script(locked).await?;
    if locked.len() < shares.len() {
        return Err(StoreError::MailboxGone);
    }
    let mut cases = [const { String::new() }; 4];
    for (share, row) in shares.iter_mut().zip(locked) {
        let leap = if row.int(3)? < generation { LEAP } else { 0 };
        share.next_uid = row.int(1)? + leap;
        share.next_modseq = row.int(2)? + leap + 1;
        let new = [
            share.next_uid + share.count,
            share.next_modseq + share.count - 1,
            share.count,
            share.octets,
        ];
        for (case, number) in cases.iter_mut().zip(new) {
            // Writing to a String cannot fail.
            let _ = write!(case, " WHEN {} THEN {number}", share.mailbox.0);
        }
    }
    let [uidnext, modseq, count, octets] = cases;
    let mut script = format!(
        "UPDATE mailboxes SET uidnext = CASE id{uidnext} END, \
         highest_modseq = CASE id{modseq} END, messages = messages + CASE id{count} END, \
         octets = octets + CASE id{octets} END, generation = {generation} WHERE id IN ({ids}); \
         INSERT INTO messages (mailbox_id, uid, guid, file, octets, sha256, \
         internal_date_us, modseq, delivery_id) VALUES"
    );
    write_rows(&mut script, &number(group, &mut shares)?);
    if terms.has_quotas {
        let _ = write!(script, "; {}", quota::OR_TWO_ROWS.replace("{ids}", &ids));
    }
    let _ = write!(script, "; {closing}");
    let outcome = connection.script(script.trim_end_matches("; ").to_owned()).await;
    outcome.map(drop).map_err(quota::told)
}

/// MariaDB, MySQL: what follows VALUES.
fn write_rows(script: &mut String, rows: &[Numbered<'_>]) {
    for (index, row) in rows.iter().enumerate() {
        let Numbered { delivery, message, uid, modseq } = row;
        let _ = write!(
            script,
            "{}({}, {uid}, {}, {}, {}, {}, {}, {modseq}, {})",
            if index > 0 { ", " } else { " " },
            message.mailbox.0,
            hexadecimal(&message.guid.0),
            hexadecimal(&message.file),
            message.octets,
            hexadecimal(&message.sha256),
            delivery.internal_date_us,
            hexadecimal(&delivery.id.0),
        );
    }
}

fn hexadecimal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() * 2 + 12);
    literal.push_str("_utf8mb4 X'");
    for byte in text.bytes() {
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}
