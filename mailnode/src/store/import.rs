//! Many users at once: which are there already, and the others put in, a batch a transaction.
//! It does not know the file they come from; `mailnode import` reads it and asks in batches.

use std::collections::{HashMap, HashSet};

use super::Store;
use super::error::StoreError;
use super::sql::{Connection, Statement};
use crate::mail::{EmailAddress, INBOX};

/// Users in one batch: with seven values each well under SQLite's 32,766 parameters.
pub const BATCH_MAX: usize = 500;

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserData {
    /// The password's hash, in any form that logins are checked against.
    pub password_hash: String,
    /// SCRAM-SHA-256 verifier; empty: the next login makes one.
    pub scram: String,
    /// Display name.
    pub name: String,
    /// Octets; 0: no limit.
    pub quota_octets: i64,
    /// Messages; 0: no limit.
    pub quota_messages: i64,
}

impl From<String> for UserData {
    /// A user without name and quota.
    fn from(password_hash: String) -> Self {
        Self { password_hash, ..Self::default() }
    }
}

/// What is there already of the addresses asked for.
#[derive(Debug, Default)]
pub struct Taken {
    /// Users, by address.
    pub users: HashMap<String, UserData>,
    /// Addresses that are no users' own: aliases, lists, further addresses of users.
    pub others: HashSet<String>,
}

impl Store {
    /// Who of these is there already; at most [`BATCH_MAX`] of them.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn taken(&self, addresses: &[String]) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        if addresses.is_empty() {
            return Ok(taken);
        }
        let mut find = Statement::new(
            "SELECT address, password_hash, display_name, quota_octets, quota_messages \
             FROM accounts WHERE address IN ",
        );
        push_texts(&mut find, addresses);
        for row in self.database.readers().rows(&find).await? {
            let data = UserData {
                password_hash: row.text(1)?,
                scram: String::new(),
                name: row.text(2)?,
                quota_octets: row.int(3)?,
                quota_messages: row.int(4)?,
            };
            taken.users.insert(row.text(0)?, data);
        }
        for table in ["aliases", "lists", "account_addresses"] {
            let mut find = Statement::new(format!("SELECT address FROM {table} WHERE address IN "));
            push_texts(&mut find, addresses);
            for row in self.database.readers().rows(&find).await? {
                taken.others.insert(row.text(0)?);
            }
        }
        Ok(taken)
    }

    /// Puts in new users with a first mailbox each, all or none; at most [`BATCH_MAX`] of them.
    ///
    /// # Errors
    /// One is there already, a domain is not served; then nobody was put in.
    pub async fn add_batch(&self, users: Vec<(EmailAddress, UserData)>) -> Result<(), StoreError> {
        if users.is_empty() {
            return Ok(());
        }
        self.change(move |connection| Box::pin(add_batch(connection, users))).await
    }
}

async fn add_batch(
    connection: &mut Connection,
    users: Vec<(EmailAddress, UserData)>,
) -> Result<(), StoreError> {
    let domains = domains(connection, &users).await?;
    let mut insert = Statement::new(
        "INSERT INTO accounts (domain_id, address, directory, password_hash, scram, \
         display_name, quota_octets, quota_messages, created_us, changed_us) VALUES ",
    );
    for (index, (address, data)) in users.iter().enumerate() {
        let domain = domains.get(address.domain()).copied().ok_or_else(|| {
            StoreError::Conflict(format!("the domain {} is not served here", address.domain()))
        })?;
        insert.push(if index > 0 { ", (" } else { "(" }).push_value(domain);
        insert.push(", ").push_value(address.to_string());
        insert.push(", ").push_value(address.directory());
        insert.push(", ").push_value(&data.password_hash);
        insert.push(", ").push_value(&data.scram);
        insert.push(", ").push_value(&data.name);
        insert.push(", ").push_value(data.quota_octets);
        insert.push(", ").push_value(data.quota_messages).push(", {now}, {now})");
    }
    let outcome = connection.execute(&insert).await;
    super::domains::unless_there(outcome, || {
        "one of the users was added by somebody else meanwhile: run it again".to_owned()
    })?;
    // One for all of them: it tells mailboxes of one name and one account apart.
    let uidvalidity = super::accounts::take_uidvalidity(connection).await?;
    let addresses: Vec<String> = users.iter().map(|(address, _)| address.to_string()).collect();
    let mut insert = Statement::new("INSERT INTO mailboxes (account_id, name, uidvalidity, ");
    insert.push("generation) SELECT id, ").push_value(INBOX);
    insert.push(", ").push_value(uidvalidity);
    insert.push(", (SELECT max(generation) FROM generations) FROM accounts WHERE address IN ");
    push_texts(&mut insert, &addresses);
    connection.execute(&insert).await.map(drop)
}

/// The numbers of the domains of these users, locked: none can be removed meanwhile.
async fn domains(
    connection: &mut Connection,
    users: &[(EmailAddress, UserData)],
) -> Result<HashMap<String, i64>, StoreError> {
    let names: HashSet<&str> = users.iter().map(|(address, _)| address.domain()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut find = Statement::new("SELECT name, id FROM domains WHERE name IN ");
    push_texts(&mut find, &names);
    find.push(" ORDER BY id{lock}");
    let rows = connection.rows(&find).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// Writes `($n, ...)`; filled up to one of few lengths by its last text, as few different
/// statements are prepared and kept.
fn push_texts(statement: &mut Statement, texts: &[String]) {
    let length = if texts.len() > BATCH_MAX / 2 { BATCH_MAX } else { texts.len() };
    let last = texts.last().into_iter().cycle();
    statement.push("(");
    for (index, text) in texts.iter().chain(last).take(length.max(texts.len())).enumerate() {
        if index > 0 {
            statement.push(", ");
        }
        statement.push_value(text);
    }
    statement.push(")");
}
