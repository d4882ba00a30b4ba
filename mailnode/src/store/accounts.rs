//! Users: who exists, and whose address this is.
//! It does not know how a password is checked; it keeps the hash.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, FromRow};

use super::Store;
use super::database::NOW_US;
use super::domains::{domain_id, unless_there};
use super::error::StoreError;
use crate::mail::{Destination, EmailAddress, INBOX, MailboxId};

/// How many aliases may lead to one another before it is a loop to us.
const ALIAS_DEPTH_MAX: usize = 10;
/// How many mailboxes one address may lead to.
const DESTINATIONS_MAX: usize = 1_000;

/// What the store knows of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Mailboxes its mail goes to; never empty.
    Mailboxes(Vec<Destination>),
    /// The domain is served here, the address is nobody's.
    Nobody,
    /// The domain is not served here.
    ForeignDomain,
    /// All it leads to may not receive.
    Disabled,
}

/// What a login is checked against.
#[derive(Debug, Clone, FromRow)]
pub struct Login {
    /// The hash, as a PHC string.
    pub password_hash: String,
    /// `active` or `disabled`.
    pub state: String,
    /// Its first mailbox.
    pub mailbox_id: i64,
}

/// A user as a listing shows it.
#[derive(Debug, Clone, FromRow, serde::Serialize)]
pub struct User {
    /// The address.
    pub address: String,
    /// `active` or `disabled`.
    pub state: String,
    /// Messages in all its mailboxes.
    pub messages: i64,
    /// Their size in octets.
    pub octets: i64,
}

#[derive(FromRow)]
struct AccountRow {
    state: String,
    directory: String,
    mailbox_id: i64,
}

impl Store {
    /// Where an address's mail goes, aliases followed.
    ///
    /// # Errors
    /// The database does not answer: temporary, and never a "nobody".
    pub async fn find(&self, address: &EmailAddress) -> Result<Found, StoreError> {
        let mut found = Vec::new();
        let (mut disabled, mut any) = (false, false);
        let mut seen = HashSet::from([address.to_string()]);
        let mut asked = vec![address.to_string()];
        for _ in 0..ALIAS_DEPTH_MAX {
            let mut next = Vec::new();
            for address in asked {
                if let Some(account) = self.account(&address).await? {
                    any = true;
                    if account.state == "active" {
                        let mailbox = MailboxId(account.mailbox_id);
                        found.push(Destination { mailbox, directory: account.directory });
                    } else {
                        disabled = true;
                    }
                    continue;
                }
                next.extend(self.targets(&address).await?);
            }
            next.retain(|target| seen.insert(target.clone()));
            if next.is_empty() || found.len() + next.len() > DESTINATIONS_MAX {
                break;
            }
            asked = next;
        }
        if !found.is_empty() {
            return Ok(Found::Mailboxes(found));
        }
        if any && disabled {
            return Ok(Found::Disabled);
        }
        let served: Option<i64> = sqlx::query_scalar("SELECT id FROM domains WHERE name = $1")
            .bind(address.domain())
            .fetch_optional(self.database.readers())
            .await?;
        Ok(if served.is_some() { Found::Nobody } else { Found::ForeignDomain })
    }

    async fn account(&self, address: &str) -> Result<Option<AccountRow>, StoreError> {
        let row = sqlx::query_as(
            "SELECT accounts.state, accounts.directory, mailboxes.id AS mailbox_id FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id AND mailboxes.name = $1 \
             WHERE accounts.address = $2",
        )
        .bind(INBOX)
        .bind(address)
        .fetch_optional(self.database.readers())
        .await?;
        Ok(row)
    }

    async fn targets(&self, address: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query_scalar("SELECT target FROM aliases WHERE address = $1")
            .bind(address)
            .fetch_all(self.database.readers())
            .await?;
        Ok(rows)
    }

