//! Is a lost mount ever an empty mailbox? (DESIGN §2, promise 4)
//! It does not know how a node looks for its store; it moves the directory away and looks.

use std::fs;
use std::path::Path;

use harness::cluster::is_ready;
use harness::pop3_client::read_all;
use harness::smtp_client::send;
use harness::{ALICE, Cluster, MOMENT, Pop3Client, SmtpClient, message, stored_as, wait_until};

/// What stands at the store's place while the store is away.
#[derive(Debug, Clone, Copy)]
enum Place {
    Nothing,
    EmptyDirectory,
    /// As a mount point looks that was prepared with the right directories.
    EmptyTree,
    /// Another cluster's store.
    AnotherStore,
}

#[test]
fn nothing_at_the_stores_place() {
    loses_and_finds(Place::Nothing);
}

#[test]
fn an_empty_directory_at_the_stores_place() {
    loses_and_finds(Place::EmptyDirectory);
}

#[test]
fn an_empty_tree_at_the_stores_place() {
    loses_and_finds(Place::EmptyTree);
}

#[test]
fn another_clusters_store_at_the_stores_place() {
    loses_and_finds(Place::AnotherStore);
}

fn loses_and_finds(place: Place) {
    let cluster = Cluster::start(2);
    let before = message("before");
    send(cluster.smtp_of("a"), ALICE.address, &before);
    // A client that is in the middle of things when the store goes.
    let mut inside = SmtpClient::hello(cluster.smtp_of("a"));
    inside.say("MAIL FROM:<sender@example.net>").is(250);
    inside.say(&format!("RCPT TO:<{}>", ALICE.address)).is(250);
    let mut reader = Pop3Client::login(cluster.pop3_of("b"), ALICE);
    assert_eq!(reader.stat().0, 1);

    let (store, away) = (cluster.directory().join("store"), cluster.directory().join("away"));
    fs::rename(&store, &away).expect("the store moves away");
    prepare(place, &store);
    let prepared = listing(&store);

    for node in ["a", "b"] {
        wait_until(&format!("{node} is not ready"), MOMENT, || {
            let reason = is_ready(cluster.admin_of(node)).err();
            reason.filter(|reason| reason.contains("503")).ok_or_else(|| "it is".to_owned())
        });
        refuses_for_now(&cluster, node);
    }
    inside.say("DATA").is(354);
    inside.line().send(b"Subject: lost\r\n\r\n.\r\n").expect("sent");
    inside.read_reply().expect("an answer").begins("451 4.");
    let answer = reader.say("RETR 1").expect("an answer");
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "RETR was answered {answer:?}");
    drop(reader);
    assert_eq!(listing(&store), prepared, "nobody writes at the empty place");

    if store.exists() {
        fs::remove_dir_all(&store).expect("what stood in its place goes");
    }
    fs::rename(&away, &store).expect("the store comes back");
    for node in ["a", "b"] {
        wait_until(&format!("{node} is ready again"), MOMENT, || is_ready(cluster.admin_of(node)));
        send(cluster.smtp_of(node), ALICE.address, &message(node));
    }
    for node in ["a", "b"] {
        let mail = read_all(cluster.pop3_of(node), ALICE);
        assert_eq!(mail.len(), 3, "one from before and one by each node");
        stored_as(&mail[0], &before);
    }
}

fn prepare(place: Place, store: &Path) {
    match place {
        Place::Nothing => {}
        Place::EmptyDirectory => fs::create_dir(store).expect("an empty directory"),
        Place::EmptyTree => {
            for name in ["mail", "logs"] {
                fs::create_dir_all(store.join(name)).expect("an empty tree");
            }
        }
        Place::AnotherStore => {
            let other = Cluster::start(1);
            fs::rename(other.directory().join("store"), store).expect("a store of another");
        }
    }
}

/// What a node says to new clients while its store is away: later, and never "no mail".
fn refuses_for_now(cluster: &Cluster, node: &str) {
    let mut client = SmtpClient::hello(cluster.smtp_of(node));
    let reply = client.deliver(ALICE.address, &message("lost")).expect("an answer");
    reply.begins("451 4.");
    let mut client = Pop3Client::connect(cluster.pop3_of(node)).expect("a greeting");
    client.ok(&format!("USER {}", ALICE.address));
    let answer = client.say(&format!("PASS {}", ALICE.password)).expect("an answer");
    assert!(answer.starts_with("-ERR [SYS/TEMP]"), "PASS was answered {answer:?}");
}

/// Every path below a directory, with the times of their last change.
fn listing(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let changed = fs::metadata(&path).and_then(|data| data.modified());
        all.push(format!("{} {:?}", path.display(), changed.ok()));
        all.extend(listing(&path));
    }
    all.sort();
    all
}
