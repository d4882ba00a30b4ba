//! Whether a group of deliveries has room: asked in its transaction, behind the counters' change.
//! It does not know the group; `group` builds this into its statements, and only where a user with
//! a quota was seen. A quota is of all mailboxes of a user.
//!
//! PostgreSQL and MariaDB are told everything in one text, so it must fail by itself: each of the
//! two has an error for it that nothing else there can bring about.

use sqlx::mysql::MySqlDatabaseError;

use crate::store::error::StoreError;

/// MariaDB, MySQL: "Subquery returns more than 1 row".
const TWO_ROWS: u16 = 1242;

/// SQLite: a row for each mailbox that holds too much; the list of mailboxes follows.
pub(super) const OVER: &str = "SELECT mailboxes.id FROM mailboxes \
     JOIN accounts ON accounts.id = mailboxes.account_id \
     WHERE ((quota_octets > 0 AND quota_octets < (SELECT sum(mine.octets) \
     FROM mailboxes mine WHERE mine.account_id = accounts.id)) \
     OR (quota_messages > 0 AND quota_messages < (SELECT sum(mine.messages) \
     FROM mailboxes mine WHERE mine.account_id = accounts.id))) AND mailboxes.id IN ";

/// PostgreSQL: one more part of the statement. What it changes is seen in `moved` alone; the other
/// mailboxes of the user are as they were when it began.
pub(super) const OVER_MOVED: &str = ", over_quota AS ( \
       SELECT 1 FROM moved JOIN accounts ON accounts.id = moved.account_id \
       WHERE (quota_octets > 0 AND quota_octets < moved.octets + coalesce((SELECT \
         sum(mine.octets) FROM mailboxes mine \
         WHERE mine.account_id = accounts.id AND mine.id <> moved.id), 0)) \
       OR (quota_messages > 0 AND quota_messages < moved.messages + coalesce((SELECT \
         sum(mine.messages) FROM mailboxes mine \
         WHERE mine.account_id = accounts.id AND mine.id <> moved.id), 0)) \
     )";

/// PostgreSQL: 1, or the root of -1 where a mailbox is full.
pub(super) const OR_ROOT: &str =
    "CAST(sqrt(CASE WHEN EXISTS (SELECT 1 FROM over_quota) THEN -1 ELSE 1 END) AS BIGINT)";

/// MariaDB, MySQL: one row, or two where one is allowed if a mailbox is full.
pub(super) const OR_TWO_ROWS: &str = "SELECT (SELECT 1 UNION ALL SELECT 2 FROM mailboxes \
     JOIN accounts ON accounts.id = mailboxes.account_id WHERE mailboxes.id IN ({ids}) \
     AND ((quota_octets > 0 AND quota_octets < (SELECT sum(mine.octets) \
     FROM mailboxes mine WHERE mine.account_id = accounts.id)) \
     OR (quota_messages > 0 AND quota_messages < (SELECT sum(mine.messages) \
     FROM mailboxes mine WHERE mine.account_id = accounts.id))))";

/// What the errors mean: PostgreSQL's "division by zero" is a mailbox that is gone.
pub(super) fn told(error: StoreError) -> StoreError {
    let StoreError::Database(sqlx::Error::Database(said)) = &error else { return error };
    let number = said.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
    match (said.code().as_deref(), number) {
        (_, Some(TWO_ROWS)) | (Some("2201F"), None) => StoreError::Full,
        (Some("22012"), None) => StoreError::MailboxGone,
        _ => error,
    }
}
