//! Every table that a copy takes with it, column by column, in an order in which each comes after
//! those that its rows name. It does not know which database they stand in; `copy` reads and writes
//! them, and a test holds the list against the schema.

/// A table. Its key is its first columns; all columns are numbers or text, and never NULL.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// How many columns are the key.
    pub(super) keys: usize,
    /// Numbers end in a `#`.
    columns: &'static [&'static str],
    /// A condition for the rows that are taken; empty: all of them.
    pub(super) only: &'static str,
}

impl Table {
    /// The columns' names.
    pub(super) fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|column| column.trim_end_matches('#'))
    }

    /// Whether each column is a number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = bool> {
        self.columns.iter().map(|column| column.ends_with('#'))
    }

    /// Whether its key is an `id` that the database gives.
    pub(super) fn gives_ids(&self) -> bool {
        self.columns[0] == "id#"
    }
}

macro_rules! tables {
    ($($name:literal $keys:literal [$($column:literal)*] $only:literal)*) => {
        &[$(Table { name: $name, keys: $keys, columns: &[$($column),*], only: $only }),*]
    };
}

/// All but `cluster` and `generations`, which are made anew from what was there.
pub(super) static TABLES: &[Table] = tables! {
    "counters" 1 ["name" "value#"] ""
    "settings" 1 ["name" "value" "changed_us#" "changed_by"] "name <> '.switch'"
    "chores" 1 ["name" "due_us#"] ""
    "nodes" 1 ["name" "epoch#" "process" "started_us#" "heartbeat_us#"] ""
    "leases" 1 ["name" "node" "epoch#" "token#" "session" "until_us#"] ""
    "throttles" 3 ["kind" "subject" "begun_us#" "hits#"] ""
    "domains" 1 ["id#" "name" "catch_all" "created_us#"] ""
    "domain_aliases" 1 ["name" "domain_id#" "created_us#"] ""
    "accounts" 1 [
        "id#" "domain_id#" "address" "directory" "display_name" "password_hash" "scram" "state"
        "may_smtp#" "may_pop3#" "may_imap#" "quota_octets#" "quota_messages#" "created_us#"
        "changed_us#"
    ] ""
    "account_addresses" 1 ["address" "account_id#" "created_us#"] ""
    "aliases" 2 ["address" "target" "domain_id#" "created_us#"] ""
    "lists" 1 ["id#" "domain_id#" "address" "display_name" "senders" "created_us#"] ""
    "list_members" 2 ["list_id#" "address" "created_us#"] ""
    "mailboxes" 1 [
        "id#" "account_id#" "name" "uidvalidity#" "uidnext#" "highest_modseq#" "messages#"
        "octets#" "generation#"
    ] ""
    "messages" 2 [
        "mailbox_id#" "uid#" "guid" "file" "octets#" "sha256" "internal_date_us#" "flags#"
        "modseq#" "delivery_id"
    ] ""
    "removals" 1 ["file" "due_us#"] ""
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::TABLES;

    const SCHEMA: &str = include_str!("../../../migrations/postgresql/0001_first.sql");

    /// The columns of each table, sorted, numbers with a `#`.
    fn schema() -> BTreeMap<String, Vec<String>> {
        let mut tables = BTreeMap::new();
        for part in SCHEMA.split("CREATE TABLE ").skip(1) {
            let (name, rest) = part.split_once(" (\n").expect("a name");
            let (body, _) = rest.split_once("\n);").expect("an end");
            let mut columns = Vec::new();
            for line in body.lines() {
                let mut words = line.split_whitespace();
                let (name, kind) = (words.next().expect("a word"), words.next().unwrap_or(""));
                match kind {
                    "BIGINT" => columns.push(format!("{name}#")),
                    "TEXT" => columns.push(name.to_owned()),
                    _ => assert!(["PRIMARY", "UNIQUE", "--"].contains(&name), "{line}"),
                }
            }
            columns.sort();
            tables.insert(name.to_owned(), columns);
        }
        tables
    }

    #[test]
    fn no_table_and_no_column_is_forgotten() {
        let mut schema = schema();
        schema.retain(|name, _| !["cluster", "generations"].contains(&name.as_str()));
        let copied = TABLES.iter().map(|table| {
            let mut columns: Vec<_> =
                table.columns.iter().map(|column| (*column).to_owned()).collect();
            columns.sort();
            (table.name.to_owned(), columns)
        });
        assert_eq!(copied.collect::<BTreeMap<_, _>>(), schema);
    }
}
