//! Moves a cluster from one database to another, with every row and every number as it was: SQLite,
//! PostgreSQL, MariaDB or MySQL, in any direction. Files do not move.
//! It does not know nodes: what they do when a database is frozen, or was left, `primary` knows.
//!
//! Prepare the target → hold up writes → copy → compare → leave the old one by one write of one
//! row. Before that write the old one is in force whatever happens to this process, after it the
//! new one is. A target that was begun is emptied and filled anew by the next run.

mod copy;
mod freeze;
mod tables;
mod target;
mod triggers;

use std::time::{Duration, Instant};

pub use target::Target;

use super::database::{Database, open, writable};
use super::error::StoreError;
use super::setup::new_id;
use super::sql::primary::Primary;
use super::sql::url::{DatabaseUrl, DatabaseUrls};
use super::sql::{Connection, Statement};
use crate::crash;
use copy::Sum;
use tables::TABLES;

/// Accounts that are looked up one by one in both databases, as a login does.
const SAMPLE: i64 = 100;
/// Rows a second, written, read back and compared: for the estimate alone.
const RATE: u64 = 40_000;

/// What a switch is going to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The database in force, without its password.
    pub from: DatabaseUrls,
    /// Where to.
    pub to: DatabaseUrls,
    /// What is there now; `None`: the switch was done before, to its end.
    pub target: Option<Target>,
    /// Each table's rows.
    pub tables: Vec<(&'static str, u64)>,
    cluster: (String, i64),
    source: Option<DatabaseUrl>,
}

impl Plan {
    /// All rows together.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }

    /// About how long it is going to take.
    pub fn estimate(&self) -> Duration {
        Duration::from_secs(2 + self.rows() / RATE)
    }
}

/// How far a switch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub doing: &'static str,
    /// Rows that are copied, or compared.
    pub done: u64,
    /// Of so many.
    pub of: u64,
}

/// What a switch has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switched {
    /// Rows that are there now, all of them compared.
    pub rows: u64,
    /// Logins that were looked up in both and are the same.
    pub logins: usize,
    /// How long writes were held up.
    pub frozen: Duration,
}

/// Looks at both databases and says what `switch` would do. Changes nothing, unless a switch died
/// right after the old database was left: then the new one is told that it is no copy any more.
///
/// # Errors
/// The text says what is in the way, and the remedy.
pub async fn plan(settings: &DatabaseUrls, to: &DatabaseUrls) -> Result<Plan, StoreError> {
    // The settings may name a database that was left: the one in force is asked.
    let primary = Primary::of(settings.clone());
    drop(primary.reader().await?);
    let from = primary.urls();
    let done = from == *to;
    let url = writable(&from).await?;
    let mut connection = open(&url).await?;
    Database::check_own_schema(&mut connection).await?;
    let find = "SELECT uuid, created_us FROM cluster";
    let row = connection.row(&Statement::new(find)).await?;
    let row = row.ok_or_else(|| StoreError::Schema("run `mailnode setup` first".to_owned()))?;
    let cluster = (row.text(0)?, row.int(1)?);
    let target = if done { None } else { Some(target::look(to, &cluster.0).await?) };
    if done {
        // Should the process have died right after the switch: the first writer ends it.
        drop(primary.writer().await?);
    }
    let mut tables = Vec::new();
    for table in TABLES {
        let only = if table.only.is_empty() { "1 = 1" } else { table.only };
        let count = format!("SELECT count(*) FROM {} WHERE {only}", table.name);
        let rows = connection.number(&Statement::new(count)).await?;
        tables.push((table.name, u64::try_from(rows).unwrap_or(0)));
    }
    Ok(Plan { from, to: to.clone(), target, tables, cluster, source: Some(url) })
}

