//! Does `mailnode check` name each setting that is missed, with its line and a remedy, and print
//! nothing wrong of a right set-up? It does not know how it looks: each set-up is broken by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::database::{Database, Kind, Server};
use harness::node::PORT_NAMES;
use harness::ports::Port;
use harness::program::{our_command, ours};
use harness::{Cluster, Finished, run, yaml};
use tempfile::TempDir;

/// A cluster that was set up and does not run.
struct SetUp {
    directory: TempDir,
    database: Database,
    config: PathBuf,
    ports: Vec<Port>,
}

impl SetUp {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = Database::make(Kind::Sqlite, directory.path());
        Self::on(directory, database)
    }

    fn on(directory: TempDir, database: Database) -> Self {
        let (config, temp) =
            (directory.path().join("mailnode.yaml"), directory.path().join("temp"));
        fs::create_dir(temp).expect("a directory");
        fs::write(&config, yaml::mailnode(directory.path(), &database.urls(), "")).expect("a file");
        yaml::make_certificate(&config);
        let ports = PORT_NAMES.iter().map(|_| Port::claim()).collect();
        let set_up = Self { directory, database, config, ports };
        set_up.node(&["setup"]).exits(0);
        set_up.change("hostname: ${NODE}.example.test", "hostname: localhost");
        set_up
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.directory.path().join(rest)
    }

    fn change(&self, before: &str, after: &str) {
        let text = fs::read_to_string(&self.config).expect("the file");
        assert!(text.contains(before), "no {before:?} in:\n{text}");
        fs::write(&self.config, text.replace(before, after)).expect("the file again");
    }

    fn dress(&self, command: &mut Command) {
        command.env("NODE", "a");
        for (name, port) in PORT_NAMES.iter().zip(&self.ports) {
            command.env(name, port.number().to_string());
        }
    }

    fn node(&self, verbs: &[&str]) -> Finished {
        let mut command = our_command("mailnode");
        command.args(verbs).arg("--config").arg(&self.config);
        self.dress(&mut command);
        run(&mut command, b"")
    }

    /// The check after a few lines of shell.
    fn check_after(&self, shell: &str) -> Finished {
        let mut command = Command::new("unshare");
        let check = format!("{shell}\nexec \"$0\" check --config \"$1\"");
        command.args(["--mount", "sh", "-ec", &check]);
        command.arg(ours("mailnode")).arg(&self.config);
        self.dress(&mut command);
        run(&mut command, b"")
    }

    /// All `wanted` is said, with a remedy, within five seconds.
    #[track_caller]
    fn names(&self, wanted: &[&str]) {
        let began = Instant::now();
        let finished = self.node(&["check"]);
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
        says(finished, wanted);
    }
}

