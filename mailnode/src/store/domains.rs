//! Domains and aliases: whose addresses are served, and which lead to others.
//! It does not know users but by their addresses.

use std::collections::HashMap;

use super::Store;
use super::error::StoreError;
use super::other_domains::refuse_other_name;
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
    /// Where mail to nobody goes; empty: it is refused.
    pub catch_all: String,
    /// Who reads postmaster and abuse; empty: its oldest user.
    pub postmaster: String,
    /// Its other names.
    pub other_names: Vec<String>,
}

/// What of a domain is to be another; `None`: it stays as it is; an empty text: nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainChanges {
    /// Where mail to nobody goes.
    pub catch_all: Option<String>,
    /// Who reads postmaster and abuse.
    pub postmaster: Option<String>,
}

/// The name of the setting that holds who is a domain's postmaster.
pub(super) fn postmaster_setting(domain: &str) -> String {
    format!("postmaster {domain}")
}

impl Store {
    /// Serves a domain from now on.
    ///
    /// # Errors
    /// It is there already, or the database does not answer.
    pub async fn add_domain(&self, name: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                refuse_other_name(connection, &name).await?;
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
                    (SELECT count(*) FROM aliases WHERE domain_id = domains.id), \
                    catch_all, id FROM domains ORDER BY name";
        let rows = self.database.readers().rows(&Statement::new(list)).await?;
        let names = Statement::new("SELECT domain_id, name FROM domain_aliases ORDER BY name");
        let names = self.database.readers().rows(&names).await?;
        let names = names.iter().map(|row| Ok((row.int(0)?, row.text(1)?)));
        let names: Vec<(i64, String)> = names.collect::<Result<_, StoreError>>()?;
        let set = "SELECT name, value FROM settings WHERE name LIKE 'postmaster %'";
        let set = self.database.readers().rows(&Statement::new(set)).await?;
        let set = set.iter().map(|row| Ok((row.text(0)?, row.text(1)?)));
        let set: HashMap<String, String> = set.collect::<Result<_, StoreError>>()?;
        let domains = rows.into_iter().map(|row| {
            let (name, id) = (row.text(0)?, row.int(4)?);
            let of_it = names.iter().filter(|(domain, _)| *domain == id);
            Ok(Domain {
                users: row.int(1)?,
                aliases: row.int(2)?,
                catch_all: row.text(3)?,
                postmaster: set.get(&postmaster_setting(&name)).cloned().unwrap_or_default(),
                other_names: of_it.map(|(_, name)| name.clone()).collect(),
                name,
            })
        });
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
                let unset = Statement::new("DELETE FROM settings WHERE name = $1");
                connection.execute(&unset.bind(postmaster_setting(&name))).await?;
                for delete in [
                    "DELETE FROM domain_aliases WHERE domain_id = $1",
                    "DELETE FROM domains WHERE id = $1",
                ] {
                    connection.execute(&Statement::new(delete).bind(domain)).await?;
                }
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
            return Err(StoreError::Conflict(format!(
                "{target} is no user and no alias here: mail is not sent to other hosts yet"
            )));
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
