//! Reads a table page by page and writes it elsewhere, and adds up what was read, so that two
//! tables can be compared. It does not know which of the two databases is in force.

use sha2::{Digest, Sha256};

use super::tables::Table;
use crate::store::error::StoreError;
use crate::store::sql::statement::Value;
use crate::store::sql::{Connection, Kind, Statement};

/// Rows that are read at once.
const PAGE: usize = 5_000;
/// Values in one INSERT where each has a number of its own. SQLite looks for each name among all
/// of them, so many are slow there (measured: 300,000 rows, 500 in place of 7,500: 24 s, not 134).
const VALUES_MAX_SQLITE: usize = 500;
const VALUES_MAX: usize = 7_500;

/// How many rows a table has, and the sum of their hashes: equal for the same rows in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    hashes: u128,
}

impl Sum {
    fn add(&mut self, row: &[Value]) {
        let mut hash = Sha256::new();
        for value in row {
            match value {
                Value::Int(number) => hash.update(number.to_le_bytes()),
                Value::Text(text) => {
                    hash.update(text.len().to_le_bytes());
                    hash.update(text.as_bytes());
                }
                _ => {}
            }
        }
        let hash = hash.finalize();
        let first = hash.iter().take(16).fold(0, |all: u128, byte| all << 8 | u128::from(*byte));
        self.hashes = self.hashes.wrapping_add(first);
        self.rows += 1;
    }
}

/// Copies a table's rows; `told` hears how many after each page.
pub(super) async fn copy(
    from: &mut Connection,
    to: &mut Connection,
    table: &Table,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<Sum, StoreError> {
    let mut sum = Sum::default();
    let mut rows = page(from, table, None).await?;
    while let Some(last) = rows.last().cloned() {
        rows.iter().for_each(|row| sum.add(row));
        let whole = rows.len() == PAGE;
        let count = rows.len() as u64;
        insert(to, table, rows).await?;
        told(count);
        rows = if whole { page(from, table, Some(&last)).await? } else { Vec::new() };
    }
    Ok(sum)
}

/// Adds up a table's rows.
pub(super) async fn sum(
    of: &mut Connection,
    table: &Table,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<Sum, StoreError> {
    let mut sum = Sum::default();
    let mut rows = page(of, table, None).await?;
    while let Some(last) = rows.last().cloned() {
        rows.iter().for_each(|row| sum.add(row));
        told(rows.len() as u64);
        let whole = rows.len() == PAGE;
        rows = if whole { page(of, table, Some(&last)).await? } else { Vec::new() };
    }
    Ok(sum)
}

/// The next rows in the key's order.
async fn page(
    from: &mut Connection,
    table: &Table,
    after: Option<&[Value]>,
) -> Result<Vec<Vec<Value>>, StoreError> {
    let columns: Vec<_> = table.columns().collect();
    let key = columns[..table.keys].join(", ");
    let mut condition = table.only.to_owned();
    if after.is_some() {
        let and = if condition.is_empty() { "" } else { " AND " };
        condition = format!("{condition}{and}{}", beyond(&columns[..table.keys], 1));
    }
    let condition = if condition.is_empty() { condition } else { format!("WHERE {condition}") };
    let mut statement = Statement::new(format!(
        "SELECT {} FROM {} {condition} ORDER BY {key} LIMIT {PAGE}",
        columns.join(", "),
        table.name
    ));
    for value in after.unwrap_or_default().iter().take(table.keys) {
        statement = statement.bind(value.clone());
    }
    let mut rows = Vec::with_capacity(PAGE);
    for row in from.rows(&statement).await? {
        let values = table.numbers().enumerate().map(|(at, number)| {
            Ok(if number { Value::Int(row.int(at)?) } else { Value::Text(row.text(at)?) })
        });
        rows.push(values.collect::<Result<Vec<_>, StoreError>>()?);
    }
    Ok(rows)
}

/// `(a, b) > ($1, $2)` in words that each of the three finds an index for.
fn beyond(key: &[&str], number: usize) -> String {
    match key {
        [] => "1 = 0".to_owned(),
        [last] => format!("{last} > ${number}"),
        [first, rest @ ..] => format!(
            "({first} >= ${number} AND ({first} > ${number} OR {}))",
            beyond(rest, number + 1)
        ),
    }
}

/// Writes rows in a transaction of their own.
async fn insert(
    to: &mut Connection,
    table: &Table,
    rows: Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    let columns = table.columns().collect::<Vec<_>>().join(", ");
    let begin = format!("INSERT INTO {} ({columns}) ", table.name);
    if to.kind() == Kind::Postgres {
        return to.commit_at_once(&as_arrays(begin, table, rows)).await.map(drop);
    }
    to.begin().await?;
    let values = if to.kind() == Kind::Sqlite { VALUES_MAX_SQLITE } else { VALUES_MAX };
    for rows in rows.chunks(values / table.columns().count().max(1)) {
        let mut statement = Statement::new(format!("{begin}VALUES "));
        for (index, row) in rows.iter().enumerate() {
            statement.push(if index > 0 { ", (" } else { "(" });
            for (index, value) in row.iter().enumerate() {
                statement.push(if index > 0 { ", " } else { "" }).push_value(value.clone());
            }
            statement.push(")");
        }
        to.execute(&statement).await?;
    }
    to.commit().await
}

/// PostgreSQL: an array for each column, however many rows there are.
fn as_arrays(begin: String, table: &Table, rows: Vec<Vec<Value>>) -> Statement {
    let mut columns: Vec<Value> = table
        .numbers()
        .map(|number| if number { Value::Ints(Vec::new()) } else { Value::Texts(Vec::new()) })
        .collect();
    for (column, value) in rows.into_iter().flat_map(|row| (0..).zip(row)) {
        match (columns.get_mut(column), value) {
            (Some(Value::Ints(numbers)), Value::Int(number)) => numbers.push(number),
            (Some(Value::Texts(texts)), Value::Text(text)) => texts.push(text),
            _ => {}
        }
    }
    let kinds: Vec<_> = table
        .numbers()
        .enumerate()
        .map(|(at, number)| format!("${}::{}[]", at + 1, if number { "bigint" } else { "text" }))
        .collect();
    let text = format!("{begin}SELECT * FROM unnest({})", kinds.join(", "));
    columns.into_iter().fold(Statement::new(text), Statement::bind)
}
