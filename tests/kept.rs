//! What does "250" leave behind, and in which order does it reach the disk? (DESIGN §4, §5)
//! It does not know the code of the store; it looks at files and rows, and strace tells the calls
//! of a running node and lets some of them fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::cluster::Plan;
use harness::database::Kind;
use harness::process::Process;
use harness::smtp_client::send;
use harness::{ALICE, BOB, Cluster, MOMENT, SmtpClient, message, run, stored_as, wait_until};
use rustix::process::Signal;

#[test]
fn a_file_a_row_and_a_line_of_the_event_log() {
    let cluster = Cluster::start(2);
    let sent = message("kept");
    send(cluster.smtp_of("a"), ALICE.address, &sent);
    let read = cluster.read_all(ALICE).remove(0);
    stored_as(&read, &sent);

    let mail = cluster.directory().join("store/mail");
    let rows = cluster.sql("select file, octets, sha256, uid, guid from messages");
    let row: Vec<_> = rows[0].split('|').collect();
    let [file, octets, sha256, uid, guid] = row[..] else { panic!("a row of five: {row:?}") };
    assert_eq!((rows.len(), uid), (1, "1"));
    assert!(file.starts_with("example.test/alice/"), "{file}");
    let path = mail.join(file);
    assert_eq!(fs::read(&path).expect("the file"), read, "POP3 gives what the file holds");
    assert_eq!(octets, read.len().to_string());
    let sum = run(Command::new("sha256sum").arg(&path), b"").exits(0).text();
    assert!(sum.starts_with(sha256), "{sha256} is not {sum}");
    let mut reader = harness::Pop3Client::login(cluster.pop3_of("b"), ALICE);
    assert_eq!(reader.lines("UIDL"), [format!("1 {guid}")]);

    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600, "{}", path.display());
    for directory in path.ancestors().skip(1).take_while(|above| above.starts_with(&mail)) {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    let temp = fs::read_dir(cluster.directory().join("temp/a")).expect("temp");
    let names = temp.map(|entry| entry.expect("an entry").file_name().into_string());
    let spooled: Vec<_> = names.flatten().filter(|name| name.ends_with(".spool")).collect();
    assert_eq!(spooled, [""; 0], "what is delivered is gone from temp");
    the_event_log_tells(&cluster);
}

fn the_event_log_tells(cluster: &Cluster) {
    let logs = cluster.directory().join("store/logs/a");
    let line = wait_until("the event log has its line", MOMENT, || {
        let entries = fs::read_dir(&logs).map_err(|error| error.to_string())?;
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let text: String = paths.iter().flat_map(fs::read_to_string).collect();
        let mut lines = text.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Ok(line.to_owned()),
            other => Err(format!("{other:?} in {paths:?}")),
        }
    });
    let event: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(event["event"], "delivered", "{event}");
    assert_eq!(event["from"], "sender@example.net", "{event}");
    assert_eq!(event["to"], serde_json::json!([ALICE.address]), "{event}");
    assert_eq!(event["client"], "127.0.0.1", "{event}");
}

#[test]
fn to_two_people_means_two_files_and_two_rows() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    let both = [ALICE.address, BOB.address];
    client.deliver_to(&both, &message("to two")).expect("an answer").is(250);
    client.deliver(ALICE.address, &message("to one")).expect("an answer").is(250);
    client.quit();
    let counted = "select count(*), count(distinct file), count(distinct guid) from messages";
    assert_eq!(cluster.sql(counted), ["3|3|3"]);
    // UIDs go up by one in each mailbox, in the order of the answers.
    let uids = "select mailbox_id, uid from messages order by mailbox_id, uid";
    assert_eq!(cluster.sql(uids), ["1|1", "1|2", "2|1"]);
}

/// strace on a running node, until dropped.
struct Trace {
    process: Process,
    calls: PathBuf,
}

impl Trace {
    fn attach(cluster: &mut Cluster, name: &str, arguments: &[&str]) -> Self {
        let calls = cluster.directory().join(format!("{name}.calls"));
        let pid = cluster.node_process("a").pid().to_string();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "40", "-p", &pid, "-o"]).arg(&calls).args(arguments);
        let log = cluster.directory().join(format!("{name}.log"));
        let mut process = Process::start("strace", &mut strace, &log);
        wait_until("strace is attached to all threads", MOMENT, || {
            if let Some(status) = process.ended() {
                panic!("strace ended: {status}\n{}", process.log_tail());
            }
            let log = process.log();
            if log.contains(" attached") { Ok(()) } else { Err(log) }
        });
        Self { process, calls }
    }

    /// Lets the node go and returns what it called.
    fn detach(mut self) -> Vec<String> {
        self.process.signal(Signal::TERM);
        self.process.wait(MOMENT);
        let text = fs::read_to_string(&self.calls).expect("the calls");
        text.lines().map(str::to_owned).collect()
    }
}

