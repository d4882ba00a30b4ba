//! Does every statement of the hot paths find its rows by an index, on whichever database?
//! It does not know the statements: the connection tells what was asked while mail was looked up,
//! kept, listed and removed, and each of them is explained by the database itself.

#![allow(clippy::unwrap_used, reason = "a test says what was seen by failing there")]

use std::time::Duration;

use harness::database::{Database, Kind as Chosen};

use super::sql::{Connection, Kind, Row, Statement, connection};
use super::{DatabaseUrl, Delivery, Found, NewMessage, Store, set_up};
use crate::mail::{DeliveryId, EmailAddress, Guid, MailboxId, Uid};
use crate::process::ProcessIdentity;

/// Tables that grow with users and mail; the others have a few rows for ever.
const LARGE: [&str; 9] = [
    "accounts",
    "account_addresses",
    "aliases",
    "domains",
    "list_members",
    "lists",
    "mailboxes",
    "messages",
    "removals",
];
const USERS: i64 = 64;

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn delivery(id: &str, mailboxes: &[MailboxId]) -> Delivery {
    let message = |mailbox: &MailboxId| NewMessage {
        mailbox: *mailbox,
        guid: Guid(format!("{id}-{}", mailbox.0)),
        file: format!("d.test/u/{id}-{}.eml", mailbox.0),
        octets: 10,
        sha256: String::new(),
    };
    let messages = mailboxes.iter().map(message).collect();
    Delivery { id: DeliveryId(id.to_owned()), internal_date_us: 1, messages }
}

/// A store with enough rows that a reasonable planner reaches for an index.
async fn filled(store: &Store) -> Vec<MailboxId> {
    store.add_domain("d.test".to_owned()).await.unwrap();
    let mut mailboxes = Vec::new();
    for number in 0..USERS {
        let user = address(&format!("u{number}@d.test"));
        store.add_user(user.clone(), "no hash".to_owned()).await.unwrap();
        store.add_alias(address(&format!("a{number}@d.test")), user.clone()).await.unwrap();
        match store.find(&user).await.unwrap() {
            Found::Mailboxes(found) => mailboxes.push(found[0].mailbox),
            other => panic!("{other:?}"),
        }
    }
    for number in 0..16 {
        store.deliver(delivery(&format!("fill{number}"), &mailboxes)).await.unwrap();
    }
    mailboxes
}

/// Everything that happens again and again while mail comes and goes.
async fn go_hot(store: &Store, mailboxes: &[MailboxId]) {
    for user in ["u1@d.test", "a1@d.test", "nobody@d.test", "u@elsewhere.test"] {
        store.find(&address(user)).await.unwrap();
    }
    store.login(&address("u2@d.test")).await.unwrap().unwrap();
    let epoch = store.register_node("n".to_owned(), ProcessIdentity::own()).await.unwrap();
    store.heartbeat("n".to_owned(), epoch).await.unwrap();
    let group = ["one", "two", "three"].map(|id| store.deliver(delivery(id, &mailboxes[..2])));
    let [one, two, three] = group;
    let (one, two, three) = tokio::join!(one, two, three);
    one.and(two).and(three).unwrap();
    // A second time: looked up by its id.
    store.deliver(delivery("one", &mailboxes[..2])).await.unwrap();
    assert!(store.is_kept(&DeliveryId("one".to_owned())).await.unwrap());
    let listed = store.list(mailboxes[1]).await.unwrap();
    let uids = listed.iter().take(3).map(|row| Uid(row.uid)).collect();
    assert_eq!(store.remove(mailboxes[1], uids).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hot_statement_finds_its_rows_by_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::make(Chosen::chosen(), directory.path());
    let url = DatabaseUrl::parse(database.url()).unwrap();
    let (mail, logs) = (directory.path().join("mail"), directory.path().join("logs"));
    set_up(&url.clone().into(), &[&mail, &logs], false).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    let store = Store::open(&url.clone().into(), &mail, day).await.unwrap();
    let mailboxes = filled(&store).await;

    connection::SPOKEN.lock().unwrap().clear();
    go_hot(&store, &mailboxes).await;
    let spoken = std::mem::take(&mut *connection::SPOKEN.lock().unwrap());
    let mut explainer = Connection::open(&url).await.unwrap();
    let (prepare, explain) = match explainer.kind() {
        Kind::Sqlite => ("ANALYZE", "EXPLAIN QUERY PLAN "),
        // With so few rows reading all of them is the cheaper way, and it is for an index that we
        // ask: what has none is read as a whole even so.
        Kind::Postgres => ("SET enable_seqscan = off", "EXPLAIN (COSTS OFF) "),
        Kind::MySql => ("ANALYZE TABLE accounts, aliases, mailboxes, messages", "EXPLAIN "),
    };
    explainer.script(prepare.to_owned()).await.unwrap();
    let mut explained = 0;
    for statement in spoken.iter().flat_map(Statement::parted) {
        let text = statement.text().trim_start().to_owned();
        let words = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
        if !words.iter().any(|word| text.starts_with(word)) {
            continue;
        }
        let plan = explainer.rows(&statement.after(explain)).await;
        let plan = plan.unwrap_or_else(|error| panic!("{text}: {error}"));
        let found = scanned(explainer.kind(), &plan);
        assert!(found.is_empty(), "read as a whole: {found:?} by\n{text}");
        explained += 1;
    }
    assert!(explained >= 15, "only {explained} statements were seen");
}

/// What of a plan reads a large table from its beginning to its end.
fn scanned(kind: Kind, plan: &[Row]) -> Vec<String> {
    let names = |text: &str, before: &str| {
        LARGE.iter().any(|table| {
            let found = text.find(&format!("{before}{table}"));
            found.is_some_and(|at| {
                let next = text[at + before.len() + table.len()..].chars().next();
                next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            })
        })
    };
    match kind {
        Kind::Sqlite => {
            let lines = plan.iter().map(|row| row.text(3).unwrap());
            lines.filter(|line| names(line, "SCAN ")).collect()
        }
        Kind::Postgres => {
            let lines: Vec<_> = plan.iter().map(|row| row.text(0).unwrap()).collect();
            let all = lines.iter().enumerate().filter(|(index, line)| {
                let next = lines.get(index + 1).map_or("", String::as_str);
                let by_index = line.contains("Index") && names(line, "on ");
                names(line, "Seq Scan on ") || (by_index && !next.contains("Index Cond"))
            });
            // A bitmap's index is named by itself in the line below.
            all.map(|(_, line)| line.clone()).filter(|line| !line.contains("Bitmap Heap")).collect()
        }
        Kind::MySql => {
            let all = plan.iter().filter(|row| {
                let text = |column| row.maybe_text(column).unwrap().unwrap_or_default();
                let whole = ["ALL", "index"].contains(&&*text(3));
                whole && text(1) != "INSERT" && LARGE.contains(&&*text(2))
            });
            all.map(|row| row.maybe_text(2).unwrap().unwrap_or_default()).collect()
        }
    }
}
