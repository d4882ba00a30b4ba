//! Which node does each new client reach, and does a change of the YAML hurt anybody?
//! It does not know how the balancer counts; a node says its name in the greeting.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::cluster::Plan;
use harness::program::our_command;
use harness::{ALICE, Cluster, MOMENT, SmtpClient, message, run, wait_until};
use rustix::process::Signal;

const MODES: [&str; 3] = ["round-robin", "least-connections", "failover"];

fn in_mode(mode: &'static str) -> Cluster {
    Cluster::planned(&Plan { mode, ..Plan::default() })
}

/// The nodes that `count` connections reach, one after the other.
fn reached(cluster: &Cluster, count: usize) -> Vec<String> {
    let connect = |_| {
        let client = SmtpClient::connect(cluster.smtp()).expect("a connection");
        let node = client.node();
        client.quit();
        node
    };
    (0..count).map(connect).collect()
}

fn count(reached: &[String], node: &str) -> usize {
    reached.iter().filter(|name| *name == node).count()
}

#[test]
fn round_robin_goes_to_each_in_turn() {
    let cluster = in_mode("round-robin");
    let seen = reached(&cluster, 30);
    for (number, node) in seen.iter().enumerate() {
        assert_eq!(node, ["a", "b", "c"][number % 3], "connection {number} of {seen:?}");
    }
}

#[test]
fn least_connections_stand_level_and_fill_what_is_empty() {
    let cluster = in_mode("least-connections");
    let mut held: Vec<_> = (0..30).map(|_| SmtpClient::hello(cluster.smtp())).collect();
    assert_eq!(level(&held), [10, 10, 10]);
    assert_eq!(active(&cluster), [10.0, 10.0, 10.0], "the balancer's own count");

    // All of b's clients leave: the next ten go there and nowhere else.
    held.retain(|client| client.node() != "b");
    wait_until("the balancer sees b empty", MOMENT, || {
        let active = active(&cluster);
        if active == [10.0, 0.0, 10.0] { Ok(()) } else { Err(format!("{active:?}")) }
    });
    held.extend((0..10).map(|_| SmtpClient::hello(cluster.smtp())));
    assert_eq!(level(&held), [10, 10, 10]);
}

/// How many of these clients talk to a, b and c.
fn level(held: &[SmtpClient]) -> [usize; 3] {
    let nodes: Vec<_> = held.iter().map(SmtpClient::node).collect();
    ["a", "b", "c"].map(|node| count(&nodes, node))
}

fn active(cluster: &Cluster) -> [f64; 3] {
    let metrics = cluster.metrics();
    ["a", "b", "c"].map(|node| {
        metrics.sum("balancer_node_connections", &[("service", "smtp"), ("node", node)])
    })
}

#[test]
fn failover_goes_to_the_first_that_lives() {
    let mut cluster = in_mode("failover");
    assert_eq!(reached(&cluster, 10), ["a"; 10]);
    cluster.kill_node("a");
    // From the first connection on: nobody waits until the balancer has made up its mind.
    assert_eq!(reached(&cluster, 10), ["b"; 10]);
    cluster.kill_node("b");
    assert_eq!(reached(&cluster, 10), ["c"; 10]);
    cluster.start_node("a");
    assert_eq!(reached(&cluster, 10), ["a"; 10]);
}

