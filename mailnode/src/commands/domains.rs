//! `mailnode domain`: whose mail is taken, and under which other names.
//! It does not know how it is kept; it asks the store and prints.

use super::accounts::print_all;
use super::{CommandError, address};
use crate::mail::canonical;
use crate::store::{Domain, DomainChanges, Store};

/// What takes somebody out of a setting.
const NONE: &str = "none";

pub(super) async fn add(store: &Store, domain: &str) -> Result<(), CommandError> {
    let domain = domain_name(domain)?;
    store.add_domain(domain.clone()).await?;
    println!("{domain} is served");
    Ok(())
}

pub(super) async fn list(store: &Store, json: bool) -> Result<(), CommandError> {
    print_all(&store.domains().await?, json, line)
}

pub(super) async fn remove(store: &Store, domain: &str) -> Result<(), CommandError> {
    let domain = domain_name(domain)?;
    store.remove_domain(domain.clone()).await?;
    println!("{domain} is served no longer");
    Ok(())
}

fn line(domain: &Domain) -> String {
    let Domain { name, users, aliases, .. } = domain;
    let mut line = format!("{name}  {users} users  {aliases} aliases");
    for (what, whom) in [("catch-all", &domain.catch_all), ("postmaster", &domain.postmaster)] {
        if !whom.is_empty() {
            line.push_str(&format!("  {what} {whom}"));
        }
    }
    if !domain.other_names.is_empty() {
        line.push_str(&format!("  also {}", domain.other_names.join(", ")));
    }
    line
}

pub(super) async fn set(
    store: &Store,
    domain: &str,
    catch_all: Option<String>,
    postmaster: Option<String>,
) -> Result<(), CommandError> {
    let domain = domain_name(domain)?;
    let whom = |text: String| match text.as_str() {
        NONE => Ok(String::new()),
        text => address(text).map(|address| address.to_string()),
    };
    let changes = DomainChanges {
        catch_all: catch_all.map(whom).transpose()?,
        postmaster: postmaster.map(whom).transpose()?,
    };
    if changes == DomainChanges::default() {
        let text = "nothing to change: see `mailnode domain set --help`";
        return Err(CommandError::Failed(text.to_owned()));
    }
    store.set_domain(domain.clone(), changes).await?;
    println!("{domain} is changed");
    Ok(())
}

pub(super) async fn add_alias(
    store: &Store,
    alias: &str,
    domain: &str,
) -> Result<(), CommandError> {
    let (alias, domain) = (domain_name(alias)?, domain_name(domain)?);
    store.add_domain_alias(alias.clone(), domain.clone()).await?;
    println!("{alias} is another name of {domain}");
    Ok(())
}

pub(super) async fn remove_alias(store: &Store, alias: &str) -> Result<(), CommandError> {
    let alias = domain_name(alias)?;
    store.remove_domain_alias(alias.clone()).await?;
    println!("{alias} is no name of a domain any longer");
    Ok(())
}

fn domain_name(text: &str) -> Result<String, CommandError> {
    canonical::domain(text).map_err(|_| {
        CommandError::Failed(format!("`{text}` is no domain name such as example.org"))
    })
}
