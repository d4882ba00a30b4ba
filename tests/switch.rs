//! A cluster moves from one database to another while mail comes in and is read: is a message lost,
//! kept twice, refused, given another number? And when the moving process dies on its way?
//! It does not know how rows are copied; it looks at what senders and readers see.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::cluster::Plan;
use harness::database::{Database, Kind, Server};
use harness::ledger::Ledger;
use harness::pop3_client::{Pop3Client, read_all};
use harness::program::our_command;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, Finished, MOMENT, message, run, wait_until};

const SENDERS: usize = 2;
/// Messages that are taken before the switch begins, and after it has ended.
const SOME: usize = 20;
const NUMBERS: &str = "select uid, guid, modseq from messages order by mailbox_id, uid";
const GENERATION: &str = "select max(generation) from generations";

fn sqlite_cluster() -> Cluster {
    Cluster::planned(&Plan { nodes: 2, database: Kind::Sqlite, ..Plan::default() })
}

fn server(kind: Kind) -> Arc<Server> {
    Server::shared(kind).expect("a server")
}

/// Runs `mailnode switch --to URL` with `environment`.
fn switch(cluster: &Cluster, to: &str, environment: &[(&str, &str)]) -> Finished {
    let mut command = our_command("mailnode");
    command.args(["switch", "--to", to, "--config"]).arg(cluster.mailnode_yaml());
    command.envs(environment.iter().copied());
    run(&mut command, b"")
}

/// Waits until a node writes to this database: its heartbeat is seen there.
fn wait_followed(database: &Database) {
    let beat = || database.sql("select name, heartbeat_us from nodes order by name");
    let before = beat();
    wait_until("all nodes write to the new database", MOMENT, || {
        let now = beat();
        let moved = now.iter().zip(&before).filter(|(now, before)| now != before).count();
        if moved == now.len() && moved == 2 { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    });
}

/// Switches from `from` to `to` under load: nothing is lost, doubled or renumbered.
fn moves(cluster: &Cluster, from: &Database, to: &Database, to_url: &str) {
    let before = wait_until("the maildrop is free", MOMENT, || {
        uidls(cluster).ok_or_else(|| "it is not".to_owned())
    });
    let ledger = Ledger::new(cluster.smtp(), BOB);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ledger.send_until(ledger.answered() + 1);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let now = uidls(cluster).unwrap_or_else(|| before.clone());
                assert_eq!(now, before, "a reader sees the same messages all the time");
            }
        });
        let _end = Ended(&done);
        ledger.wait_answered(SOME);
        let said = switch(cluster, to_url, &[]).exits(0).text();
        println!("{said}");
        for words in ["logins looked up in both are the same", "writes held up for"] {
            assert!(said.contains(words), "{said}");
        }
        ledger.wait_answered(ledger.answered() + SOME);
    });
    wait_followed(to);
    let left = from.sql(NUMBERS);
    let now = to.sql(NUMBERS);
    for row in &left {
        assert!(now.contains(row), "{row} was in the old database");
    }
    assert!(now.len() > left.len(), "mail came in after the switch");
    assert_eq!(from.sql(GENERATION), to.sql(GENERATION), "no number leaps");
    let answered = ledger.answered();
    let read = read_all(cluster.pop3(), BOB);
    assert!(read.len() >= answered, "{} of {answered}", read.len());
    ledger.settle(&read);
    empty(cluster);
}

/// Ends senders and readers, also when the test fails.
struct Ended<'e>(&'e AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The messages of alice's maildrop; `None`: she is asked to come again.
fn uidls(cluster: &Cluster) -> Option<Vec<String>> {
    let mut client = Pop3Client::connect(cluster.pop3()).expect("a node");
    client.ok(&format!("USER {}", ALICE.address));
    let answer = client.say(&format!("PASS {}", ALICE.password)).expect("an answer");
    if !answer.starts_with("+OK") {
        // For a second a node may still read in the old database who has the maildrop.
        let later = ["-ERR [SYS/TEMP]", "-ERR [IN-USE]"];
        assert!(later.iter().any(|begin| answer.starts_with(begin)), "{answer}");
        return None;
    }
    let lines = client.lines("UIDL");
    client.quit();
    Some(lines)
}

/// Takes bob's mail away, so that the next ledger finds none of this one.
fn empty(cluster: &Cluster) {
    let mut client = Pop3Client::login(cluster.pop3(), BOB);
    let (count, _) = client.stat();
    for number in 1..=count {
        client.ok(&format!("DELE {number}"));
    }
    client.quit();
}

