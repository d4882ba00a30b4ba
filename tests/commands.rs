//! Does the command line keep its word: exit codes, `--json`, errors with their place and remedy?
//! It does not know how a command works inside; scripts stand on what is tested here.

use std::fs;
use std::path::{Path, PathBuf};

use harness::cluster::administer;
use harness::database::{Database, Kind};
use harness::node::PORT_NAMES;
use harness::program::our_command;
use harness::yaml::{self, DOMAIN};
use harness::{ALICE, BOB, Cluster, Finished, MOMENT, Pop3Client, SmtpClient, run, wait_until};
use tempfile::TempDir;

/// A place for a cluster that does not run: its directory and its YAML file.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("temp")).expect("a directory in it");
    let config = directory.path().join("mailnode.yaml");
    let database = Database::make(Kind::chosen(), directory.path());
    let text = yaml::mailnode(directory.path(), &[database.url()], "");
    fs::write(&config, text).expect("a file in it");
    yaml::make_certificate(&config);
    (directory, config)
}

/// A program with arguments and an empty input.
fn says(program: &str, arguments: &[&str]) -> Finished {
    run(our_command(program).args(arguments), b"")
}

fn json(finished: Finished) -> serde_json::Value {
    let text = finished.exits(0).text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

#[test]
fn usage_ends_with_two_and_help_with_zero() {
    for program in ["mailnode", "balancer"] {
        says(program, &["--version"]).exits(0);
        let help = says(program, &["--help"]).exits(0).text();
        assert!(help.contains("check") && help.contains("run"), "{help}");
        for wrong in [&["nonsense"][..], &["run", "--nonsense"], &["check", "x"], &[]] {
            let finished = says(program, wrong);
            assert_eq!(finished.code, Some(2), "{program} {wrong:?}: {}", finished.stderr);
        }
    }
}

#[test]
fn domains_users_and_aliases() {
    let (_directory, config) = place();
    let mailnode = |verbs: &[&str], stdin: &str| administer(&config, verbs, stdin);
    mailnode(&["setup"], "").exits(0);
    mailnode(&["setup"], "").exits(0); // again: nothing to do

    // A user needs its domain, a mistake is told, and nothing is half done.
    let no_domain = mailnode(&["user", "add", ALICE.address], ALICE.password).exits(1);
    assert!(no_domain.stderr.contains(DOMAIN), "{}", no_domain.stderr);
    mailnode(&["domain", "add", DOMAIN], "").exits(0);
    mailnode(&["domain", "add", DOMAIN], "").exits(1);
    mailnode(&["domain", "add", "no domain"], "").code_in(&[1, 2]);
    mailnode(&["user", "add", ALICE.address], ALICE.password).exits(0);
    mailnode(&["user", "add", ALICE.address], ALICE.password).exits(1);
    mailnode(&["user", "add", "Bob@Example.TEST"], BOB.password).exits(0);
    mailnode(&["user", "add", "no-address"], "a-password").code_in(&[1, 2]);
    mailnode(&["user", "add", "carol@example.test"], "").exits(1); // no password at all
    mailnode(&["alias", "add", "info@example.test", ALICE.address], "").exits(0);
    mailnode(&["alias", "add", "info@example.test", BOB.address], "").exits(0);
    mailnode(&["alias", "add", "x@example.test", "nobody@example.test"], "").exits(1);

    let domains = json(mailnode(&["domain", "list", "--json"], ""));
    assert!(domains.to_string().contains(&format!("\"{DOMAIN}\"")), "{domains}");
    let users = json(mailnode(&["user", "list", "--json"], ""));
    let names: Vec<_> = users.as_array().expect("a list").iter().collect();
    assert_eq!(names.len(), 2, "{users}");
    assert!(users.to_string().contains("\"alice@example.test\""), "{users}");
    assert!(users.to_string().contains("\"bob@example.test\""), "{users}");
    for secret in ["alice-example", "argon2"] {
        assert!(!users.to_string().contains(secret), "a list shows no secrets: {users}");
    }
    let aliases = json(mailnode(&["alias", "list", "--json"], ""));
    assert_eq!(aliases.as_array().expect("a list").len(), 2, "{aliases}");
    let table = mailnode(&["user", "list"], "").exits(0).text();
    assert!(table.contains(ALICE.address) && table.contains(BOB.address), "{table}");

    mailnode(&["domain", "remove", DOMAIN], "").exits(1); // users live there
    mailnode(&["alias", "remove", "info@example.test", BOB.address], "").exits(0);
    mailnode(&["alias", "remove", "info@example.test", BOB.address], "").exits(1);
    mailnode(&["user", "remove", BOB.address], "").exits(0);
    mailnode(&["user", "remove", BOB.address], "").exits(1);
    mailnode(&["user", "password", "nobody@example.test"], "new-password").exits(1);
}

#[test]
fn what_is_changed_is_in_force_on_running_nodes() {
    let cluster = Cluster::start(2);
    let login = |user: &str, password: &str| {
        let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
        client.ok(&format!("USER {user}"));
        client.say(&format!("PASS {password}")).expect("an answer")
    };
    let recipient = |address: &str| {
        let mut client = SmtpClient::hello(cluster.smtp());
        client.say("MAIL FROM:<sender@example.net>").is(250);
        client.say(&format!("RCPT TO:<{address}>")).code
    };
    cluster.mailnode(&["user", "password", ALICE.address], "another-word").exits(0);
    for _ in 0..2 {
        assert!(login(ALICE.address, "another-word").starts_with("+OK"));
        assert!(login(ALICE.address, ALICE.password).starts_with("-ERR [AUTH]"));
    }
    assert_eq!(recipient("info@example.test"), 550);
    cluster.mailnode(&["alias", "add", "info@example.test", ALICE.address], "").exits(0);
    cluster.mailnode(&["alias", "add", "info@example.test", BOB.address], "").exits(0);
    assert_eq!(recipient("info@example.test"), 250);
    harness::smtp_client::send(cluster.smtp(), "info@example.test", &harness::message("to all"));
    assert_eq!(cluster.read_all(BOB).len(), 1);
    // To an alias and to the one behind it: one copy.
    let mut client = SmtpClient::hello(cluster.smtp());
    let both = ["info@example.test", BOB.address];
    client.deliver_to(&both, &harness::message("once")).expect("an answer").is(250);
    assert_eq!(cluster.read_all(BOB).len(), 2);
    cluster.mailnode(&["user", "remove", BOB.address], "").exits(0);
    assert_eq!(recipient(BOB.address), 550);
    assert!(login(BOB.address, BOB.password).starts_with("-ERR [AUTH]"));
}

#[test]
fn a_wrong_file_names_line_column_key_and_remedy() {
    let (directory, config) = place();
    let text = fs::read_to_string(&config).expect("the file");
    let broken = text
        .replace("plain_text_login: true", "plain_text_login: perhaps")
        .replace("log: {format: json", "log: {format: xml")
        .replace("hostname:", "hostnam:");
    let path = directory.path().join("broken.yaml");
    fs::write(&path, &broken).expect("a file");
    let at = |text: &str| 1 + broken.lines().position(|line| line.starts_with(text)).expect(text);
    let everywhere = [("hostnam", at("hostnam:")), ("log.format", at("log:"))];
    let in_nodes = ("plain_text_login", at("plain_text_login:"));
    for verbs in [&["setup"][..], &["check"], &["run"], &["user", "list"]] {
        let finished = administer(&path, verbs, "").exits(64);
        let said = format!("{}{}", finished.text(), finished.stderr);
        let is_node = ["check", "run"].contains(&verbs[0]);
        for (key, line) in everywhere.into_iter().chain(is_node.then_some(in_nodes)) {
            let place = format!("{}:{line}:", path.display());
            let told = said.lines().any(|told| told.contains(&place) && told.contains(key));
            assert!(told, "{verbs:?}: nothing of {key} at {place}\n{said}");
        }
    }
    let missing = administer(&directory.path().join("missing.yaml"), &["setup"], "").exits(64);
    assert!(missing.stderr.contains("missing.yaml"), "{}", missing.stderr);
    // A key that one command does not need is not asked for: NODE is not set here.
    administer(&config, &["setup"], "").exits(0);
    let finished = administer(&config, &["run"], "").exits(64);
    assert!(finished.stderr.contains("NODE"), "{}", finished.stderr);
}

#[test]
fn setup_never_touches_another_clusters_store() {
    let (mine, my_config) = place();
    let (other, other_config) = place();
    administer(&my_config, &["setup"], "").exits(0);
    administer(&other_config, &["setup"], "").exits(0);
    let store = mine.path().join("store");
    fs::rename(&store, mine.path().join("aside")).expect("my store goes aside");
    fs::rename(other.path().join("store"), &store).expect("another one in its place");
    let before = files_below(&store);
    let refused = administer(&my_config, &["setup"], "").exits(1);
    assert!(refused.stderr.contains("cluster"), "{}", refused.stderr);
    assert_eq!(files_below(&store), before, "nothing of it is touched");
    let check = node_check(&my_config).exits(1);
    let said = format!("{}{}", check.text(), check.stderr);
    assert!(said.contains("cluster"), "{said}");
}

#[test]
fn check_names_every_fault_at_once() {
    let (directory, config) = place();
    let said = node_check(&config).exits(1);
    let said = format!("{}{}", said.text(), said.stderr);
    assert!(said.contains("setup"), "the remedy for a missing database: {said}");
    administer(&config, &["setup"], "").exits(0);
    let said = node_check(&config).code_in(&[0, 1]).text();
    // A test's server is quick since it flushes nothing: that is all there is to find.
    let quick = ["fsync is off", "full_page_writes is off", "innodb_flush_log_at_trx_commit"];
    let is_quick = |line: &&str| quick.iter().any(|words| line.contains(words));
    let faults = said.lines().filter(|line| line.starts_with("FAULT") && !is_quick(line));
    assert_eq!(faults.collect::<Vec<_>>(), [""; 0]);
    fs::remove_dir_all(directory.path().join("store")).expect("the store goes");
    fs::remove_dir_all(directory.path().join("temp")).expect("temp goes");
    let said = node_check(&config).exits(1);
    let said = format!("{}{}", said.text(), said.stderr);
    for part in ["store/mail", "temp"] {
        assert!(said.contains(part), "no word of {part}: {said}");
    }
}

/// `mailnode check` as it is run on node a, with ports that are free.
fn node_check(config: &Path) -> Finished {
    let mut command = our_command("mailnode");
    command.args(["check", "--config"]).arg(config).env("NODE", "a");
    for name in PORT_NAMES {
        command.env(name, harness::ports::Port::claim().number().to_string());
    }
    run(&mut command, b"")
}

#[test]
fn a_second_node_of_the_same_name_is_refused() {
    let cluster = Cluster::start(1);
    let mut command = our_command("mailnode");
    command.args(["run", "--config"]).arg(cluster.mailnode_yaml()).env("NODE", "a");
    for name in PORT_NAMES {
        command.env(name, harness::ports::Port::claim().number().to_string());
    }
    let refused = run(&mut command, b"").exits(1);
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("a node named a is alive"), "{}", refused.stderr);
    harness::smtp_client::send(cluster.smtp(), ALICE.address, &harness::message("unharmed"));
}

