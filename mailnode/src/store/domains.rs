//! Domains and aliases: whose addresses are served, and which lead to others.
//! It does not know users but by their addresses.

use super::Store;
use super::error::StoreError;
use super::sql::{Connection, Statement};
use crate::mail::EmailAddress;

/// An alias as a listing shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Alias {
    /// The address.
    pub address: String,
    /// Where its mail goes.
    pub target: String,
}

/// A domain as a listing shows it.
#[derive(Debug, Clone, serde::Serialize)]
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
        self.change(move |connection| {
            Box::pin(async move {
                let insert = "INSERT INTO domains (name, created_us) VALUES ($1, {now})";
                let outcome = connection.execute(&Statement::new(insert).bind(&name)).await;
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
        let list = "SELECT name, \
                    (SELECT count(*) FROM accounts WHERE domain_id = domains.id), \
                    (SELECT count(*) FROM aliases WHERE domain_id = domains.id) \
                    FROM domains ORDER BY name";
        let rows = self.database.readers().rows(&Statement::new(list)).await?;
        let domains = rows
            .into_iter()
            .map(|row| Ok(Domain { name: row.text(0)?, users: row.int(1)?, aliases: row.int(2)? }));
        domains.collect()
    }

    /// Serves a domain no longer.
    ///
    /// # Errors
    /// There is none, or it still has users or aliases.
    pub async fn remove_domain(&self, name: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let domain = domain_id(connection, &name).await?;
                let count = "SELECT (SELECT count(*) FROM accounts WHERE domain_id = $1) \
                             + (SELECT count(*) FROM aliases WHERE domain_id = $1)";
                let left = connection.number(&Statement::new(count).bind(domain)).await?;
                if left > 0 {
                    return Err(StoreError::Conflict(format!(
                        "the domain {name} still has {left} users and aliases: remove them first"
                    )));
                }
                let delete = Statement::new("DELETE FROM domains WHERE id = $1").bind(domain);
                connection.execute(&delete).await.map(drop)
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
        let list = "SELECT address, target FROM aliases ORDER BY address, target";
        let rows = self.database.readers().rows(&Statement::new(list)).await?;
        let aliases =
            rows.into_iter().map(|row| Ok(Alias { address: row.text(0)?, target: row.text(1)? }));
        aliases.collect()
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
                let delete =
                    Statement::new("DELETE FROM aliases WHERE address = $1 AND target = $2");
                let delete = delete.bind(address.to_string()).bind(target.to_string());
                if connection.execute(&delete).await? == 0 {
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
    connection: &mut Connection,
    address: EmailAddress,
    target: EmailAddress,
) -> Result<(), StoreError> {
    let domain = domain_id(connection, address.domain()).await?;
    let is_known = "SELECT (SELECT count(*) FROM accounts WHERE address = $1) \
                    + $2 * (SELECT count(*) FROM aliases WHERE address = $1)";
    for (of, with_aliases) in [(&address, 0), (&target, 1)] {
        let known = Statement::new(is_known).bind(of.to_string()).bind(with_aliases);
        let known = connection.number(&known).await?;
        if of == &address && known > 0 {
            return Err(StoreError::Conflict(format!(
                "{address} is a user, not free for an alias"
            )));
        }
        if of == &target && known == 0 {
            return Err(StoreError::Conflict(format!("{target} is no user and no alias here")));
        }
    }
    let insert = Statement::new(
        "INSERT INTO aliases (address, target, domain_id, created_us) VALUES ($1, $2, $3, {now})",
    );
    let insert = insert.bind(address.to_string()).bind(target.to_string()).bind(domain);
    let outcome = connection.execute(&insert).await;
    unless_there(outcome, || format!("the alias from {address} to {target} is there already"))
        .map(drop)
}

pub(super) async fn domain_id(connection: &mut Connection, name: &str) -> Result<i64, StoreError> {
    // Locked, so that it cannot be removed while something is added to it.
    let find = Statement::new("SELECT id FROM domains WHERE name = $1{lock}").bind(name);
    let id = connection.row(&find).await?.map(|row| row.int(0)).transpose()?;
    id.ok_or_else(|| {
        StoreError::Conflict(format!(
            "the domain {name} is not served here: add it with `mailnode domain add {name}`"
        ))
    })
}

/// An outcome, a broken uniqueness told in words.
pub(super) fn unless_there<T>(
    outcome: Result<T, StoreError>,
    words: impl FnOnce() -> String,
) -> Result<T, StoreError> {
    outcome.map_err(
        |error| {
            if error.is_there_already() { StoreError::Conflict(words()) } else { error }
        },
    )
}
