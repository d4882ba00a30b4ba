//! Domains and aliases: whose addresses are served, and which lead to others.
//! It does not know users but by their addresses.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, FromRow};

use super::Store;
use super::database::NOW_US;
use super::error::StoreError;
use crate::mail::EmailAddress;

/// An alias as a listing shows it.
#[derive(Debug, Clone, FromRow, serde::Serialize)]
pub struct Alias {
    /// The address.
    pub address: String,
    /// Where its mail goes.
    pub target: String,
}

/// A domain as a listing shows it.
#[derive(Debug, Clone, FromRow, serde::Serialize)]
pub struct Domain {
    /// The name.
    pub name: String,
    /// Its users.
    pub users: i64,
    /// Its aliases.
    pub aliases: i64,
}

impl Store {
    /// Serves a domain from now on.
    ///
    /// # Errors
    /// It is there already, or the database does not answer.
    pub async fn add_domain(&self, name: String) -> Result<(), StoreError> {
        let insert = format!("INSERT INTO domains (name, created_us) VALUES ($1, {NOW_US})");
        self.change(move |connection| {
            Box::pin(async move {
                let outcome =
                    sqlx::query(AssertSqlSafe(insert)).bind(&name).execute(connection).await;
                unless_there(outcome, || format!("the domain {name} is there already")).map(drop)
            })
        })
        .await
    }

    /// All domains, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn domains(&self) -> Result<Vec<Domain>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT name, \
             (SELECT count(*) FROM accounts WHERE domain_id = domains.id) AS users, \
             (SELECT count(*) FROM aliases WHERE domain_id = domains.id) AS aliases \
             FROM domains ORDER BY name",
        )
        .fetch_all(self.database.readers())
        .await?;
        Ok(rows)
    }

    /// Serves a domain no longer.
    ///
    /// # Errors
    /// There is none, or it still has users or aliases.
    pub async fn remove_domain(&self, name: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let domain = domain_id(connection, &name).await?;
                let left: i64 = sqlx::query_scalar(
                    "SELECT (SELECT count(*) FROM accounts WHERE domain_id = $1) \
                     + (SELECT count(*) FROM aliases WHERE domain_id = $1)",
                )
                .bind(domain)
                .fetch_one(&mut *connection)
                .await?;
                if left > 0 {
                    return Err(StoreError::Conflict(format!(
                        "the domain {name} still has {left} users and aliases: remove them first"
                    )));
                }
                sqlx::query("DELETE FROM domains WHERE id = $1")
                    .bind(domain)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Adds an alias: mail to `address` goes to `target`, which may be an alias itself.
    ///
    /// # Errors
    /// It is there already, the address is a user's, or one of the two leads nowhere.
    pub async fn add_alias(
        &self,
        address: EmailAddress,
        target: EmailAddress,
    ) -> Result<(), StoreError> {
        self.change(move |connection| Box::pin(add_alias(connection, address, target))).await
    }

    /// All aliases, by address.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        let rows = sqlx::query_as("SELECT address, target FROM aliases ORDER BY address, target")
            .fetch_all(self.database.readers())
            .await?;
        Ok(rows)
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// There is none.
    pub async fn remove_alias(
        &self,
        address: EmailAddress,
        target: EmailAddress,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let outcome = sqlx::query("DELETE FROM aliases WHERE address = $1 AND target = $2")
                    .bind(address.to_string())
                    .bind(target.to_string())
                    .execute(connection)
                    .await?;
                if outcome.rows_affected() == 0 {
                    return Err(StoreError::Conflict(format!(
                        "there is no alias from {address} to {target}"
                    )));
                }
                Ok(())
            })
        })
        .await
    }
}

async fn add_alias(
    connection: &mut SqliteConnection,
    address: EmailAddress,
    target: EmailAddress,
) -> Result<(), StoreError> {
    let domain = domain_id(connection, address.domain()).await?;
    let is_known = "SELECT (SELECT count(*) FROM accounts WHERE address = $1) \
                    + $2 * (SELECT count(*) FROM aliases WHERE address = $1)";
    for (of, with_aliases) in [(&address, 0), (&target, 1)] {
        let known: i64 = sqlx::query_scalar(is_known)
            .bind(of.to_string())
            .bind(with_aliases)
            .fetch_one(&mut *connection)
            .await?;
        if of == &address && known > 0 {
            return Err(StoreError::Conflict(format!(
                "{address} is a user, not free for an alias"
            )));
        }
        if of == &target && known == 0 {
            return Err(StoreError::Conflict(format!("{target} is no user and no alias here")));
        }
    }
    let insert = format!(
        "INSERT INTO aliases (address, target, domain_id, created_us) VALUES ($1, $2, $3, {NOW_US})"
    );
    let outcome = sqlx::query(AssertSqlSafe(insert))
        .bind(address.to_string())
        .bind(target.to_string())
        .bind(domain)
        .execute(connection)
        .await;
    unless_there(outcome, || format!("the alias from {address} to {target} is there already"))
        .map(drop)
}

pub(super) async fn domain_id(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<i64, StoreError> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM domains WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    id.ok_or_else(|| {
        StoreError::Conflict(format!(
            "the domain {name} is not served here: add it with `mailnode domain add {name}`"
        ))
    })
}

/// An outcome, a broken uniqueness told in words.
pub(super) fn unless_there<T>(
    outcome: Result<T, sqlx::Error>,
    words: impl FnOnce() -> String,
) -> Result<T, StoreError> {
    outcome.map_err(|error| match &error {
        sqlx::Error::Database(said) if said.is_unique_violation() => StoreError::Conflict(words()),
        _ => error.into(),
    })
}
