//! Do users from a file get in: all of them, or, if anything is wrong with the file, none; and is
//! a second run of the same file harmless?
//! It does not know how they are kept; it logs in as some of them and sends mail to one.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use harness::{Cluster, Finished, Pop3Client, User, message};

/// Of "imported-example", as an OpenLDAP would keep it.
const SSHA: &str = "{SSHA}Y5BXLq7tESeT1hnPlvDBCYZUCtFzYWx0c2FsdA==";

/// How many users: 1,000, or what IMPORT_USERS says, to see how long many take.
fn users() -> usize {
    std::env::var("IMPORT_USERS").map_or(1_000, |number| number.parse().expect("a number"))
}

fn file(cluster: &Cluster, name: &str, text: &str) -> PathBuf {
    let path = cluster.directory().join(name);
    fs::write(&path, text).expect("a file");
    path
}

fn import(cluster: &Cluster, path: &std::path::Path, more: &[&str]) -> Finished {
    let path = path.display().to_string();
    cluster.mailnode(&[&["import", &path], more].concat(), "")
}

fn accounts(cluster: &Cluster) -> String {
    cluster.sql("select count(*) from accounts").concat()
}

fn rows(count: usize) -> String {
    let mut text = "address,password_hash,quota,name\n".to_owned();
    for number in 0..count {
        let domain = ["example.test", "second.test", "third.test"][number % 3];
        writeln!(text, "User{number}@{domain},{SSHA},2 GiB,\"Number {number}, of many\"")
            .expect("a text");
    }
    text
}

#[test]
fn a_thousand_users_with_ready_hashes_and_again() {
    let cluster = Cluster::start(1);
    let users = users();
    let whole = file(&cluster, "users.csv", &rows(users));

    // A domain that is not served is a fault in each of its lines, and nothing is written.
    let refused = import(&cluster, &whole, &[]).exits(1);
    let place = |line: usize| format!("{}:{line}: the domain ", whole.display());
    assert!(refused.stderr.contains(&place(3)), "{}", refused.stderr);
    assert!(refused.stderr.contains(&place(users)), "{}", refused.stderr);
    assert!(refused.stderr.contains("mailnode domain add second.test"), "{}", refused.stderr);
    let foreign = (0..users).filter(|number| number % 3 != 0).count();
    let sum = format!("{foreign} faults, nothing was written");
    assert!(refused.stderr.contains(&sum), "{}", refused.stderr);
    let dry = import(&cluster, &whole, &["--create-domains", "--dry-run"]).exits(0).text();
    let wanted = format!("{users} users would be added, 0 were there already, 2 domains");
    assert!(dry.starts_with(&wanted), "{dry}");
    assert_eq!(accounts(&cluster), "2", "alice and bob");

    // A run that was cut off in the middle, and the next one.
    let half = users / 2 + 1;
    let first = file(&cluster, "half.csv", &rows(half));
    let said = import(&cluster, &first, &["--create-domains"]).exits(0).text();
    eprintln!("dry: {dry}half: {said}");
    let said = import(&cluster, &whole, &["--create-domains"]).exits(0).text();
    eprintln!("rest: {said}");
    let wanted = format!("{} users added, {half} were there already, 0 domains", users - half);
    assert!(said.starts_with(&wanted), "{said}");
    let again = import(&cluster, &whole, &[]).exits(0).text();
    let wanted = format!("0 users added, {users} were there already, 0 domains");
    assert!(again.starts_with(&wanted), "{again}");
    assert_eq!(accounts(&cluster), (users + 2).to_string());
    let quotas = cluster.sql("select distinct quota_octets from accounts order by 1");
    assert_eq!(quotas, ["0", "2147483648"]);

    let user = User { address: "user998@third.test", password: "imported-example" };
    harness::smtp_client::send(cluster.smtp(), user.address, &message("to one of many"));
    let mut reader = Pop3Client::login(cluster.pop3(), user);
    assert_eq!(reader.stat().0, 1);
    reader.quit();
    // Its hash may be ours by now: the file still is what it was.
    let again = import(&cluster, &whole, &[]).exits(0).text();
    assert!(again.starts_with(&wanted), "{again}");

    let other = file(&cluster, "other.csv", &rows(users).replace("Number 7,", "Seven,"));
    let refused = import(&cluster, &other, &[]).exits(1);
    let place =
        format!("{}:9: user7@second.test is there already with another name", other.display());
    assert!(refused.stderr.contains(&place), "{}", refused.stderr);
}

#[test]
fn every_fault_of_a_file_is_told_and_nothing_is_written() {
    let cluster = Cluster::start(1);
    cluster.mailnode(&["alias", "add", "info@example.test", harness::ALICE.address], "").exits(0);
    let lines = [
        "{\"address\": \"ok@example.test\", \"password\": \"a-password\"}",
        "{\"address\": \"OK@Example.Test\", \"password\": \"a-password\"}",
        "{\"address\": \"plain@example.test\", \"password_hash\": \"{PLAIN}secret-word\"}",
        "{\"address\": \"strange@example.test\", \"password_hash\": \"$strange$x\"}",
        "{\"address\": \"\\\"../up\\\"@example.test\", \"password\": \"x\"}",
        "no JSON",
        "{\"address\": \"info@example.test\", \"password\": \"x\"}",
        "{\"address\": \"alice@example.test\", \"password\": \"not-hers\"}",
        "{\"address\": \"bob@example.test\", \"password\": \"bob-example\"}",
        "{\"address\": \"big@example.test\", \"password\": \"x\", \"quota\": \"much\"}",
    ];
    let path = file(&cluster, "users.jsonl", &lines.join("\n"));
    let refused = import(&cluster, &path, &[]).exits(1).stderr;
    let told: Vec<&str> = refused.lines().filter(|line| line.contains("users.jsonl:")).collect();
    let wanted = [
        (2, "ok@example.test stands in line 1 already"),
        (3, "{PLAIN} keeps the password itself"),
        (4, "is not known"),
        (5, "local part"),
        (6, "no JSON object"),
        (7, "info@example.test is an alias"),
        (8, "alice@example.test is there already with another password"),
        (10, "quota: `much` is not a size"),
    ];
    for (line, text) in wanted {
        let place = format!("users.jsonl:{line}: ");
        let found = told.iter().any(|told| told.contains(&place) && told.contains(text));
        assert!(found, "nothing of line {line}: {text}\n{refused}");
    }
    assert!(refused.contains("8 faults, nothing was written"), "{refused}");
    assert!(!refused.contains("secret-word"), "a fault shows no secret: {refused}");
    assert_eq!(accounts(&cluster), "2");

    // With what was right alone, passwords are hashed, and it may be said again.
    let right = file(&cluster, "right.jsonl", &[lines[0], lines[8]].join("\n"));
    let said = import(&cluster, &right, &[]).exits(0).text();
    assert!(said.starts_with("1 users added, 1 were there already"), "{said}");
    let said = import(&cluster, &right, &[]).exits(0).text();
    assert!(said.starts_with("0 users added, 2 were there already"), "{said}");
    let user = User { address: "ok@example.test", password: "a-password" };
    Pop3Client::login(cluster.pop3(), user).quit();
    import(&cluster, &cluster.directory().join("missing.csv"), &[]).exits(1);
    import(&cluster, &cluster.mailnode_yaml(), &[]).exits(1);
}
