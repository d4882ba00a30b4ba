//! Are hashes of other servers taken over and made anew, is a changed password in force at once
//! although right logins are remembered, and may only those log in who may?
//! It does not know a protocol: the authority is asked itself, over a database of its own.

#![allow(clippy::unwrap_used, reason = "a test says what was seen by failing there")]

use std::time::Duration;

use harness::database::{Database, Kind};
use mailnode::auth::{Authority, Purpose, Verdict};
use mailnode::mail::{EmailAddress, Secret};
use mailnode::password;
use mailnode::sasl::Verifier;
use mailnode::store::{DatabaseUrl, Login, Store, set_up};
use tempfile::TempDir;

const ALICE: &str = "alice@example.test";
/// `pencil` with a salt, as LDAP servers keep it.
const SSHA: &str = "{SSHA}IGNdO+5N6NYkH8EJS1tGHJNy/8xoRyN1wXsmqA==";

struct World {
    _directory: TempDir,
    database: Database,
    store: Store,
    authority: Authority,
}

impl World {
    async fn with_hash(hash: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::make(Kind::chosen(), directory.path());
        let url = DatabaseUrl::parse(database.url()).unwrap().into();
        let (mail, logs) = (directory.path().join("mail"), directory.path().join("logs"));
        set_up(&url, &[&mail, &logs], false).await.unwrap();
        let store = Store::open(&url, &mail, Duration::from_secs(86_400)).await.unwrap();
        store.add_domain("example.test".into()).await.unwrap();
        store.add_user(address(), hash.to_owned()).await.unwrap();
        let authority = Authority::new(store.clone()).unwrap();
        Self { _directory: directory, database, store, authority }
    }

    async fn is_right(&self, user: &str, password: &str) -> bool {
        let password = Secret::new(password.into());
        let verdict = self.authority.check(user, password, Purpose::Fetching).await.unwrap();
        matches!(verdict, Verdict::Right(_))
    }

    async fn kept(&self) -> Login {
        self.store.login(&address()).await.unwrap().unwrap()
    }
}

fn address() -> EmailAddress {
    EmailAddress::parse(ALICE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_another_server_is_taken_over_and_made_anew() {
    let world = World::with_hash(SSHA).await;
    for (user, password) in [(ALICE, "pen"), ("bob@example.test", "pencil"), ("alice", "pencil")] {
        assert!(!world.is_right(user, password).await, "{user} {password}");
    }
    assert_eq!(world.kept().await.password_hash, SSHA, "a wrong login changes nothing");
    assert!(world.is_right(ALICE, "pencil").await);
    let begun = std::time::Instant::now();
    let kept = loop {
        let kept = world.kept().await;
        if kept.password_hash != SSHA {
            break kept;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it was not made anew");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(password::is_own(&kept.password_hash), "{}", kept.password_hash);
    assert!(Verifier::parse(&kept.scram).is_some(), "{}", kept.scram);
    assert!(world.is_right(ALICE, "pencil").await);
    assert!(!world.is_right(ALICE, "pen").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_at_once_where_right_logins_are_remembered() {
    let hashes = password::hashes(&Secret::new("first".into())).unwrap();
    let world = World::with_hash(&hashes.hash).await;
    for _ in 0..3 {
        assert!(world.is_right(ALICE, "first").await);
    }
    let hashes = password::hashes(&Secret::new("second".into())).unwrap();
    world.store.set_password(address(), hashes.hash).await.unwrap();
    assert!(!world.is_right(ALICE, "first").await);
    assert!(world.is_right(ALICE, "second").await);
    for (off, on) in [("may_pop3 = 0", "may_pop3 = 1"), ("state = 'disabled'", "state = 'active'")]
    {
        world.database.sql(&format!("update accounts set {off}"));
        assert!(!world.is_right(ALICE, "second").await, "{off}");
        assert_eq!(
            world.authority.proven(ALICE, Purpose::Fetching).await.unwrap(),
            Verdict::Wrong,
            "{off}"
        );
        world.database.sql(&format!("update accounts set {on}"));
        assert!(world.is_right(ALICE, "second").await, "{on}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proof_is_checked_with_tells_nobody_who_exists() {
    let world = World::with_hash(SSHA).await;
    let other = Authority::new(world.store.clone()).unwrap(); // another node
    for user in [ALICE, "nobody@example.test", "no address"] {
        let (first, nonce) = world.authority.verifier(user).await.unwrap();
        let (second, other_nonce) = other.verifier(user).await.unwrap();
        assert_eq!(first, second, "{user}");
        assert_ne!(nonce, other_nonce, "a nonce is never used twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_without_end_wait_for_their_turn() {
    let hashes = password::hashes(&Secret::new("first".into())).unwrap();
    let world = World::with_hash(&hashes.hash).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..40 {
        let authority = world.authority.clone();
        all.spawn(async move {
            let password = Secret::new(format!("wrong {number}"));
            authority.check(ALICE, password, Purpose::Fetching).await
        });
    }
    // Wrong, or "come again": never right, and no more memory than so many at once take.
    while let Some(done) = all.join_next().await {
        assert!(!matches!(done.unwrap(), Ok(Verdict::Right(_))));
    }
}
