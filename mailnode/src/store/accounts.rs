//! Users: who exists, and what may each of them do.
//! It does not know how a password is checked; it keeps the hash.

use super::Store;
use super::domains::{domain_id, unless_there};
use super::error::StoreError;
use super::import::UserData;
use super::sql::{Connection, Statement};
use crate::mail::{EmailAddress, INBOX};

/// What a login is checked against.
#[derive(Debug, Clone)]
pub struct Login {
    /// The hash, as a PHC string.
    pub password_hash: String,
    /// `active` or `disabled`.
    pub state: String,
    /// Its first mailbox.
    pub mailbox_id: i64,
    /// The account.
    pub account_id: i64,
    /// The account's own address, whichever of its addresses was given.
    pub address: String,
    /// SCRAM-SHA-256 verifier; empty: there is none yet.
    pub scram: String,
    /// What it may be used for.
    pub permits: Permits,
}

/// What an account may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Permits {
    /// Sending mail.
    pub sending: bool,
    /// Fetching from its first mailbox.
    pub fetching: bool,
    /// All its mailboxes, from anywhere.
    pub reading: bool,
}

/// A user as a listing shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct User {
    /// The address.
    pub address: String,
    /// Display name.
    pub name: String,
    /// `active` or `disabled`.
    pub state: String,
    /// What it may be used for.
    #[serde(flatten)]
    pub permits: Permits,
    /// Octets it may have; 0: no limit.
    pub quota_octets: i64,
    /// Messages it may have; 0: no limit.
    pub quota_messages: i64,
    /// Messages in all its mailboxes.
    pub messages: i64,
    /// Their size in octets.
    pub octets: i64,
}

impl Store {
    /// What a login with this address is checked against; `None`: there is none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn login(&self, address: &EmailAddress) -> Result<Option<Login>, StoreError> {
        if let Some(login) = self.login_as(&address.to_string()).await? {
            return Ok(Some(login));
        }
        match self.real_domain(address.domain()).await? {
            Some(domain) => self.login_as(&address.at(&domain).to_string()).await,
            None => Ok(None),
        }
    }

    async fn login_as(&self, address: &str) -> Result<Option<Login>, StoreError> {
        let find = Statement::new(
            "SELECT password_hash, state, mailboxes.id, accounts.id, address, scram, \
             may_smtp, may_pop3, may_imap FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id AND mailboxes.name = $1 \
             WHERE accounts.address = $2",
        );
        let find = find.bind(INBOX).bind(address);
        let read = self.database.readers().row(&find).await?.map(|row| {
            Ok(Login {
                password_hash: row.text(0)?,
                state: row.text(1)?,
                mailbox_id: row.int(2)?,
                account_id: row.int(3)?,
                address: row.text(4)?,
                scram: row.text(5)?,
                permits: Permits {
                    sending: row.int(6)? != 0,
                    fetching: row.int(7)? != 0,
                    reading: row.int(8)? != 0,
                },
            })
        });
        read.transpose()
    }

    /// Adds a user and the first mailbox.
    ///
    /// # Errors
    /// The address is taken, or its domain is not served.
    pub async fn add_user(
        &self,
        address: EmailAddress,
        data: impl Into<UserData>,
    ) -> Result<(), StoreError> {
        let data = data.into();
        self.change(move |connection| Box::pin(add_user(connection, address, data))).await
    }

    /// All users, by address.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let list = Statement::new(
            "SELECT address, state, CAST(sum(messages) AS {bigint}), \
             CAST(sum(octets) AS {bigint}), display_name, may_smtp, may_pop3, may_imap, \
             quota_octets, quota_messages FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id \
             GROUP BY accounts.id, address, state, display_name, may_smtp, may_pop3, may_imap, \
             quota_octets, quota_messages ORDER BY address",
        );
        let rows = self.database.readers().rows(&list).await?;
        let users = rows.into_iter().map(|row| {
            Ok(User {
                address: row.text(0)?,
                state: row.text(1)?,
                messages: row.int(2)?,
                octets: row.int(3)?,
                name: row.text(4)?,
                permits: Permits {
                    sending: row.int(5)? != 0,
                    fetching: row.int(6)? != 0,
                    reading: row.int(7)? != 0,
                },
                quota_octets: row.int(8)?,
                quota_messages: row.int(9)?,
            })
        });
        users.collect()
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
                // What was made of the old password goes with it.
                let update = Statement::new(
                    "UPDATE accounts SET password_hash = $1, scram = '', changed_us = {now} \
                     WHERE address = $2",
                );
                let update = update.bind(&hash).bind(address.to_string());
                if connection.execute(&update).await? == 0 {
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
    connection: &mut Connection,
    address: EmailAddress,
    data: UserData,
) -> Result<(), StoreError> {
    let domain = domain_id(connection, address.domain()).await?;
    let find = "SELECT count(*) FROM aliases WHERE address = $1";
    let aliases = connection.number(&Statement::new(find).bind(address.to_string())).await?;
    if aliases > 0 {
        return Err(StoreError::Conflict(format!("{address} is an alias: remove it first")));
    }
    let insert = Statement::new(
        "INSERT INTO accounts (domain_id, address, directory, password_hash, scram, \
         display_name, quota_octets, quota_messages, created_us, changed_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {now}, {now})",
    );
    let insert = insert.bind(domain).bind(address.to_string()).bind(address.directory());
    let insert = insert.bind(&data.password_hash).bind(&data.scram).bind(&data.name);
    let insert = insert.bind(data.quota_octets).bind(data.quota_messages);
    let outcome = connection.execute(&insert).await;
    unless_there(outcome, || format!("the user {address} is there already"))?;
    let account = account_id(connection, &address).await?;
    let uidvalidity = take_uidvalidity(connection).await?;
    let insert = Statement::new(
        "INSERT INTO mailboxes (account_id, name, uidvalidity, generation) \
         VALUES ($1, $2, $3, (SELECT max(generation) FROM generations))",
    );
    connection.execute(&insert.bind(account).bind(INBOX).bind(uidvalidity)).await.map(drop)
}

