//! Is what an administrator says of users and domains so, on nodes that run: quotas, disabled
//! users, other names of a domain, mail to nobody, postmaster, sub-addresses?
//! It does not know how it is looked up; it sends, logs in and reads.

use harness::{ALICE, BOB, Cluster, Pop3Client, Reply, SmtpClient, User, message, of_size};

/// The answer to RCPT.
fn recipient(cluster: &Cluster, address: &str) -> Reply {
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<sender@example.net>").is(250);
    client.say(&format!("RCPT TO:<{address}>"))
}

/// The answer to a message.
fn deliver(cluster: &Cluster, to: &str, message: &[u8]) -> Reply {
    SmtpClient::hello(cluster.smtp()).deliver(to, message).expect("an answer")
}

fn login(cluster: &Cluster, address: &str, password: &str) -> String {
    let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
    client.ok(&format!("USER {address}"));
    client.say(&format!("PASS {password}")).expect("an answer")
}

fn mailnode(cluster: &Cluster, verbs: &[&str]) -> String {
    cluster.mailnode(verbs, "").exits(0).text()
}

#[test]
fn a_full_mailbox_takes_nothing_and_others_do() {
    let cluster = Cluster::start(2);
    mailnode(&cluster, &["user", "set", ALICE.address, "--quota", "64 KiB", "--name", "Alice"]);
    mailnode(&cluster, &["user", "set", BOB.address, "--quota-messages", "2"]);
    let listed = mailnode(&cluster, &["user", "list"]);
    assert!(listed.contains("of 64 KiB  Alice") && listed.contains("of 2 messages"), "{listed}");

    // RCPT cannot know the size: the delivery's own transaction says no.
    let large = of_size("too large for her", 80 * 1024);
    deliver(&cluster, ALICE.address, &large).is(452).begins("452 4.2.2");
    assert!(cluster.read_all(ALICE).is_empty(), "nothing of it is there");
    deliver(&cluster, ALICE.address, &of_size("fits", 60 * 1024)).is(250);
    deliver(&cluster, ALICE.address, &of_size("not any more", 6 * 1024)).is(452);
    assert_eq!(cluster.read_all(ALICE).len(), 1);

    deliver(&cluster, BOB.address, &message("one")).is(250);
    // For both of them, or for none.
    let mut client = SmtpClient::hello(cluster.smtp());
    let both = [BOB.address, ALICE.address];
    client.deliver_to(&both, &of_size("both", 8 * 1024)).expect("an answer").is(452);
    assert_eq!(cluster.read_all(BOB).len(), 1);
    deliver(&cluster, BOB.address, &message("two")).is(250);
    recipient(&cluster, BOB.address).is(452).begins("452 4.2.2");
    mailnode(&cluster, &["alias", "add", "all@example.test", BOB.address]);
    mailnode(&cluster, &["alias", "add", "all@example.test", ALICE.address]);
    recipient(&cluster, "all@example.test").is(452);

    // Room again: by a larger quota, and by mail that is gone.
    mailnode(&cluster, &["user", "set", ALICE.address, "--quota", "0"]);
    deliver(&cluster, ALICE.address, &large).is(250);
    let mut reader = Pop3Client::login(cluster.pop3(), BOB);
    reader.ok("DELE 1");
    reader.quit();
    deliver(&cluster, "all@example.test", &message("three")).is(250);
    assert_eq!(cluster.read_all(BOB).len(), 2);
}