#[track_caller]
fn says(finished: Finished, wanted: &[&str]) {
    let said = finished.exits(1).text();
    for words in wanted {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    let faults = said.lines().filter(|line| line.starts_with("FAULT")).count();
    let remedies = said.lines().filter(|line| line.starts_with("       remedy: ")).count();
    assert_eq!(faults, remedies, "each fault has its remedy:\n{said}");
}

#[test]
fn a_right_set_up_prints_nothing_wrong_and_while_it_runs_neither() {
    let set_up = SetUp::new();
    let said = set_up.node(&["check"]).exits(0).text();
    assert!(!said.contains("FAULT") && said.contains("SQLite 3"), "{said}");
    let said = set_up.node(&["check", "--json"]).exits(0).text();
    let value: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(value["findings"].as_array().is_some_and(|all| all.len() >= 10), "{said}");

    let cluster = Cluster::start(1);
    let mut command = our_command("mailnode");
    command.args(["check", "--config"]).arg(cluster.mailnode_yaml());
    set_up.dress(&mut command);
    command.env("SMTP_PORT", cluster.smtp_of("a").to_string());
    let said = run(&mut command, b"").text();
    assert!(said.contains("a is running here"), "{said}");
    assert!(said.contains("is open, by this node as it seems"), "{said}");
}

#[test]
fn the_database() {
    let set_up = SetUp::new();
    let newer = "INSERT INTO _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 VALUES (99, 'later', 1, x'00', 1)";
    set_up.database.sql(newer);
    set_up.names(&["mailnode.yaml:", ": database: ", "version 99", "newer program"]);
    fs::remove_file(set_up.path("mail.db")).expect("the database goes");
    set_up.names(&[": database: ", "mail.db does not exist"]);

    let nobody = Port::claim();
    let url = format!("sqlite://{}", set_up.path("mail.db").display());
    let away = format!("postgres://mail:secret@127.0.0.1:{}/mail", nobody.number());
    set_up.change(&url, &away);
    set_up.names(&[": database: ", &format!("127.0.0.1:{}", nobody.number()), "remedy: "]);
    let said = set_up.node(&["check"]).text();
    assert!(!said.contains("secret"), "a password is shown:\n{said}");
}

#[test]
fn a_server_that_does_not_keep_what_it_acknowledges() {
    let place = tempfile::tempdir().expect("a directory");
    let options = ["-c", "fsync=off", "-c", "full_page_writes=off"];
    let server = Arc::new(Server::start(Kind::Postgresql, &options));
    let set_up = SetUp::on(place, Database::on(server, "weak"));
    set_up.names(&["database: fsync is off", "database: full_page_writes is off", "ALTER SYSTEM"]);
    let url = set_up.database.url().to_owned();
    let (user, rest) = url.split_once('@').expect("an address with a user");
    let wrong = format!("{}:wrong@{rest}", user.rsplit_once(':').expect("a password").0);
    set_up.change(&url, &wrong);
    let finished = set_up.node(&["check"]);
    // Where the server trusts everybody of this machine the password is not looked at.
    assert!(finished.text().contains("database: "), "{}", finished.text());
    let place = tempfile::tempdir().expect("a directory");
    let server = Arc::new(Server::start(Kind::Mariadb, &["--innodb-flush-log-at-trx-commit=2"]));
    let set_up = SetUp::on(place, Database::on(server, "weak"));
    set_up.names(&["database: innodb_flush_log_at_trx_commit is not 1", "SET GLOBAL"]);
}

#[test]
fn mail_and_logs() {
    let set_up = SetUp::new();
    let mail = set_up.path("store/mail");
    fs::set_permissions(&mail, fs::Permissions::from_mode(0o755)).expect("a mode");
    set_up.names(&["directories.mail: ", "with mode 755: others may read mail", "chmod 700"]);
    fs::set_permissions(&mail, fs::Permissions::from_mode(0o700)).expect("a mode");

    let mount = format!("mount --bind '{0}' '{0}'; mount -o remount,bind,ro '{0}'", mail.display());
    let finished = set_up.check_after(&mount);
    says(finished, &["directories.mail: ", "a file cannot be written and flushed", "read-only"]);
    let mount = format!("mount -t tmpfs none '{}'", mail.display());
    let finished = set_up.check_after(&mount);
    says(finished, &["directories.mail: ", "has no marker .mail-cluster", "not mounted"]);

    fs::write(mail.join(".mail-cluster"), "another\n").expect("a marker");
    set_up.names(&["directories.mail: ", "belongs to cluster another"]);
    fs::rename(&mail, set_up.path("aside")).expect("it goes");
    set_up.names(&["directories.mail: ", "is not there", "mount the file store"]);
    fs::write(&mail, "").expect("a file in its place");
    set_up.names(&["directories.mail: ", "is no directory"]);

    let set_up = SetUp::new();
    set_up.change("store/logs", "store/mail");
    set_up.names(&["directories.logs: ", "lie within one another"]);
}

#[test]
fn temp() {
    let set_up = SetUp::new();
    set_up.change("temp/${NODE}", "nowhere/temp");
    set_up.names(&["directories.temp: ", "make the directory"]);
    set_up.change("nowhere/temp", "store/mail/temp");
    set_up.names(&["directories.temp: ", "lie within one another"]);

    let cluster = Cluster::start(1);
    let its = cluster.mailnode_yaml().parent().expect("a directory").join("temp/a");
    let set_up = SetUp::new();
    let own = format!("{}/temp/${{NODE}}", set_up.directory.path().display());
    set_up.change(&own, &its.display().to_string());
    set_up.names(&["directories.temp: ", "is the temp of node a, which is running"]);
}

#[test]
fn names_of_nodes_and_disks_that_are_not_shared() {
    let set_up = SetUp::new();
    let alive = |name: &str| {
        format!(
            "INSERT INTO nodes (name, epoch, process, started_us, heartbeat_us) VALUES \
             ('{name}', 7, 'another-boot/pid:[1]/1/1', 1, \
             CAST(strftime('%s', 'now') AS INTEGER) * 1000000)"
        )
    };
    set_up.database.sql(&alive("a"));
    set_up.names(&["node: a node named a is alive on another machine (epoch 7)"]);
    set_up.database.sql("DELETE FROM nodes");
    set_up.database.sql(&alive("b"));
    set_up.names(&["directories.mail: ", "own disk, and b lives on another machine"]);
}

#[test]
fn certificates() {
    let set_up = SetUp::new();
    set_up.change("hostname: localhost", "hostname: mx.example.org");
    set_up.names(&["tls.certificate: ", "is not for mx.example.org"]);
    set_up.change("hostname: mx.example.org", "hostname: localhost");
    let key = set_up.path("key.pem");
    let other = run(
        Command::new("openssl").args(["genpkey", "-algorithm", "ED25519", "-out"]).arg(&key),
        b"",
    );
    other.exits(0);
    set_up.names(&["tls.key: ", "does not fit the first certificate"]);
    let names = vec!["localhost".to_owned()];
    let mut old = rcgen::CertificateParams::new(names).expect("names of hosts");
    old.not_before = rcgen::date_time_ymd(2020, 1, 1);
    old.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let pair = rcgen::KeyPair::generate().expect("a key");
    let old = old.self_signed(&pair).expect("a certificate").pem();
    fs::write(set_up.path("certificate.pem"), old).expect("a file");
    fs::write(&key, pair.serialize_pem()).expect("a file");
    set_up.names(&["tls.certificate: ", "has expired on"]);
    fs::remove_file(&key).expect("the key goes");
    set_up.names(&["tls.key: ", "give a file this user can read"]);
    let line = format!(
        "tls: {{certificate: {0}/certificate.pem, key: {0}/key.pem}}\n",
        set_up.directory.path().display()
    );
    set_up.change(&line, "");
    set_up.change("  pop3s: [\"127.0.0.1:${POP3S_PORT}\"]\n", "");
    set_up.change("plain_text_login: true", "plain_text_login: false");
    set_up.names(&["FAULT", ": tls: is missing"]);
}

#[test]
fn ports_and_limits() {
    let set_up = SetUp::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    let smtp = "smtp: [\"127.0.0.1:${SMTP_PORT}\"]";
    set_up.change(smtp, &format!("smtp: [\"{taken}\", \"192.0.2.1:25\"]"));
    set_up.names(&[
        &format!("listen.smtp[0]: {taken} is taken by another program"),
        "listen.smtp[1]: 192.0.2.1:25 cannot be opened: this machine does not have",
    ]);
    let finished = set_up.check_after("ulimit -n 1000");
    says(
        finished,
        &["limits.connections_max: 8000 connections need more than the 1000 open files"],
    );
    let set_up = SetUp::new();
    set_up.change("  pop3: [\"127.0.0.1:${POP3_PORT}\"]\n", "");
    set_up.change("  pop3s: [\"127.0.0.1:${POP3S_PORT}\"]\n", "");
    set_up.change(smtp, "smtp: []");
    set_up.names(&["listen: no client is served anywhere"]);
}

/// Where a file is read from stands beside each fault, as `FILE:LINE:COLUMN: KEY`.
#[test]
fn every_fault_has_its_place() {
    let set_up = SetUp::new();
    fs::remove_dir_all(set_up.path("store")).expect("the store goes");
    let text = fs::read_to_string(&set_up.config).expect("the file");
    let line = |key: &str| {
        1 + text.lines().position(|line| line.starts_with(&format!("  {key}: "))).expect(key)
    };
    let place =
        |key: &str| format!("{}:{}:3: directories.{key}: ", shown(&set_up.config), line(key));
    set_up.names(&[&place("mail"), &place("logs")]);
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
