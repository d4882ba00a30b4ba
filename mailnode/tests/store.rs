//! Does the store keep what it promises, with several processes' worth of writers on one database?
//! Each test has a database and a file store of its own; nothing here knows a protocol.

#![allow(clippy::unwrap_used, reason = "a test says what was seen by failing there")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::database::{Database, Kind};
use mailnode::mail::{DeliveryId, EmailAddress, Guid, MailboxId, Uid};
use mailnode::process::ProcessIdentity;
use mailnode::spool::Temp;
use mailnode::store::{
    DatabaseUrl, DatabaseUrls, Delivery, Draft, Found, MARKER, NewMessage, Store, StoreError,
    set_up,
};
use tempfile::TempDir;

const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// A cluster's database and directories.
struct Place {
    directory: TempDir,
    database: Database,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::make(Kind::chosen(), directory.path());
        let place = Self { directory, database };
        set_up(&place.url(), &[&place.mail(), &place.logs()], false).await.unwrap();
        place
    }

    fn url(&self) -> DatabaseUrls {
        DatabaseUrl::parse(self.database.url()).unwrap().into()
    }

    fn mail(&self) -> PathBuf {
        self.directory.path().join("store/mail")
    }

    fn logs(&self) -> PathBuf {
        self.directory.path().join("store/logs")
    }

    /// As a process of its own would open it: with its own connections and its own writer.
    async fn open(&self) -> Store {
        Store::open(&self.url(), &self.mail(), ORPHAN_AGE).await.unwrap()
    }

    async fn with_users(users: &[&str]) -> (Self, Store) {
        let place = Self::new().await;
        let store = place.open().await;
        store.add_domain("d.test".to_owned()).await.unwrap();
        for user in users {
            store.add_user(address(user), "no hash".to_owned()).await.unwrap();
        }
        (place, store)
    }
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

