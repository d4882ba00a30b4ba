//! `mailnode domain`, `user` and `alias`: who exists.
//! It does not know how it is kept; it asks the store and prints.

use std::io::{BufRead, Read};

use serde::Serialize;

use super::{CommandError, address};
use crate::mail::address::is_domain;
use crate::mail::{EmailAddress, Secret};
use crate::password::{self, Hashes};
use crate::store::Store;

/// More of a line of standard input is not read.
const PASSWORD_LINE_BYTES_MAX: u64 = 1024;

pub(super) async fn add_domain(store: &Store, domain: &str) -> Result<(), CommandError> {
    let domain = domain_name(domain)?;
    store.add_domain(domain.clone()).await?;
    println!("{domain} is served");
    Ok(())
}

pub(super) async fn list_domains(store: &Store, json: bool) -> Result<(), CommandError> {
    let line = |domain: &crate::store::Domain| {
        format!("{}  {} users  {} aliases", domain.name, domain.users, domain.aliases)
    };
    print_all(&store.domains().await?, json, line)
}

pub(super) async fn remove_domain(store: &Store, domain: &str) -> Result<(), CommandError> {
    let domain = domain_name(domain)?;
    store.remove_domain(domain.clone()).await?;
    println!("{domain} is served no longer");
    Ok(())
}

pub(super) async fn add_users(store: &Store, addresses: &[String]) -> Result<(), CommandError> {
    let addresses: Vec<_> = addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
    let password = read_password()?;
    for address in addresses {
        let hashes = password::hashes(&password)?;
        store.add_user(address.clone(), hashes.hash.clone()).await?;
        keep_verifier(store, &address, hashes).await?;
        println!("{address} is there");
    }
    Ok(())
}

pub(super) async fn list_users(store: &Store, json: bool) -> Result<(), CommandError> {
    let line = |user: &crate::store::User| {
        let crate::store::User { address, state, messages, octets } = user;
        format!("{address}  {state}  {messages} messages  {octets} octets")
    };
    print_all(&store.users().await?, json, line)
}

pub(super) async fn set_password(store: &Store, text: &str) -> Result<(), CommandError> {
    let address = address(text)?;
    let hashes = password::hashes(&read_password()?)?;
    store.set_password(address.clone(), hashes.hash.clone()).await?;
    keep_verifier(store, &address, hashes).await?;
    println!("{address} has another password");
    Ok(())
}

/// What proofs are checked with, beside the hash that was kept just now.
async fn keep_verifier(
    store: &Store,
    address: &EmailAddress,
    hashes: Hashes,
) -> Result<(), CommandError> {
    if let Some(login) = store.login(address).await? {
        let Hashes { hash, scram } = hashes;
        store.keep_hashes(login.account_id, hash.clone(), hash, scram).await?;
    }
    Ok(())
}

pub(super) async fn remove_user(store: &Store, text: &str) -> Result<(), CommandError> {
    let address = address(text)?;
    store.remove_user(address.clone()).await?;
    println!("{address} is gone, and all its mail");
    Ok(())
}

pub(super) async fn add_alias(
    store: &Store,
    alias: &str,
    target: &str,
) -> Result<(), CommandError> {
    let (alias, target) = (address(alias)?, address(target)?);
    store.add_alias(alias.clone(), target.clone()).await?;
    println!("mail to {alias} goes to {target}");
    Ok(())
}

pub(super) async fn list_aliases(store: &Store, json: bool) -> Result<(), CommandError> {
    let line = |alias: &crate::store::Alias| format!("{} -> {}", alias.address, alias.target);
    print_all(&store.aliases().await?, json, line)
}

pub(super) async fn remove_alias(
    store: &Store,
    alias: &str,
    target: &str,
) -> Result<(), CommandError> {
    let (alias, target) = (address(alias)?, address(target)?);
    store.remove_alias(alias.clone(), target.clone()).await?;
    println!("mail to {alias} goes to {target} no longer");
    Ok(())
}

fn domain_name(text: &str) -> Result<String, CommandError> {
    if is_domain(text) && !text.starts_with('[') {
        return Ok(text.to_ascii_lowercase());
    }
    Err(CommandError::Failed(format!("`{text}` is no domain name such as example.org")))
}

/// One line of standard input; a prompt where that is a terminal.
fn read_password() -> Result<Secret, CommandError> {
    let input = std::io::stdin().lock();
    if std::io::IsTerminal::is_terminal(&input) {
        eprintln!("password (it will be seen; or give it on standard input):");
    }
    let mut line = String::new();
    input
        .take(PASSWORD_LINE_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|error| CommandError::failed("the password could not be read", error))?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn print_all<T: Serialize>(
    rows: &[T],
    json: bool,
    line: impl Fn(&T) -> String,
) -> Result<(), CommandError> {
    if json {
        let text = serde_json::to_string_pretty(rows)
            .map_err(|error| CommandError::failed("JSON", error))?;
        println!("{text}");
    } else {
        rows.iter().for_each(|row| println!("{}", line(row)));
    }
    Ok(())
}
