//! `mailnode import`: many users from a file, checked as a whole before anything is written.
//! It does not know how users are kept; it asks the store in batches. A run that was cut off is
//! run again: who is there already with the same data is passed over.

mod fault;
mod keys;
mod progress;
mod table;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use self::fault::{Fault, Problem};
use self::progress::Progress;
use self::table::{Format, Key, Row};
use super::CommandError;
use crate::mail::EmailAddress;
use crate::password::Hashes;
use crate::store::{BATCH_MAX, Store, Taken, UserData};

/// The longest file; a million users with hashes are some 200 MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What the command line says besides the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) create_domains: bool,
    pub(super) dry_run: bool,
}

/// What is to be done, when the whole file was found right.
struct Plan {
    domains: Vec<String>,
    users: Vec<Row>,
    passed_over: usize,
}

pub(super) async fn import(
    store: &Store,
    path: &Path,
    options: Options,
) -> Result<(), CommandError> {
    let begun = Instant::now();
    let (rows, mut faults) = table::read(&read(path)?, format(path)?, keys::judge);
    let plan = plan(store, rows, options, &mut faults).await?;
    if !faults.is_empty() {
        faults.sort_by_key(|fault| fault.line);
        for fault in &faults {
            eprintln!("{}:{fault}", path.display());
        }
        let faults = faults.len();
        let text = format!("{}: {faults} faults, nothing was written", path.display());
        return Err(CommandError::Failed(text));
    }
    let (users, domains, passed_over) = (plan.users.len(), plan.domains.len(), plan.passed_over);
    if !options.dry_run {
        write(store, plan).await?;
    }
    let done = if options.dry_run { "would be added" } else { "added" };
    println!(
        "{users} users {done}, {passed_over} were there already, {domains} domains {done}, in \
         {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn format(path: &Path) -> Result<Format, CommandError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
        _ => Err(CommandError::Failed(format!(
            "{}: the name of a file of users ends in .csv or .jsonl",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let name = path.display().to_string();
    let failed = |error| CommandError::failed(&name, error);
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CommandError::Failed(format!("{name}: it is longer than 1 GiB: part it")));
    }
    Ok(text)
}

/// Asks the store what is there of all this, and finds the faults that only it can tell.
async fn plan(
    store: &Store,
    rows: Vec<Row>,
    options: Options,
    faults: &mut Vec<Fault>,
) -> Result<Plan, CommandError> {
    let served = store.domains().await?.into_iter().map(|domain| domain.name);
    let served: BTreeSet<String> = served.collect();
    let mut wanted = BTreeSet::new();
    let mut plan = Plan { domains: Vec::new(), users: Vec::new(), passed_over: 0 };
    let mut progress = Progress::new("checked", rows.len());
    let (mut rows, mut done) = (rows.into_iter().peekable(), 0);
    while rows.peek().is_some() {
        let batch: Vec<Row> = rows.by_ref().take(BATCH_MAX).collect();
        done += batch.len();
        let addresses: Vec<String> = batch.iter().map(|row| row.address.to_string()).collect();
        let taken = store.taken(&addresses).await?;
        let same = keys::are_same(&batch, &taken).await?;
        for (row, has_same_key) in batch.into_iter().zip(same) {
            match judge(&row, &taken, has_same_key) {
                Ok(true) => plan.passed_over += 1,
                Ok(false) => {
                    let domain = row.address.domain();
                    if !served.contains(domain) && !wanted.contains(domain) {
                        if options.create_domains {
                            wanted.insert(domain.to_owned());
                        } else {
                            let problem = Problem::Domain(domain.to_owned());
                            faults.push(Fault { line: row.line, problem });
                        }
                    }
                    plan.users.push(row);
                }
                Err(problem) => faults.push(Fault { line: row.line, problem }),
            }
        }
        progress.at(done);
    }
    plan.domains = wanted.into_iter().collect();
    Ok(plan)
}

/// Whether a row's user is there already, just as the file has it.
fn judge(row: &Row, taken: &Taken, has_same_key: bool) -> Result<bool, Problem> {
    let address = row.address.to_string();
    let Some(there) = taken.users.get(&address) else {
        if taken.others.contains(&address) {
            return Err(Problem::OtherAddress(row.address.clone()));
        }
        return Ok(false);
    };
    let differs = |what, verb| Err(Problem::Differs { address: row.address.clone(), what, verb });
    if !has_same_key {
        return differs("password", "password");
    }
    if row.name.as_ref().is_some_and(|name| *name != there.name) {
        return differs("name", "set --name TEXT");
    }
    if row.quota_octets.is_some_and(|quota| quota != there.quota_octets) {
        return differs("quota", "set --quota SIZE");
    }
    if row.quota_messages.is_some_and(|quota| quota != there.quota_messages) {
        return differs("quota of messages", "set --quota-messages N");
    }
    Ok(true)
}

async fn write(store: &Store, plan: Plan) -> Result<(), CommandError> {
    for domain in plan.domains {
        store.add_domain(domain).await?;
    }
    let mut progress = Progress::new("added", plan.users.len());
    let (mut rows, mut done) = (plan.users.into_iter().peekable(), 0);
    while rows.peek().is_some() {
        let batch: Vec<Row> = rows.by_ref().take(BATCH_MAX).collect();
        let batch = keys::hashed(batch).await?;
        done += batch.len();
        store.add_batch(batch).await?;
        progress.at(done);
    }
    Ok(())
}

/// A row as it is kept.
fn kept(row: Row, hashes: Hashes) -> (EmailAddress, UserData) {
    let Row { address, name, quota_octets, quota_messages, .. } = row;
    let data = UserData {
        password_hash: hashes.hash,
        scram: hashes.scram,
        name: name.unwrap_or_default(),
        quota_octets: quota_octets.unwrap_or(0),
        quota_messages: quota_messages.unwrap_or(0),
    };
    (address, data)
}