/// One node whose database is a file, whatever the other tests run on.
fn on_sqlite() -> Cluster {
    Cluster::planned(&Plan { nodes: 1, database: Kind::Sqlite, ..Plan::default() })
}

#[test]
fn on_sqlite_everything_is_on_disk_before_250_is_said() {
    let mut cluster = on_sqlite();
    let traced = ["-e", "trace=fsync,fdatasync,write,sendto,writev,sendmsg"];
    let trace = Trace::attach(&mut cluster, "order", &traced);
    send(cluster.smtp(), ALICE.address, &message("in order"));
    let calls = trace.detach();

    let said = calls.iter().position(|call| call.contains("\"250 2.0.0 kept"));
    let said = said.unwrap_or_else(|| panic!("no 250 among\n{}", calls.join("\n")));
    // Looked for one after the other: each must come after the one before it.
    let mut from = 0;
    for (what, path) in [
        ("the message's file", ".eml>"),
        ("its directory", "/alice>"),
        ("the database's log", "mail.db-wal>"),
    ] {
        let synced = calls[from..said].iter().position(|call| {
            (call.contains("fsync(") || call.contains("fdatasync(")) && call.contains(path)
        });
        let at = synced.unwrap_or_else(|| {
            panic!("{what} is not synced in its turn before 250:\n{}", calls[..=said].join("\n"))
        });
        from += at + 1;
    }
}

#[test]
fn a_disk_that_fails_means_451_and_nothing_kept() {
    let mut cluster = Cluster::start(1);
    send(cluster.smtp(), ALICE.address, &message("before"));
    for (name, fault) in [
        ("file-sync", "inject=fsync:error=EIO"),
        ("sync", "inject=fsync,fdatasync:error=EIO"),
        ("full", "inject=openat,openat2:error=ENOSPC:when=1+"),
    ] {
        let trace = Trace::attach(&mut cluster, name, &["-e", fault]);
        let mut client = SmtpClient::connect(cluster.smtp()).expect("a greeting");
        client.say("EHLO client.example.net").is(250);
        let reply = client.deliver(ALICE.address, &message(name)).expect("an answer");
        assert!(reply.code == 451, "with {fault}: {reply}");
        drop(client);
        trace.detach();
        // What was not answered 250 may not be half there; and the node has not lost its mind.
        wait_until("mail is taken again", MOMENT, || {
            let mut client = SmtpClient::connect(cluster.smtp()).map_err(|e| e.to_string())?;
            client.say("EHLO client.example.net").is(250);
            let reply = client.deliver(BOB.address, &message("again")).expect("an answer");
            if reply.code == 250 { Ok(()) } else { Err(reply.to_string()) }
        });
        assert_eq!(cluster.read_all(ALICE).len(), 1, "alice's mail after {fault}");
    }
}

#[test]
fn sqlite_is_used_again_after_its_disk_failed() {
    let mut cluster = on_sqlite();
    let wal = cluster.directory().join("mail.db-wal");
    let wal = wal.to_str().expect("a path of letters");
    let fault = ["-P", wal, "-e", "inject=fsync,fdatasync:error=EIO"];
    let trace = Trace::attach(&mut cluster, "database", &fault);
    // Both of a node's writers meet the fault: its heartbeat and its deliveries.
    wait_until("a heartbeat fails", MOMENT, || {
        let log = cluster.node_log("a");
        if log.contains("no heartbeat") { Ok(()) } else { Err(log) }
    });
    for number in 0..10 {
        let mut client = SmtpClient::hello(cluster.smtp());
        let reply = client.deliver(ALICE.address, &message("lost")).expect("an answer");
        assert!(reply.code == 451, "message {number}: {reply}");
    }
    trace.detach();
    let heartbeat = || cluster.sql("select heartbeat_us from nodes").remove(0);
    let last = heartbeat();
    wait_until("the node's heart beats again", MOMENT, || {
        let now = heartbeat();
        if now == last { Err(format!("heartbeat {now}")) } else { Ok(()) }
    });
    wait_until("it is ready", MOMENT, || harness::cluster::is_ready(cluster.admin_of("a")));
    send(cluster.smtp(), ALICE.address, &message("kept"));
    assert_eq!(cluster.read_all(ALICE).len(), 1);
}
