//! `mailnode user` and `alias`: who exists.
//! It does not know how it is kept; it asks the store and prints.

use std::io::{BufRead, Read};

use clap::Args;
use serde::Serialize;
use shared::units::Bytes;

use super::{CommandError, address};
use crate::mail::{EmailAddress, Secret, canonical};
use crate::password::{self, Hashes};
use crate::store::{Store, User, UserChanges, UserData};

/// More of a line of standard input is not read.
const PASSWORD_LINE_BYTES_MAX: u64 = 1024;

/// What a user is given; what is left out stays as it is.
#[derive(Debug, Args)]
pub(super) struct Traits {
    /// How much mail it may have, such as 2 GiB; 0: no limit
    #[arg(long, value_name = "SIZE")]
    quota: Option<Bytes>,
    /// How many messages it may have; 0: no limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    quota_messages: Option<i64>,
    /// Display name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

/// What a user may do.
#[derive(Debug, Args)]
pub(super) struct PermitChanges {
    /// No login, and no mail is taken for it
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// As it was before it was disabled
    #[arg(long)]
    enable: bool,
    /// Sending mail
    #[arg(long, value_name = "yes|no", value_parser = clap::builder::BoolishValueParser::new())]
    smtp: Option<bool>,
    /// Fetching mail by POP3
    #[arg(long, value_name = "yes|no", value_parser = clap::builder::BoolishValueParser::new())]
    pop3: Option<bool>,
    /// Reading mail by IMAP
    #[arg(long, value_name = "yes|no", value_parser = clap::builder::BoolishValueParser::new())]
    imap: Option<bool>,
}

impl Traits {
    fn changes(self) -> Result<UserChanges, CommandError> {
        let wrong =
            || CommandError::Failed("a name has at most 255 octets, on one line".to_owned());
        let name = self.name.map(|name| canonical::display_name(&name).ok_or_else(wrong));
        let octets = self.quota.map(|size| i64::try_from(size.0).unwrap_or(i64::MAX));
        Ok(UserChanges {
            name: name.transpose()?,
            quota_octets: octets,
            quota_messages: self.quota_messages,
            ..UserChanges::default()
        })
    }
}

pub(super) async fn add_users(
    store: &Store,
    addresses: &[String],
    traits: Traits,
) -> Result<(), CommandError> {
    let addresses: Vec<_> = addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
    let traits = traits.changes()?;
    let password = read_password()?;
    for address in addresses {
        let Hashes { hash, scram } = password::hashes(&password)?;
        let data = UserData {
            password_hash: hash,
            scram,
            name: traits.name.clone().unwrap_or_default(),
            quota_octets: traits.quota_octets.unwrap_or(0),
            quota_messages: traits.quota_messages.unwrap_or(0),
        };
        store.add_user(address.clone(), data).await?;
        println!("{address} is there");
    }
    Ok(())
}

pub(super) async fn set_user(
    store: &Store,
    text: &str,
    traits: Traits,
    permits: PermitChanges,
) -> Result<(), CommandError> {
    let address = address(text)?;
    let PermitChanges { disable, enable, smtp, pop3, imap } = permits;
    let is_active = (disable || enable).then_some(enable);
    let changes = UserChanges {
        is_active,
        sending: smtp,
        fetching: pop3,
        reading: imap,
        ..traits.changes()?
    };
    if changes == UserChanges::default() {
        let text = "nothing to change: see `mailnode user set --help`";
        return Err(CommandError::Failed(text.to_owned()));
    }
    store.set_user(address.clone(), changes).await?;
    println!("{address} is changed");
    Ok(())
}

pub(super) async fn list_users(store: &Store, json: bool) -> Result<(), CommandError> {
    print_all(&store.users().await?, json, line)
}

fn line(user: &User) -> String {
    let User { address, state, messages, octets, permits, .. } = user;
    let mut line = format!("{address}  {state}  {messages} messages  {octets} octets");
    if user.quota_octets > 0 {
        let quota = Bytes(u64::try_from(user.quota_octets).unwrap_or(0));
        line.push_str(&format!("  of {quota}"));
    }
    if user.quota_messages > 0 {
        line.push_str(&format!("  of {} messages", user.quota_messages));
    }
    for (may, what) in
        [(permits.sending, "SMTP"), (permits.fetching, "POP3"), (permits.reading, "IMAP")]
    {
        if !may {
            line.push_str(&format!("  no {what}"));
        }
    }
    if !user.name.is_empty() {
        line.push_str(&format!("  {}", user.name));
    }
    line
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

pub(super) fn print_all<T: Serialize>(
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