#[test]
fn a_port_in_use_ends_a_start_with_a_clear_word() {
    let cluster = Cluster::start(1);
    let mut second = our_command("balancer");
    second.args(["run", "--config"]).arg(cluster.balancer_yaml());
    let refused = run(&mut second, b"").exits(1);
    let port = cluster.admin().to_string();
    let port_smtp = cluster.smtp().to_string();
    let named = [port, port_smtp].iter().any(|port| refused.stderr.contains(port.as_str()));
    assert!(named, "it names the port: {}", refused.stderr);
}

#[test]
fn stopped_programs_let_those_inside_finish() {
    let mut cluster = Cluster::start(1);
    let mut inside = SmtpClient::hello(cluster.smtp_of("a"));
    inside.say("MAIL FROM:<sender@example.net>").is(250);
    inside.say(&format!("RCPT TO:<{}>", ALICE.address)).is(250);
    inside.say("DATA").is(354);
    cluster.node_process("a").signal(rustix::process::Signal::TERM);
    let admin = cluster.admin_of("a");
    wait_until("the node takes no new clients", MOMENT, || {
        let ready = harness::cluster::is_ready(admin);
        ready.err().map(|_| ()).ok_or_else(|| "it is ready".to_owned())
    });
    inside.line().send(b"Subject: inside\r\n\r\n.\r\n").expect("sent");
    inside.read_reply().expect("an answer").is(250);
    let status = cluster.node_process("a").wait(MOMENT * 2);
    assert_eq!(status.code(), Some(0), "an orderly end");
    cluster.start_node("a");
    assert_eq!(cluster.read_all(ALICE).len(), 1);
}

#[test]
fn a_stopped_balancer_lets_those_inside_finish() {
    let mut cluster = Cluster::start(1);
    let mut inside = SmtpClient::hello(cluster.smtp());
    cluster.balancer_process().signal(rustix::process::Signal::TERM);
    let port = cluster.smtp();
    wait_until("nobody new is let in", MOMENT, || match SmtpClient::connect(port) {
        Ok(_) => Err("somebody is".to_owned()),
        Err(_) => Ok(()),
    });
    inside.deliver(ALICE.address, &harness::message("inside")).expect("an answer").is(250);
    inside.quit();
    let status = cluster.balancer_process().wait(MOMENT);
    assert_eq!(status.code(), Some(0), "an orderly end");
    assert_eq!(cluster.sql("select count(*) from messages"), ["1"]);
}

fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files_below(&path));
        } else {
            all.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    all.sort();
    all
}
