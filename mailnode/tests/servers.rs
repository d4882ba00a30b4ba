//! What only a database server does: roles that may change no table, commits whose standby is
//! silent, answers that say "done" and mean "perhaps". It does not know any protocol.

#![allow(clippy::unwrap_used, reason = "a test says what was seen by failing there")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::database::{Database, Kind, Server};
use harness::{MOMENT, wait_until};
use mailnode::mail::{DeliveryId, EmailAddress, Guid, MailboxId};
use mailnode::store::{DatabaseUrl, DatabaseUrls, Delivery, Found, NewMessage, Store, set_up};
use tempfile::TempDir;

const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

fn urls(text: &str) -> DatabaseUrls {
    DatabaseUrl::parse(text).unwrap().into()
}

async fn made(database: &Database) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let (mail, logs) = (place.path().join("mail"), place.path().join("logs"));
    set_up(&urls(database.url()), &[&mail, &logs], false).await.unwrap();
    place
}

async fn open(url: &str, place: &Path) -> Store {
    Store::open(&urls(url), &place.join("mail"), ORPHAN_AGE).await.unwrap()
}

async fn user(store: &Store) -> MailboxId {
    let address = EmailAddress::parse("u@d.test").unwrap();
    store.add_domain("d.test".to_owned()).await.unwrap();
    store.add_user(address.clone(), "no hash".to_owned()).await.unwrap();
    match store.find(&address).await.unwrap() {
        Found::Mailboxes(found) => found[0].mailbox,
        other => panic!("{other:?}"),
    }
}

fn delivery(id: &str, mailbox: MailboxId) -> Delivery {
    let message = NewMessage {
        mailbox,
        guid: Guid(id.to_owned()),
        file: format!("d.test/u/{id}.eml"),
        octets: 10,
        sha256: String::new(),
    };
    Delivery { id: DeliveryId(id.to_owned()), internal_date_us: 1, messages: vec![message] }
}

/// A running node needs no right to make or change tables.
async fn works_without_rights_to_tables(kind: Kind, grants: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::make(kind, directory.path());
    let place = made(&database).await;
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    for grant in grants {
        database.sql(&grant.replace("NAME", &name));
    }
    let url = database.url().replace("mail:secret", &format!("runner_{name}:other"));
    let store = open(&url, place.path()).await;
    let inbox = user(&store).await;
    store.deliver(delivery("one", inbox)).await.unwrap();
    assert_eq!(store.list(inbox).await.unwrap().len(), 1);
    // Another's password is not told by what is printed of an address.
    let wrong = url.replace(":other@", ":wrong-word@");
    let refused = Store::open(&urls(&wrong), &place.path().join("mail"), ORPHAN_AGE).await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("127.0.0.1") && !told.contains("wrong-word"), "{told}");
}

#[tokio::test]
async fn on_postgresql_a_node_needs_no_right_to_tables() {
    let grants = [
        "create role runner_NAME login password 'other'",
        "grant select, insert, update, delete on all tables in schema public to runner_NAME",
        "grant usage on all sequences in schema public to runner_NAME",
    ];
    works_without_rights_to_tables(Kind::Postgresql, &grants).await;
}

#[tokio::test]
async fn on_mariadb_a_node_needs_no_right_to_tables() {
    let grants = [
        "create user 'runner_NAME'@'%' identified by 'other'",
        "grant select, insert, update, delete on NAME.* to 'runner_NAME'@'%'",
    ];
    works_without_rights_to_tables(Kind::Mariadb, &grants).await;
}

/// PostgreSQL says "done" when somebody cancels the wait for the standby, and only warns that the
/// standby may not have it. Nobody may be told that the message is kept, until it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_its_standby_is_not_taken_for_done() {
    let server = Arc::new(Server::start(Kind::Postgresql, &[]));
    let database = Database::on(server.clone(), "mail");
    let place = made(&database).await;
    let store = open(database.url(), place.path()).await;
    let inbox = user(&store).await;
    let names = |names: &str| {
        server.sql("", &format!("alter system set synchronous_standby_names = '{names}'"));
        server.sql("", "select pg_reload_conf()");
    };
    let waiting = || {
        wait_until("a commit waits for its standby", MOMENT, || {
            let asked = "select pid from pg_stat_activity where wait_event = 'SyncRep'";
            server.sql("", asked).first().cloned().ok_or_else(|| "none does".to_owned())
        })
    };
    names("ghost");
    // The server reads its settings when it comes to it: the first ones may still go through.
    let answered = Arc::new(AtomicUsize::new(0));
    let sender = tokio::spawn({
        let (store, answered) = (store.clone(), answered.clone());
        async move {
            while answered.load(Ordering::Relaxed) < 1_000_000 {
                let id = format!("number {}", answered.load(Ordering::Relaxed));
                store.deliver(delivery(&id, inbox)).await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let pid = waiting();
    let before = answered.load(Ordering::Relaxed);
    server.sql("", &format!("select pg_cancel_backend({pid})"));
    let rows = || server.sql("mail", "select count(*) from messages").remove(0);
    wait_until("it is committed here, and here only", MOMENT, || {
        let rows = rows();
        if rows == (before + 1).to_string() { Ok(()) } else { Err(rows) }
    });
    // It is looked up, found, and still not believed: another commit waits.
    waiting();
    assert_eq!(answered.load(Ordering::Relaxed), before, "answered before a standby had it");
    names("");
    wait_until("it is answered", MOMENT, || {
        let now = answered.load(Ordering::Relaxed);
        if now > before { Ok(()) } else { Err(format!("{now} are")) }
    });
    answered.store(1_000_000, Ordering::Relaxed);
    sender.await.unwrap();
}