async fn mailbox(store: &Store, user: &str) -> MailboxId {
    match store.find(&address(user)).await.unwrap() {
        Found::Mailboxes(found) => found[0].mailbox,
        other => panic!("{user}: {other:?}"),
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn uids_are_gapless_and_seen_in_order_whoever_delivers() {
    let (place, store) = Place::with_users(&["u@d.test"]).await;
    let inbox = mailbox(&store, "u@d.test").await;
    let mut senders = tokio::task::JoinSet::new();
    for process in 0..3 {
        let store = place.open().await;
        for sender in 0..8 {
            let store = store.clone();
            senders.spawn(async move {
                for number in 0..20 {
                    let id = format!("{process}-{sender}-{number}");
                    store.deliver(delivery(&id, &[inbox])).await.unwrap();
                }
            });
        }
    }
    // A reader must never see a higher UID while a lower one is still to come.
    let mut seen = 0;
    while seen < 480 {
        let listed = store.list(inbox).await.unwrap();
        let uids: Vec<i64> = listed.iter().map(|row| row.uid).collect();
        let gapless: Vec<i64> = (1..=i64::try_from(uids.len()).unwrap()).collect();
        assert_eq!(uids, gapless);
        assert!(uids.len() >= seen, "{} after {seen}", uids.len());
        seen = uids.len();
        tokio::task::yield_now().await;
    }
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    assert_eq!(store.users().await.unwrap()[0].messages, 480);
    assert_eq!(store.users().await.unwrap()[0].octets, 4800);
}

#[tokio::test]
async fn a_delivery_is_in_every_mailbox_or_in_none() {
    let (_place, store) = Place::with_users(&["u@d.test", "v@d.test"]).await;
    let (u, v) = (mailbox(&store, "u@d.test").await, mailbox(&store, "v@d.test").await);
    store.deliver(delivery("both", &[v, u])).await.unwrap();
    store.remove_user(address("v@d.test")).await.unwrap();
    // One that lost a mailbox, in the middle of others that did not.
    let (one, gone, two) = tokio::join!(
        store.deliver(delivery("one", &[u])),
        store.deliver(delivery("gone", &[u, v])),
        store.deliver(delivery("two", &[u])),
    );
    one.unwrap();
    two.unwrap();
    assert!(matches!(gone, Err(StoreError::MailboxGone)), "{gone:?}");
    let kept: Vec<String> = store.list(u).await.unwrap().into_iter().map(|row| row.guid).collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(!kept.iter().any(|guid| guid.starts_with("gone")), "{kept:?}");
}

#[tokio::test]
async fn the_same_delivery_is_never_kept_twice() {
    let (_place, store) = Place::with_users(&["u@d.test"]).await;
    let inbox = mailbox(&store, "u@d.test").await;
    // The second time its rows are there: that is what a lost answer to a commit looks like.
    for _ in 0..2 {
        store.deliver(delivery("once", &[inbox])).await.unwrap();
    }
    assert_eq!(store.list(inbox).await.unwrap().len(), 1);
}

#[tokio::test]
async fn removed_messages_are_gone_their_uids_never_come_back_and_files_follow_later() {
    let (_place, store) = Place::with_users(&["u@d.test"]).await;
    let inbox = mailbox(&store, "u@d.test").await;
    for id in ["a", "b", "c"] {
        store.deliver(delivery(id, &[inbox])).await.unwrap();
    }
    assert_eq!(store.remove(inbox, vec![Uid(2), Uid(3), Uid(99)]).await.unwrap(), 2);
    assert_eq!(store.remove(inbox, vec![Uid(2)]).await.unwrap(), 0);
    store.deliver(delivery("d", &[inbox])).await.unwrap();
    let uids: Vec<i64> = store.list(inbox).await.unwrap().iter().map(|row| row.uid).collect();
    assert_eq!(uids, [1, 4]);
    let user = store.users().await.unwrap().remove(0);
    assert_eq!((user.messages, user.octets), (2, 20));
    let swept = store.sweep(ORPHAN_AGE, i64::MAX).await.unwrap();
    assert_eq!(swept.removed, 0, "a session may still read them");
}

#[tokio::test]
async fn aliases_lead_on_and_loops_end() {
    let (_place, store) = Place::with_users(&["u@d.test", "v@d.test"]).await;
    let add = |alias: &'static str, target: &'static str| {
        let store = store.clone();
        async move { store.add_alias(address(alias), address(target)).await }
    };
    add("all@d.test", "u@d.test").await.unwrap();
    add("all@d.test", "v@d.test").await.unwrap();
    add("more@d.test", "all@d.test").await.unwrap();
    add("all@d.test", "more@d.test").await.unwrap();
    let found = store.find(&address("more@d.test")).await.unwrap();
    assert!(matches!(&found, Found::Mailboxes(found) if found.len() == 2), "{found:?}");
    for (wrong, why) in [
        (add("u@d.test", "v@d.test").await, "is a user"),
        (add("x@d.test", "nobody@d.test").await, "is no user and no alias"),
        (add("x@other.test", "u@d.test").await, "is not served here"),
        (add("all@d.test", "u@d.test").await, "is there already"),
        (store.add_user(address("all@d.test"), String::new()).await, "is an alias"),
        (store.add_user(address("u@d.test"), String::new()).await, "is there already"),
        (store.remove_domain("d.test".to_owned()).await, "still has"),
    ] {
        let told = wrong.unwrap_err().to_string();
        assert!(told.contains(why), "`{why}` is not in `{told}`");
    }
    assert_eq!(store.find(&address("w@d.test")).await.unwrap(), Found::Nobody);
    assert_eq!(store.find(&address("u@foreign.test")).await.unwrap(), Found::ForeignDomain);
}

async fn keep(store: &Store, place: &Place, name: &str) -> Result<String, StoreError> {
    let temp = Temp::open(&place.directory.path().join("temp"), "a").unwrap();
    let mut spool = temp.spool();
    spool.write(b"body\r\n").unwrap();
    let draft = Draft {
        directory: "d.test/u".to_owned(),
        name: name.to_owned(),
        head: "Head: 1\r\n".to_owned(),
    };
    let kept = store.files().keep(vec![draft], spool.finish()).await?;
    assert_eq!(kept[0].octets, 15);
    Ok(kept[0].file.clone())
}

#[tokio::test]
async fn a_lost_root_is_trouble_and_nothing_is_created_there() {
    let (place, store) = Place::with_users(&["u@d.test"]).await;
    let file = keep(&store, &place, "1.eml").await.unwrap();
    assert_eq!(fs::read(place.mail().join(&file)).unwrap(), b"Head: 1\r\nbody\r\n");
    let away = place.directory.path().join("away");
    fs::rename(place.mail(), &away).unwrap();
    let lost = |outcome: Result<String, StoreError>| {
        assert!(matches!(outcome, Err(StoreError::Lost(_))), "{outcome:?}");
    };
    lost(keep(&store, &place, "2.eml").await);
    assert!(!place.mail().exists(), "it was made again");
    // What a lost mount shows: an empty directory.
    fs::create_dir(place.mail()).unwrap();
    lost(keep(&store, &place, "3.eml").await);
    lost(store.files().open(file.clone()).await.map(|_| String::new()));
    assert_eq!(fs::read_dir(place.mail()).unwrap().count(), 0, "something was written there");
    // Another cluster's store is as wrong as none.
    fs::write(place.mail().join(MARKER), "another\n").unwrap();
    lost(keep(&store, &place, "4.eml").await);
    fs::remove_dir_all(place.mail()).unwrap();
    fs::rename(&away, place.mail()).unwrap();
    keep(&store, &place, "5.eml").await.unwrap();
    store.files().open(file).await.unwrap();
}

#[tokio::test]
async fn nothing_is_reached_outside_the_root() {
    let (place, store) = Place::with_users(&[]).await;
    std::os::unix::fs::symlink("/etc", place.mail().join("link")).unwrap();
    for outside in ["../mail.db", "/etc/passwd", "link/passwd", "d.test/../../logs"] {
        let outcome = store.files().open(outside.to_owned()).await;
        assert!(matches!(outcome, Err(StoreError::File { .. })), "{outside}: {outcome:?}");
    }
}

#[tokio::test]
async fn orphans_are_swept_when_old_and_kept_mail_never() {
    let (place, store) = Place::with_users(&["u@d.test"]).await;
    let inbox = mailbox(&store, "u@d.test").await;
    let now = 1_795_000_000_000_000_i64;
    let name = |age_us: i64, n: u32| format!("{:014x}-1-00000001-{n}.0.eml", now - age_us);
    let day = i64::try_from(ORPHAN_AGE.as_micros()).unwrap();
    let kept = keep(&store, &place, &name(2 * day, 1)).await.unwrap();
    let orphan = keep(&store, &place, &name(2 * day, 2)).await.unwrap();
    let young = keep(&store, &place, &name(day / 2, 3)).await.unwrap();
    let foreign = keep(&store, &place, "notes.txt").await.unwrap();
    let mut known = delivery("known", &[inbox]);
    known.messages[0].file.clone_from(&kept);
    store.deliver(known).await.unwrap();
    let swept = store.sweep(ORPHAN_AGE, now).await.unwrap();
    assert_eq!((swept.removed, swept.orphans), (0, 1));
    let there = |file: &str| place.mail().join(file).exists();
    assert!(there(&kept) && there(&young) && there(&foreign));
    assert!(!there(&orphan));
    assert!(store.claim_sweep(ORPHAN_AGE).await.unwrap());
    assert!(!store.claim_sweep(ORPHAN_AGE).await.unwrap(), "one node sweeps for all");
}

#[tokio::test]
async fn a_name_is_one_living_nodes() {
    let (_place, store) = Place::with_users(&[]).await;
    let own = ProcessIdentity::own;
    let register = |name: &str| store.register_node(name.to_owned(), own());
    assert_eq!(register("a").await.unwrap(), 1);
    let told = register("a").await.unwrap_err().to_string();
    assert!(told.contains("a node named a is alive"), "{told}");
    assert_eq!(register("b").await.unwrap(), 1);
    assert!(store.heartbeat("a".to_owned(), 1).await.unwrap());
    store.release_node("a".to_owned(), 1).await.unwrap();
    assert_eq!(register("a").await.unwrap(), 2);
    assert!(!store.heartbeat("a".to_owned(), 1).await.unwrap(), "an earlier run is void");
}

#[tokio::test]
async fn setup_touches_nothing_that_is_another_clusters() {
    let (first, second) = (Place::new().await, Place::new().await);
    let marker = |place: &Place| fs::read_to_string(place.mail().join(MARKER)).unwrap();
    let refused = |outcome: Result<_, StoreError>, why: &str| match outcome {
        Err(StoreError::Conflict(told)) => assert!(told.contains(why), "{told}"),
        other => panic!("{other:?}"),
    };
    let before = marker(&second);
    let roots = |place: &Place| [place.mail(), place.logs()];
    let [mail, logs] = roots(&second);
    refused(set_up(&first.url(), &[&mail, &logs], false).await, "belongs to cluster");
    refused(set_up(&first.url(), &[&mail, &logs], true).await, "belongs to cluster");
    assert_eq!(marker(&second), before);
    // A mount that is missing must not become a new, empty store.
    let empty = first.directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let [_, logs] = roots(&first);
    refused(set_up(&first.url(), &[&empty, &logs], false).await, "is the file store mounted?");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    let adopted = set_up(&first.url(), &[&empty, &logs], true).await.unwrap();
    assert_eq!(format!("{}\n", adopted.cluster), marker(&first));
}

#[tokio::test]
async fn a_sqlite_file_that_is_not_ours_is_named_with_its_remedy() {
    let place = Place::new().await;
    let open = async |url: &Path| {
        let url = DatabaseUrl::parse(&format!("sqlite://{}", url.display())).unwrap().into();
        Store::open(&url, &place.mail(), ORPHAN_AGE).await.unwrap_err().to_string()
    };
    let missing = open(&place.directory.path().join("missing.db")).await;
    assert!(missing.contains("run `mailnode setup` first"), "{missing}");
    assert!(!place.directory.path().join("missing.db").exists(), "it was made");
    let text = place.directory.path().join("text.db");
    fs::write(&text, "this is no database, and long enough to be looked at as one".repeat(40))
        .unwrap();
    let told = open(&text).await;
    assert!(told.contains("not a database"), "{told}");
}

#[tokio::test]
async fn a_schema_one_step_ahead_is_worked_with_and_two_are_not() {
    let (place, store) = Place::with_users(&["u@d.test"]).await;
    let step = |version: i64| {
        place.database.sql(&format!(
            "insert into _sqlx_migrations (version, description, success, checksum, \
             execution_time) select {version}, 'later', success, checksum, 0 \
             from _sqlx_migrations where version = 1"
        ));
    };
    let open = async || Store::open(&place.url(), &place.mail(), ORPHAN_AGE).await;
    step(2);
    let beside = open().await.unwrap();
    let inbox = mailbox(&beside, "u@d.test").await;
    for (store, id) in [(&store, "old"), (&beside, "new")] {
        store.deliver(delivery(id, &[inbox])).await.unwrap();
    }
    // The earlier program's setup undoes nothing.
    set_up(&place.url(), &[&place.mail(), &place.logs()], false).await.unwrap();
    step(3);
    let told = open().await.unwrap_err().to_string();
    assert!(told.contains("version 3, this program works with 1 and 2"), "{told}");
    assert!(told.contains("use a newer program"), "{told}");
    place.database.sql("delete from _sqlx_migrations");
    let told = open().await.unwrap_err().to_string();
    assert!(told.contains("version 0") && told.contains("run `mailnode setup`"), "{told}");
}