/// Takes the next UIDVALIDITY.
pub(super) async fn take_uidvalidity(connection: &mut Connection) -> Result<i64, StoreError> {
    // RFC 9051 §2.3.1.1: never lower than any given before, so that a mailbox made again under an
    // old name is never taken for the old one. The time keeps it right even after a lost database.
    let counter = "SELECT value, {now} FROM counters WHERE name = 'uidvalidity'{lock}";
    let counter = connection.row(&Statement::new(counter)).await?;
    let counter = counter.ok_or_else(|| {
        StoreError::Schema(
            "its table of counters is empty: it was not set up to its end".to_owned(),
        )
    })?;
    let uidvalidity = (counter.int(0)? + 1).max(counter.int(1)? / 1_000_000);
    let keep = Statement::new("UPDATE counters SET value = $1 WHERE name = 'uidvalidity'");
    connection.execute(&keep.bind(uidvalidity)).await?;
    Ok(uidvalidity)
}

/// The account of an address, locked.
async fn account_id(
    connection: &mut Connection,
    address: &EmailAddress,
) -> Result<i64, StoreError> {
    let find = Statement::new("SELECT id FROM accounts WHERE address = $1{lock}");
    let row = connection.row(&find.bind(address.to_string())).await?;
    row.ok_or_else(|| no_user(address))?.int(0)
}

async fn remove_user(connection: &mut Connection, address: EmailAddress) -> Result<(), StoreError> {
    let account = account_id(connection, &address).await?;
    // The mailboxes' rows before their messages, as everywhere.
    let lock = Statement::new("SELECT id FROM mailboxes WHERE account_id = $1 ORDER BY id{lock}");
    connection.rows(&lock.bind(account)).await?;
    for statement in [
        "INSERT INTO removals (file, due_us) SELECT file, {now} FROM messages \
         WHERE mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = $1)",
        "DELETE FROM messages \
         WHERE mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = $1)",
        "DELETE FROM mailboxes WHERE account_id = $1",
        "DELETE FROM account_addresses WHERE account_id = $1",
        "DELETE FROM accounts WHERE id = $1",
    ] {
        connection.execute(&Statement::new(statement).bind(account)).await?;
    }
    for statement in [
        "DELETE FROM aliases WHERE target = $1",
        "DELETE FROM list_members WHERE address = $1",
        "UPDATE domains SET catch_all = '' WHERE catch_all = $1",
        "DELETE FROM settings WHERE value = $1 AND name LIKE 'postmaster %'",
    ] {
        connection.execute(&Statement::new(statement).bind(address.to_string())).await?;
    }
    Ok(())
}

pub(super) fn no_user(address: &EmailAddress) -> StoreError {
    StoreError::Conflict(format!("there is no user {address}"))
}