#[test]
fn a_disabled_user_is_told_nothing_and_gets_nothing() {
    let cluster = Cluster::start(1);
    mailnode(&cluster, &["user", "set", ALICE.address, "--disable"]);
    let wrong = login(&cluster, BOB.address, "not-bobs");
    assert!(wrong.starts_with("-ERR [AUTH]"), "{wrong}");
    assert_eq!(login(&cluster, ALICE.address, ALICE.password), wrong, "told the same");
    recipient(&cluster, ALICE.address).is(550).begins("550 5.2.1");
    mailnode(&cluster, &["user", "set", ALICE.address, "--enable", "--pop3", "no"]);
    assert_eq!(login(&cluster, ALICE.address, ALICE.password), wrong, "not by POP3");
    recipient(&cluster, ALICE.address).is(250);
    let listed = mailnode(&cluster, &["user", "list"]);
    assert!(listed.contains("no POP3"), "{listed}");
    mailnode(&cluster, &["user", "set", ALICE.address, "--pop3", "yes"]);
    assert!(login(&cluster, ALICE.address, ALICE.password).starts_with("+OK"));
    for wrong in [&[][..], &["--quota", "much"], &["--name", "two\nlines"], &["--pop3", "perhaps"]]
    {
        let verbs = [&["user", "set", ALICE.address], wrong].concat();
        cluster.mailnode(&verbs, "").code_in(&[1, 2]);
    }
    cluster.mailnode(&["user", "set", "nobody@example.test", "--disable"], "").exits(1);
}

#[test]
fn a_domain_has_other_names_and_somebody_for_everything() {
    let cluster = Cluster::start(1);
    recipient(&cluster, "alice@other.test").is(550).begins("550 5.7.1");
    mailnode(&cluster, &["domain", "alias", "add", "Other.TEST", "example.test"]);
    mailnode(&cluster, &["domain", "alias", "add", "b\u{fc}cher.test", "example.test"]);
    cluster.mailnode(&["domain", "alias", "add", "other.test", "example.test"], "").exits(1);
    cluster.mailnode(&["domain", "add", "other.test"], "").exits(1);
    cluster.mailnode(&["domain", "alias", "add", "x.test", "nowhere.test"], "").exits(1);
    recipient(&cluster, "nobody@other.test").is(550).begins("550 5.1.1");
    let before = cluster.read_all(ALICE).len();
    for to in [
        "alice@other.test",
        "ALICE@xn--bcher-kva.test",
        "alice+lists.rust@example.test",
        "alice+x@other.test",
        // The oldest user reads what nobody was named for.
        "postmaster@example.test",
        "abuse@other.test",
        "postmaster",
    ] {
        deliver(&cluster, to, &message("to Alice, however named")).is(250);
    }
    assert_eq!(cluster.read_all(ALICE).len(), before + 7);
    Pop3Client::login(cluster.pop3(), User { address: "alice@other.test", ..ALICE }).quit();

    recipient(&cluster, "nobody+x@example.test").is(550).begins("550 5.1.1");
    let no_such = ["domain", "set", "example.test", "--catch-all", "nobody@example.test"];
    cluster.mailnode(&no_such, "").exits(1);
    mailnode(&cluster, &["domain", "set", "example.test", "--catch-all", BOB.address]);
    mailnode(&cluster, &["domain", "set", "example.test", "--postmaster", BOB.address]);
    let listed = mailnode(&cluster, &["domain", "list"]);
    for part in ["catch-all bob@", "postmaster bob@", "also other.test, xn--bcher-kva.test"] {
        assert!(listed.contains(part), "no {part}: {listed}");
    }
    for to in ["nobody@example.test", "n+x@other.test", "postmaster@other.test"] {
        deliver(&cluster, to, &message("to Bob")).is(250);
    }
    assert_eq!(cluster.read_all(BOB).len(), 3);
    mailnode(&cluster, &["domain", "set", "example.test", "--catch-all", "none"]);
    recipient(&cluster, "nobody@example.test").is(550);
    // Whom a setting named is gone: it is as if it had never been said.
    mailnode(&cluster, &["user", "remove", BOB.address]);
    deliver(&cluster, "abuse@example.test", &message("to Alice again")).is(250);
    assert_eq!(cluster.read_all(ALICE).len(), before + 8);
    mailnode(&cluster, &["domain", "alias", "remove", "other.test"]);
    recipient(&cluster, "alice@other.test").is(550).begins("550 5.7.1");
}
