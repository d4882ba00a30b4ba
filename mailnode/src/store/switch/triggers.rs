//! The triggers that refuse a write, in the words of each database.
//! It does not know when they are made; `freeze` makes them, and who copies back drops them.

use super::tables::TABLES;
use crate::store::sql::Kind;
use crate::store::sql::standing::SWITCH;

/// What a refused writer is told.
const WORDS: &str = "mailnode switch moves this database, or has moved it";

/// Whether writes are refused now.
fn refusing(kind: Kind) -> String {
    let now = kind.word("now");
    format!(
        "EXISTS (SELECT 1 FROM settings WHERE name = '{SWITCH}' \
         AND (value <> '' OR changed_us > {now}))"
    )
}

/// Each table's triggers for SQLite and MySQL: name, event, and the name of the row that changes.
fn each() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)> {
    TABLES.iter().flat_map(|table| {
        let events = [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")];
        events.map(|(event, row)| {
            let name = format!("switch_{}_{}", table.name, event.to_lowercase());
            (table.name, name, event, row)
        })
    })
}

/// The row of the switch itself may change.
fn exempting(table: &str, row: &str) -> String {
    if table == "settings" { format!("{row}.name <> '{SWITCH}' AND ") } else { String::new() }
}

/// Statements that make them, each for itself; those that are there are made anew.
pub(super) fn made(kind: Kind) -> Vec<String> {
    let refusing = refusing(kind);
    match kind {
        Kind::Sqlite => each()
            .map(|(table, name, event, row)| {
                let exempt = exempting(table, row);
                format!(
                    "CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {table} \
                     WHEN {exempt}{refusing} BEGIN SELECT RAISE(ABORT, '{WORDS}'); END"
                )
            })
            .collect(),
        Kind::MySql => each()
            .flat_map(|(table, name, event, row)| {
                let exempt = exempting(table, row);
                [
                    format!("DROP TRIGGER IF EXISTS {name}"),
                    format!(
                        "CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW \
                         IF {exempt}{refusing} THEN \
                         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{WORDS}'; END IF"
                    ),
                ]
            })
            .collect(),
        Kind::Postgres => postgresql(&refusing),
    }
}

fn postgresql(refusing: &str) -> Vec<String> {
    let function = |name: &str, exempt: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN \
             IF {exempt}{refusing} THEN RAISE EXCEPTION '{WORDS}'; END IF; \
             IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $f$"
        )
    };
    let exempt = format!("coalesce(NEW.name, OLD.name) <> '{SWITCH}' AND ");
    let mut made =
        vec![function("switch_refuses", ""), function("switch_refuses_setting", &exempt)];
    made.extend(TABLES.iter().map(|table| {
        let (each, function) = match table.name {
            "settings" => ("ROW", "switch_refuses_setting"),
            _ => ("STATEMENT", "switch_refuses"),
        };
        let name = table.name;
        format!(
            "DROP TRIGGER IF EXISTS switch ON {name}; \
             CREATE TRIGGER switch BEFORE INSERT OR UPDATE OR DELETE ON {name} \
             FOR EACH {each} EXECUTE FUNCTION {function}()"
        )
    }));
    made
}

/// Statements that take them away, each for itself.
pub(super) fn dropped(kind: Kind) -> Vec<String> {
    if kind != Kind::Postgres {
        return each().map(|(_, name, _, _)| format!("DROP TRIGGER IF EXISTS {name}")).collect();
    }
    let triggers =
        TABLES.iter().map(|table| format!("DROP TRIGGER IF EXISTS switch ON {}", table.name));
    let functions = ["switch_refuses", "switch_refuses_setting"];
    triggers.chain(functions.map(|name| format!("DROP FUNCTION IF EXISTS {name}()"))).collect()
}