#[test]
fn a_weight_is_a_share() {
    let cluster = in_mode("round-robin");
    cluster.edit_balancer_yaml(|text| text.replace("{name: a,", "{name: a, weight: 2,"));
    wait_until("a has its share", MOMENT, || {
        let seen = reached(&cluster, 8);
        let shares = ["a", "b", "c"].map(|node| count(&seen, node));
        if shares == [4, 2, 2] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// What a mode does to six connections one after the other.
fn goes_by(cluster: &Cluster, mode: &str) -> Result<(), String> {
    let seen = reached(cluster, 6);
    let first = count(&seen, "a");
    let wanted = if mode == "failover" { 6 } else { 2 };
    if first == wanted { Ok(()) } else { Err(format!("{mode}: {seen:?}")) }
}

fn set_mode(text: &str, mode: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("mode: ") {
        Some((front, _)) => format!("{front}mode: {mode}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn the_mode_changes_under_load_without_a_failed_connection() {
    let cluster = in_mode("round-robin");
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let faults = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..16).map(|_| scope.spawn(|| send_until(&cluster, &stop, &sent))).collect();
        let edited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..4 {
                for mode in MODES {
                    let before = sent.load(Ordering::Relaxed);
                    cluster.edit_balancer_yaml(|text| set_mode(text, mode));
                    wait_until(&format!("mail goes on, round {round} {mode}"), MOMENT, || {
                        let more = sent.load(Ordering::Relaxed) - before;
                        if more >= 32 { Ok(()) } else { Err(format!("{more} more")) }
                    });
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let faults = senders.into_iter().filter_map(|sender| sender.join().expect("a sender"));
        let faults: Vec<String> = faults.collect();
        edited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        faults
    });
    assert!(faults.is_empty(), "{} failed: {:?}", faults.len(), faults.first());
    goes_by(&cluster, "failover").expect("the last mode is in force");
    let (sent, read) = (sent.into_inner(), cluster.read_all(ALICE).len());
    assert_eq!(read, sent, "messages read and messages answered 250");
}

/// Sends one message over each connection; says what went wrong, if anything.
fn send_until(cluster: &Cluster, stop: &AtomicBool, sent: &AtomicUsize) -> Option<String> {
    while !stop.load(Ordering::Relaxed) {
        let outcome = SmtpClient::connect(cluster.smtp()).and_then(|mut client| {
            client.try_say("EHLO client.example.net")?;
            client.deliver(ALICE.address, &message("load"))
        });
        match outcome {
            Ok(reply) if reply.code == 250 => sent.fetch_add(1, Ordering::Relaxed),
            Ok(reply) => return Some(reply.to_string()),
            Err(error) => return Some(error.to_string()),
        };
    }
    None
}

#[test]
fn every_way_to_write_the_file_is_seen() {
    let mut cluster = in_mode("round-robin");
    let path = cluster.balancer_yaml();
    let text = fs::read_to_string(&path).expect("the file");
    let change = |cluster: &Cluster, way: &str, mode: &str| {
        wait_until(&format!("{mode} after {way}"), MOMENT, || goes_by(cluster, mode));
    };
    change(&cluster, "the start", "round-robin");

    cluster.edit_balancer_yaml(|text| set_mode(text, "failover"));
    change(&cluster, "a rename", "failover");

    fs::write(&path, set_mode(&text, "round-robin")).expect("truncate and write");
    change(&cluster, "truncate and write", "round-robin");

    // As Kubernetes swaps a mounted file: balancer.yaml -> ..data/balancer.yaml, ..data -> v1.
    let folder = cluster.directory().to_path_buf();
    put(&folder.join("v1"), &set_mode(&text, "failover"));
    put(&folder.join("v2"), &set_mode(&text, "round-robin"));
    swap_link(Path::new("v1"), &folder.join("..data"));
    swap_link(Path::new("..data/balancer.yaml"), &path);
    change(&cluster, "becoming a link", "failover");
    swap_link(Path::new("v2"), &folder.join("..data"));
    change(&cluster, "a swap of links", "round-robin");

    cluster.balancer_process().signal(Signal::HUP);
    wait_until("SIGHUP reads the file again, changed or not", MOMENT, || {
        let log = cluster.balancer_log();
        if log.contains("in force already") { Ok(()) } else { Err("no word of it".to_owned()) }
    });
    goes_by(&cluster, "round-robin").expect("nothing has changed");
}

/// A folder with a file in it.
fn put(folder: &Path, text: &str) {
    fs::create_dir(folder).expect("a folder");
    fs::write(folder.join("balancer.yaml"), text).expect("a file in it");
}

/// Puts a link in place of what is there, in one step.
fn swap_link(target: &Path, link: &Path) {
    let new = link.with_file_name("new-link");
    symlink(target, &new).expect("a link");
    fs::rename(&new, link).expect("a rename");
}

#[test]
fn a_good_file_is_in_force_within_a_tenth_of_a_second() {
    let cluster = in_mode("round-robin");
    let mut times: Vec<_> = (0..9)
        .map(|number| {
            let mode = if number % 2 == 0 { "failover" } else { "round-robin" };
            let before = reloads(&cluster);
            cluster.edit_balancer_yaml(|text| set_mode(text, mode));
            let begin = Instant::now();
            wait_until("the file is in force", MOMENT, || {
                let now = reloads(&cluster);
                if now > before { Ok(()) } else { Err(format!("{now} reloads")) }
            });
            let time = begin.elapsed();
            goes_by(&cluster, mode).expect("what counts as a reload is in force");
            time
        })
        .collect();
    times.sort();
    // The middle one of nine: a busy machine may well delay one or two of them.
    assert!(times[4] < Duration::from_millis(100), "{times:?}");
}

fn reloads(cluster: &Cluster) -> f64 {
    cluster.metrics().sum("balancer_config_reloads_total", &[("result", "good")])
}

/// Five faults of five kinds, with the line that each stands in.
fn break_in_five_places(text: &str) -> (String, Vec<usize>) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut at = |what: &str, with: &str| {
        let index = lines.iter().position(|line| line.contains(what)).expect("a line to break");
        lines[index] = lines[index].replacen(what, with, 1);
        index + 1
    };
    let broken = vec![
        at("mode: round-robin", "mode: fastest"),
        at("protocol: smtp", "protocoll: smtp"),
        at("proxy_protocol: v2", "proxy_protocol: v3"),
        at("interval: 100ms", "interval: soon"),
        at("address: \"127.0.0.1:", "address: \"nowhere:"),
    ];
    (lines.join("\n") + "\n", broken)
}

#[test]
fn a_broken_file_changes_nothing_and_names_every_fault() {
    let cluster = in_mode("round-robin");
    let text = fs::read_to_string(cluster.balancer_yaml()).expect("the file");
    let (broken, lines) = break_in_five_places(&text);

    let path = cluster.directory().join("broken.yaml");
    fs::write(&path, &broken).expect("a file");
    let mut check = our_command("balancer");
    check.args(["check", "--config"]).arg(&path);
    let said = run(&mut check, b"").exits(64);
    let said = format!("{}{}", said.text(), said.stderr);
    for line in &lines {
        let place = format!("{}:{line}:", path.display());
        assert!(said.contains(&place), "`check` names no fault at {place}:\n{said}");
    }

    let held = SmtpClient::hello(cluster.smtp());
    cluster.edit_balancer_yaml(|_| broken);
    wait_until("the broken file is told", MOMENT, || {
        let metrics = cluster.metrics();
        let refused = metrics.sum("balancer_config_reloads_total", &[("result", "bad")]);
        if refused > 0.0 { Ok(()) } else { Err(format!("{refused} were refused")) }
    });
    let log = cluster.balancer_log();
    for line in &lines {
        let place = format!("balancer.yaml:{line}:");
        assert!(log.contains(&place), "the log names no fault at {place}:\n{log}");
    }
    assert_eq!(cluster.metrics().sum("balancer_config_valid", &[]), 0.0);
    goes_by(&cluster, "round-robin").expect("the old one is in force");
    held.quit();

    cluster.edit_balancer_yaml(|_| set_mode(&text, "failover"));
    wait_until("a good file is in force again", MOMENT, || goes_by(&cluster, "failover"));
    assert_eq!(cluster.metrics().sum("balancer_config_valid", &[]), 1.0);
}

#[test]
fn status_shows_every_service_and_node() {
    let mut cluster = in_mode("least-connections");
    let status = |cluster: &Cluster, more: &[&str]| {
        let mut command: Command = our_command("balancer");
        command.args(["status", "--config"]).arg(cluster.balancer_yaml()).args(more);
        run(&mut command, b"")
    };
    let text = status(&cluster, &[]).exits(0).text();
    for word in ["smtp", "pop3", "least-connections", "a", "b", "c", "up"] {
        assert!(text.contains(word), "no {word:?} in\n{text}");
    }
    let json = status(&cluster, &["--json"]).exits(0).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let services = json["services"].as_array().expect("services in it");
    assert_eq!(services.len(), 9, "{json}");
    assert_eq!(services[0]["name"], "smtp");
    assert_eq!(services[0]["nodes"][1]["name"], "b");

    cluster.kill_node("b");
    wait_until("status shows the dead node", MOMENT, || {
        let text = status(&cluster, &[]).exits(0).text();
        if text.contains("down") { Ok(()) } else { Err(text) }
    });
}