/// Does what was planned. `told` hears how far it has come.
///
/// # Errors
/// The old database is still in force, unless the text says otherwise.
pub async fn switch(
    plan: &Plan,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Switched, StoreError> {
    let Some(url) = &plan.source else { return Err(StoreError::Ended) };
    let id = new_id()?;
    told(Progress { doing: "preparing", done: 0, of: plan.rows() });
    let mut from = open(url).await?;
    from.script(from.kind().writer_session().to_owned()).await?;
    let cluster = (plan.cluster.0.as_str(), plan.cluster.1);
    let mut to = target::prepare(&plan.to, &id, &plan.from, cluster).await?;
    crash::point("switch-prepared");
    let begun = Instant::now();
    let freeze = freeze::freeze(url, &mut from, &id).await?;
    crash::point("switch-frozen");
    match moved(plan, &mut from, &mut to, told).await {
        Err(error) => {
            freeze.thaw(&mut from).await;
            Err(error)
        }
        Ok((rows, logins)) => {
            crash::point("switch-compared");
            freeze.leave(url, &mut from, &plan.to).await?;
            crash::point("switch-left");
            // The first writer there says that it is a copy no longer; so does this.
            let primary = Primary::of(plan.from.clone());
            drop(primary.writer().await?);
            Ok(Switched { rows, logins, frozen: begun.elapsed() })
        }
    }
}

/// Copies all, and compares all.
async fn moved(
    plan: &Plan,
    from: &mut Connection,
    to: &mut Connection,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<(u64, usize), StoreError> {
    let of = plan.rows();
    let mut sums = Vec::new();
    let mut done = 0;
    for table in TABLES {
        let mut told = |rows| {
            done += rows;
            told(Progress { doing: "copying", done, of });
        };
        sums.push(copy::copy(from, to, table, &mut told).await?);
        if table.name == "mailboxes" {
            crash::point("switch-copying");
        }
    }
    target::finish(from, to).await?;
    crash::point("switch-copied");
    done = 0;
    for (table, copied) in TABLES.iter().zip(&sums) {
        let mut told = |rows| {
            done += rows;
            told(Progress { doing: "comparing", done, of });
        };
        if copy::sum(to, table, &mut told).await? != *copied {
            return Err(StoreError::Conflict(format!(
                "the table {} is not the same in both: nothing was switched",
                table.name
            )));
        }
    }
    let logins = compare_logins(from, to).await?;
    Ok((sums.iter().map(|sum: &Sum| sum.rows).sum(), logins))
}

/// Looks accounts up by their address, as a login does, and compares what it goes by.
async fn compare_logins(from: &mut Connection, to: &mut Connection) -> Result<usize, StoreError> {
    let range = from.row(&Statement::new("SELECT min(id), max(id) FROM accounts")).await?;
    let range = range.map(|row| Ok::<_, StoreError>((row.maybe_int(0)?, row.maybe_int(1)?)));
    let Some((Some(first), Some(last))) = range.transpose()? else { return Ok(0) };
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..SAMPLE {
        let near = first + (last - first) / SAMPLE * number;
        let pick = "SELECT address FROM accounts WHERE id >= $1 ORDER BY id LIMIT 1";
        let Some(row) = from.row(&Statement::new(pick).bind(near)).await? else { continue };
        let address = row.text(0)?;
        if !seen.insert(address.clone()) {
            continue;
        }
        let find = Statement::new(
            "SELECT accounts.id, password_hash, scram, state, may_pop3, mailboxes.uidvalidity \
             FROM accounts JOIN mailboxes ON mailboxes.account_id = accounts.id \
             WHERE address = $1 ORDER BY mailboxes.id",
        );
        let find = find.bind(&address);
        if login(from, &find).await? != login(to, &find).await? {
            return Err(StoreError::Conflict(format!(
                "the login of {address} is not the same in both: nothing was switched"
            )));
        }
    }
    Ok(seen.len())
}

type Login = (i64, [String; 3], i64, i64);

async fn login(of: &mut Connection, find: &Statement) -> Result<Vec<Login>, StoreError> {
    let rows = of.rows(find).await?;
    let read = rows.iter().map(|row| {
        let texts = [row.text(1)?, row.text(2)?, row.text(3)?];
        Ok((row.int(0)?, texts, row.int(4)?, row.int(5)?))
    });
    read.collect()
}
