//! What a domain is besides its name: other names, and where mail to nobody and to its postmaster
//! goes. It does not know how an address is looked up; `lookup` does. The commands call it.

use super::Store;
use super::domains::{DomainChanges, domain_id, postmaster_setting, unless_there};
use super::error::StoreError;
use super::sql::{Connection, Statement};

impl Store {
    /// Takes `alias` for another name of a domain: all its addresses are there too.
    ///
    /// # Errors
    /// It is a domain or another name already; the domain is not served.
    pub async fn add_domain_alias(&self, alias: String, domain: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let id = domain_id(connection, &domain).await?;
                let find = Statement::new("SELECT count(*) FROM domains WHERE name = $1");
                if connection.number(&find.bind(&alias)).await? > 0 {
                    let text = format!("{alias} is a domain itself: remove it first");
                    return Err(StoreError::Conflict(text));
                }
                let insert = Statement::new(
                    "INSERT INTO domain_aliases (name, domain_id, created_us) \
                     VALUES ($1, $2, {now})",
                );
                let outcome = connection.execute(&insert.bind(&alias).bind(id)).await;
                unless_there(outcome, || format!("{alias} is another name of a domain already"))
                    .map(drop)
            })
        })
        .await
    }

    /// Takes it for another name no longer.
    ///
    /// # Errors
    /// It is none.
    pub async fn remove_domain_alias(&self, alias: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let delete = Statement::new("DELETE FROM domain_aliases WHERE name = $1");
                if connection.execute(&delete.bind(&alias)).await? == 0 {
                    let text = format!("{alias} is no other name of a domain");
                    return Err(StoreError::Conflict(text));
                }
                Ok(())
            })
        })
        .await
    }

    /// Changes a domain; in force on all nodes with the next question.
    ///
    /// # Errors
    /// There is no such domain; mail would go to somebody who is no user and no alias here.
    pub async fn set_domain(
        &self,
        domain: String,
        changes: DomainChanges,
    ) -> Result<(), StoreError> {
        self.change(move |connection| Box::pin(set_domain(connection, domain, changes))).await
    }
}

async fn set_domain(
    connection: &mut Connection,
    domain: String,
    changes: DomainChanges,
) -> Result<(), StoreError> {
    let id = domain_id(connection, &domain).await?;
    for target in [&changes.catch_all, &changes.postmaster].into_iter().flatten() {
        let known = "SELECT (SELECT count(*) FROM accounts WHERE address = $1) \
                     + (SELECT count(*) FROM aliases WHERE address = $1)";
        let known = connection.number(&Statement::new(known).bind(target)).await?;
        if known == 0 && !target.is_empty() {
            let text = format!("{target} is no user and no alias here");
            return Err(StoreError::Conflict(text));
        }
    }
    if let Some(target) = changes.catch_all {
        let update = Statement::new("UPDATE domains SET catch_all = $1 WHERE id = $2");
        connection.execute(&update.bind(target).bind(id)).await?;
    }
    if let Some(target) = changes.postmaster {
        let name = postmaster_setting(&domain);
        let unset = Statement::new("DELETE FROM settings WHERE name = $1");
        connection.execute(&unset.bind(&name)).await?;
        if !target.is_empty() {
            let insert = Statement::new(
                "INSERT INTO settings (name, value, changed_us) VALUES ($1, $2, {now})",
            );
            connection.execute(&insert.bind(name).bind(target)).await?;
        }
    }
    Ok(())
}

/// A name that is another one's cannot be a domain of its own.
pub(super) async fn refuse_other_name(
    connection: &mut Connection,
    name: &str,
) -> Result<(), StoreError> {
    let find = Statement::new("SELECT count(*) FROM domain_aliases WHERE name = $1").bind(name);
    if connection.number(&find).await? > 0 {
        let text = format!("{name} is another name of a domain: remove that first");
        return Err(StoreError::Conflict(text));
    }
    Ok(())
}