#[test]
fn to_postgresql_and_back_and_to_mariadb_with_mail_coming_in() {
    let mut cluster = sqlite_cluster();
    send(cluster.smtp(), ALICE.address, &message("one"));
    send(cluster.smtp(), ALICE.address, &message("two"));
    let sqlite = cluster.database().clone();
    let postgresql = Database::on(server(Kind::Postgresql), "switched");
    moves(&cluster, &sqlite, &postgresql, postgresql.url());
    moves(&cluster, &postgresql, &sqlite, sqlite.url());
    let mariadb = Database::on(server(Kind::Mariadb), "switched");
    moves(&cluster, &sqlite, &mariadb, mariadb.url());

    // A node that starts with the first address follows and says so; so does a command.
    cluster.kill_node("a");
    cluster.start_node("a");
    send(cluster.smtp_of("a"), ALICE.address, &message("three"));
    assert_eq!(read_all(cluster.pop3_of("b"), ALICE).len(), 3);
    let log = cluster.node_log("a");
    assert!(log.contains("change `database` in the YAML file"), "{log}");
    cluster.mailnode(&["domain", "add", "later.example"], "").exits(0);
    assert_eq!(mariadb.sql("select name from domains where name like 'later%'").len(), 1);
    assert!(sqlite.sql("select name from domains where name like 'later%'").is_empty());

    // Once more to where it is: nothing to do. To what is in force elsewhere: refused.
    let again = switch(&cluster, mariadb.url(), &[]).exits(0).text();
    assert!(again.contains("in force already"), "{again}");
}

#[test]
fn killed_anywhere_it_leaves_a_database_in_force_and_the_next_run_completes() {
    let cluster = sqlite_cluster();
    let postgresql = Database::on(server(Kind::Postgresql), "killed");
    let mut sent = 0;
    let before = ["prepared", "frozen", "copying", "copied", "compared"];
    for place in before {
        let place = format!("switch-{place}");
        let died = switch(&cluster, postgresql.url(), &[("MAILNODE_CRASH", &place)]);
        assert_eq!(died.code, None, "{place}: {}", died.stderr);
        send(cluster.smtp(), ALICE.address, &message(&place));
        sent += 1;
        assert_eq!(cluster.sql(NUMBERS).len(), sent, "{place}: the old one is in force");
    }
    // A node that starts where a copy was begun goes on with the database it is made from.
    let yaml = fs::read_to_string(cluster.mailnode_yaml()).expect("the nodes' file");
    let copy = yaml.replace(cluster.database().url(), postgresql.url());
    assert_ne!(yaml, copy);
    fs::write(cluster.mailnode_yaml(), copy).expect("a file");
    cluster.mailnode(&["domain", "add", "begun.example"], "").exits(0);
    fs::write(cluster.mailnode_yaml(), yaml).expect("a file");
    assert_eq!(cluster.sql("select 1 from domains where name = 'begun.example'").len(), 1);

    // Killed right after the old one was left: the new one is in force, and nobody has to help.
    let died = switch(&cluster, postgresql.url(), &[("MAILNODE_CRASH", "switch-left")]);
    assert_eq!(died.code, None, "{}", died.stderr);
    send(cluster.smtp(), ALICE.address, &message("after"));
    assert_eq!(cluster.sql(NUMBERS).len(), sent);
    assert_eq!(postgresql.sql(NUMBERS).len(), sent + 1);
    let again = switch(&cluster, postgresql.url(), &[]).exits(0).text();
    assert!(again.contains("in force already"), "{again}");
    assert!(postgresql.sql("select 1 from settings where name = '.switch'").is_empty());
    assert_eq!(read_all(cluster.pop3(), ALICE).len(), sent + 1);
}

#[test]
fn what_is_in_the_way_is_said_and_a_dry_run_changes_nothing() {
    let cluster = sqlite_cluster();
    let other = sqlite_cluster();
    let file = cluster.directory().join("new.db");
    let url = format!("sqlite://{}", file.display());
    let dry = cluster.mailnode(&["switch", "--dry-run", "--to", &url], "").exits(0).text();
    assert!(dry.contains("2 rows of accounts") && dry.contains("rows in all"), "{dry}");
    assert!(!file.exists() && cluster.sql("select 1 from settings").is_empty());

    let refused = switch(&cluster, other.database().url(), &[]).exits(1).stderr;
    assert!(refused.contains("it holds cluster"), "{refused}");
    let refused = switch(&cluster, "oracle://a/b", &[]).exits(1).stderr;
    assert!(refused.contains("postgres://USER:PASSWORD@HOST/NAME"), "{refused}");
    let refused = switch(&cluster, "postgres://u:secret@127.0.0.1:1/n", &[]).exits(1).stderr;
    assert!(refused.contains("127.0.0.1:1") && !refused.contains("secret"), "{refused}");
    send(cluster.smtp(), ALICE.address, &message("still here"));
}
