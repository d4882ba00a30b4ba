//! The database is stopped, frozen, slow, or has no connection left: what does a client hear, how
//! long does it wait, and does all go on by itself afterwards?
//! It does not know how a node finds out; it stops a real server under load and looks.
//!
//! `OUTAGE_SECONDS=60 ./tests/run outage` lets each trouble last a minute.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::cluster::Plan;
use harness::database::{Database, Kind, Server};
use harness::message::subject;
use harness::{ALICE, BOB, Cluster, MOMENT, Pop3Client, SmtpClient, hold_for, message, wait_until};
use rustix::process::Signal;

const SENDERS: usize = 6;
/// No client waits longer for an answer, whatever the database does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(29);
/// What a node may grow by while it waits for its database.
const GROWTH_KIB_MAX: u64 = 64 * 1024;
const MORE_THREADS_MAX: u64 = 24;

/// What all clients heard.
#[derive(Default)]
struct Heard {
    kept: AtomicUsize,
    troubled: AtomicUsize,
    next: AtomicUsize,
    over: AtomicBool,
    /// Names of the messages that were answered 250.
    names: Mutex<Vec<String>>,
    longest: Mutex<Duration>,
}

impl Heard {
    /// A client's answer: all is well, or the trouble is temporary; nothing else is heard.
    fn answer(&self, answer: &str, begun: Instant) -> bool {
        let waited = begun.elapsed();
        let mut longest = self.longest.lock().expect("nobody panicked");
        *longest = waited.max(*longest);
        let well = answer.starts_with('2') || answer.starts_with('3') || answer.starts_with("+OK");
        let temporary = answer.starts_with("451 ") || answer.starts_with("-ERR [SYS/TEMP]");
        // One reader on each node for one maildrop: who comes second is told so.
        let in_use = answer.starts_with("-ERR [IN-USE]");
        assert!(well || temporary || in_use, "a client heard {answer:?}");
        if temporary {
            self.troubled.fetch_add(1, Ordering::Relaxed);
        }
        well
    }

    fn send(&self, cluster: &Cluster, node: &str) {
        while !self.over.load(Ordering::Relaxed) {
            let name = format!("message {}", self.next.fetch_add(1, Ordering::Relaxed));
            let mut client = SmtpClient::connect(cluster.smtp_of(node)).expect("a greeting");
            client.try_say("EHLO client.example.net").expect("an answer").is(250);
            let begun = Instant::now();
            let reply = client.deliver(ALICE.address, &message(&name)).expect("an answer");
            if self.answer(&reply.to_string(), begun) {
                self.names.lock().expect("nobody panicked").push(name);
                self.kept.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn read(&self, cluster: &Cluster, node: &str) {
        while !self.over.load(Ordering::Relaxed) {
            let mut client = Pop3Client::connect(cluster.pop3_of(node)).expect("a greeting");
            client.ok(&format!("USER {}", BOB.address));
            let begun = Instant::now();
            let answer = client.say(&format!("PASS {}", BOB.password)).expect("an answer");
            self.answer(&answer, begun);
        }
    }

    fn wait_more(&self, what: &str, count: &AtomicUsize, more: usize) -> Duration {
        let (begun, before) = (Instant::now(), count.load(Ordering::Relaxed));
        wait_until(what, MOMENT * 2, || {
            let now = count.load(Ordering::Relaxed);
            if now >= before + more { Ok(()) } else { Err(format!("{now} after {before}")) }
        });
        begun.elapsed()
    }
}

/// Ends the clients when the test ends, however it does.
struct Over<'h>(&'h Heard);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

fn outage() -> Duration {
    let given = std::env::var("OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(6))
}

/// Memory in KiB and threads of a process.
fn size(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let number = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).expect("a line");
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
    };
    (number("VmRSS:"), number("Threads:"))
}

fn suffers(kind: Kind, few_connections: &str) {
    let server = Arc::new(Server::start(kind, &few_connections.split(' ').collect::<Vec<_>>()));
    let plan = Plan { nodes: 2, ..Plan::default() };
    let mut cluster = Cluster::on(Database::on(server.clone(), "mail"), &plan);
    // A password check takes 19 MiB, which the C library may keep after it, a piece here and there.
    // So that it is seen whether anything else grows, it gives large pieces back at once.
    for node in ["a", "b"] {
        cluster.kill_node(node);
        cluster.start_node_with(node, &[("MALLOC_MMAP_THRESHOLD_", "1000000")]);
    }
    let pids = ["a", "b"].map(|node| cluster.node_process(node).pid());
    let cluster = cluster;
    let heard = Heard::default();
    std::thread::scope(|scope| {
        let _over = Over(&heard);
        for sender in 0..SENDERS {
            let (heard, cluster) = (&heard, &cluster);
            scope.spawn(move || heard.send(cluster, if sender % 2 == 0 { "a" } else { "b" }));
        }
        for node in ["a", "b"] {
            let (heard, cluster) = (&heard, &cluster);
            scope.spawn(move || heard.read(cluster, node));
        }
        heard.wait_more("mail is taken", &heard.kept, 200);
        let before = pids.map(size);
        let troubles: [(&str, &dyn Fn()); 3] = [
            ("stopped", &|| stopped(&server)),
            ("frozen", &|| frozen(&server)),
            ("locked", &|| locked(&server)),
        ];
        for (what, trouble) in troubles {
            let troubled = heard.troubled.load(Ordering::Relaxed);
            trouble();
            let back = heard.wait_more("mail is taken again", &heard.kept, 10);
            let troubled = heard.troubled.load(Ordering::Relaxed) - troubled;
            println!("{kind:?} {what}: {troubled} temporary refusals, back after {back:?}");
            for (pid, (memory, threads)) in pids.into_iter().zip(before) {
                let now = size(pid);
                assert!(now.0 < memory + GROWTH_KIB_MAX, "{what}: {now:?} KiB after {memory}");
                assert!(now.1 < threads + MORE_THREADS_MAX, "{what}: {now:?} after {threads}");
            }
        }
    });
    let longest = *heard.longest.lock().expect("nobody panicked");
    println!("{kind:?}: longest wait for an answer {longest:?}");
    assert!(longest < ANSWER_PATIENCE, "{longest:?}");
    let read = cluster.read_all(ALICE);
    let mut read: Vec<_> = read.iter().map(|message| subject(message)).collect();
    read.sort();
    let count = read.len();
    read.dedup();
    assert_eq!(read.len(), count, "something is there twice");
    for name in heard.names.into_inner().expect("nobody panicked") {
        assert!(read.binary_search(&name).is_ok(), "{name} was answered 250 and is lost");
    }
}

fn stopped(server: &Server) {
    server.stop();
    hold_for(outage());
    server.tell("start");
    server.wait_ready();
}

fn frozen(server: &Server) {
    server.signal(Signal::STOP);
    hold_for(outage());
    server.signal(Signal::CONT);
}

/// Somebody holds every mailbox's row and does not let go.
fn locked(server: &Server) {
    let _held = server.hold("mail", "begin; update mailboxes set octets = octets + 0");
    hold_for(outage());
}

#[test]
fn on_postgresql_trouble_is_temporary_and_ends_by_itself() {
    suffers(Kind::Postgresql, "-c max_connections=12");
}

#[test]
fn on_mariadb_trouble_is_temporary_and_ends_by_itself() {
    suffers(Kind::Mariadb, "--max-connections=10");
}