    /// What a login with this address is checked against; `None`: there is none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn login(&self, address: &EmailAddress) -> Result<Option<Login>, StoreError> {
        let row = sqlx::query_as(
            "SELECT password_hash, state, mailboxes.id AS mailbox_id FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id AND mailboxes.name = $1 \
             WHERE accounts.address = $2",
        )
        .bind(INBOX)
        .bind(address.to_string())
        .fetch_optional(self.database.readers())
        .await?;
        Ok(row)
    }

    /// Adds a user and the first mailbox.
    ///
    /// # Errors
    /// The address is taken, or its domain is not served.
    pub async fn add_user(&self, address: EmailAddress, hash: String) -> Result<(), StoreError> {
        self.change(move |connection| Box::pin(add_user(connection, address, hash))).await
    }

    /// All users, by address.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT address, state, CAST(sum(messages) AS BIGINT) AS messages, \
             CAST(sum(octets) AS BIGINT) AS octets FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id \
             GROUP BY accounts.id, address, state ORDER BY address",
        )
        .fetch_all(self.database.readers())
        .await?;
        Ok(rows)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn set_password(
        &self,
        address: EmailAddress,
        hash: String,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let outcome =
                    sqlx::query("UPDATE accounts SET password_hash = $1 WHERE address = $2")
                        .bind(&hash)
                        .bind(address.to_string())
                        .execute(connection)
                        .await?;
                if outcome.rows_affected() == 0 {
                    return Err(no_user(&address));
                }
                Ok(())
            })
        })
        .await
    }

    /// Removes a user with all mail; files follow after a while.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn remove_user(&self, address: EmailAddress) -> Result<(), StoreError> {
        self.change(move |connection| Box::pin(remove_user(connection, address))).await
    }
}

async fn add_user(
    connection: &mut SqliteConnection,
    address: EmailAddress,
    hash: String,
) -> Result<(), StoreError> {
    let domain = domain_id(connection, address.domain()).await?;
    let aliases: i64 = sqlx::query_scalar("SELECT count(*) FROM aliases WHERE address = $1")
        .bind(address.to_string())
        .fetch_one(&mut *connection)
        .await?;
    if aliases > 0 {
        return Err(StoreError::Conflict(format!("{address} is an alias: remove it first")));
    }
    let insert = format!(
        "INSERT INTO accounts (domain_id, address, directory, password_hash, created_us) \
         VALUES ($1, $2, $3, $4, {NOW_US}) RETURNING id"
    );
    let outcome = sqlx::query_scalar(AssertSqlSafe(insert))
        .bind(domain)
        .bind(address.to_string())
        .bind(address.directory())
        .bind(&hash)
        .fetch_one(&mut *connection)
        .await;
    let account: i64 = unless_there(outcome, || format!("the user {address} is there already"))?;
    // RFC 9051 §2.3.1.1: never lower than any given before, so that a mailbox made again under an
    // old name is never taken for the old one. The time keeps it right even after a lost database.
    let uidvalidity: i64 = sqlx::query_scalar(
        "UPDATE counters SET value = max(value + 1, unixepoch()) WHERE name = 'uidvalidity' \
         RETURNING value",
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO mailboxes (account_id, name, uidvalidity) VALUES ($1, $2, $3)")
        .bind(account)
        .bind(INBOX)
        .bind(uidvalidity)
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove_user(
    connection: &mut SqliteConnection,
    address: EmailAddress,
) -> Result<(), StoreError> {
    let account: Option<i64> = sqlx::query_scalar("SELECT id FROM accounts WHERE address = $1")
        .bind(address.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let account = account.ok_or_else(|| no_user(&address))?;
    let removals =
        format!("INSERT INTO removals (file, due_us) SELECT file, {NOW_US} FROM messages");
    const ITS_MAILBOXES: &str =
        "WHERE mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = $1)";
    for statement in [
        format!("{removals} {ITS_MAILBOXES}"),
        format!("DELETE FROM messages {ITS_MAILBOXES}"),
        "DELETE FROM mailboxes WHERE account_id = $1".to_owned(),
        "DELETE FROM accounts WHERE id = $1".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement)).bind(account).execute(&mut *connection).await?;
    }
    sqlx::query("DELETE FROM aliases WHERE target = $1")
        .bind(address.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

fn no_user(address: &EmailAddress) -> StoreError {
    StoreError::Conflict(format!("there is no user {address}"))
}
