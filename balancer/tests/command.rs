//! Does the program do what its command line, its file and its signals say?
//! It does not know what is inside: it starts the binary and asks it from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(30);

fn balancer(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(arguments).output().expect("it can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node that greets with its name and closes.
fn node(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("it accepts");
            let _ = stream.write_all(format!("220 {name}\r\n").as_bytes());
        }
    });
    address
}

fn file(mode: &str, nodes: &[SocketAddr]) -> String {
    let mut text = format!(
        "admin: 127.0.0.1:0
drain_timeout: 10s
services:
  - name: s
    listen: 127.0.0.1:0
    protocol: smtp
    mode: {mode}
    nodes:
"
    );
    for (place, address) in nodes.iter().enumerate() {
        text += &format!("      - {{name: n{place}, address: \"{address}\"}}\n");
    }
    text
}

/// A balancer that runs; gone on drop.
struct Running {
    child: Child,
    path: PathBuf,
    admin: SocketAddr,
    door: SocketAddr,
}

impl Running {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
        command.arg("run").arg("--config").arg(path).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut addresses = Vec::new();
        loop {
            let mut line = String::new();
            log.read_line(&mut line).expect("a line");
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
            match event["message"].as_str() {
                Some("listening") => {
                    let address = event["address"].as_str().expect("an address");
                    let what = event["what"].as_str().expect("what").to_owned();
                    addresses.push((what, address.parse().expect("an address")));
                }
                Some("started") => break,
                _ => {}
            }
        }
        std::thread::spawn(move || drop(log.read_to_end(&mut Vec::new())));
        let address = |what: &str| {
            let found = addresses.iter().find(|(name, _)| name == what);
            found.unwrap_or_else(|| panic!("no {what} in {addresses:?}")).1
        };
        let (admin, door) = (address("admin"), address("s"));
        Self { child, path: path.to_owned(), admin, door }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    fn greeting(&self) -> String {
        let mut stream = TcpStream::connect(self.door).expect("the door is open");
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).expect("a greeting");
        greeting
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("the admin port is open");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status")).expect("JSON")
    }

    /// Waits for a mode to be in force, and says how long that took.
    fn in_force(&self, mode: &str) -> Duration {
        let began = Instant::now();
        while self.status()["services"][0]["mode"] != mode {
            assert!(began.elapsed() < LONG, "{mode} never was in force: {}", self.status());
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn exit_codes_and_words_are_as_promised() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("good.yaml");
    fs::write(&good, file("failover", &[([127, 0, 0, 1], 2).into()])).expect("it is written");
    let bad = folder.path().join("bad.yaml");
    fs::write(&bad, "admin: x\nfoo: 1\nservices: []\n").expect("it is written");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    let missing = format!("{bad}.missing");
    for (arguments, code, words) in [
        (&["--version"][..], 0, "balancer "),
        (&["--help"], 0, "Usage: balancer"),
        (&[], 2, "Usage: balancer"),
        (&["fly"], 2, "unrecognized subcommand"),
        (&["check"], 2, "--config"),
        (&["check", "--config", &good], 0, "good.yaml: ok, 1 services, 1 nodes"),
        (&["check", "--config", &bad], 64, "bad.yaml:2:1: foo: unknown key; allowed: admin"),
        (&["run", "--config", &bad], 64, "bad.yaml:1:8: admin: `x` is not allowed"),
        (&["run", "--config", &missing], 64, "cannot be opened: No such file"),
        (&["status", "--config", &good], 1, "take --admin"),
        (&["status", "--admin", "127.0.0.1:1"], 1, "cannot be asked: Connection refused"),
        (&["completions", "bash"], 0, "_balancer"),
    ] {
        let output = balancer(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} said {said}");
        assert!(said.contains(words), "{arguments:?} said {said}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = (taken.local_addr().expect("an address"), taken);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.yaml");
    let text_of = file("failover", &[([127, 0, 0, 1], 2).into()]);
    let text_of = text_of.replace("listen: 127.0.0.1:0", &format!("listen: {}", taken.0));
    fs::write(&path, text_of).expect("it is written");
    let output = balancer(&["run", "--config", &path.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("cannot listen at {}: Address already in use", taken.0)),
        "{said}"
    );
}

#[test]
fn each_way_of_changing_the_file_is_in_force_soon() {
    let (first, second) = (node("first"), node("second"));
    let folder = tempfile::tempdir().expect("a folder");
    let (one, link) = (folder.path().join("one.yaml"), folder.path().join("link.yaml"));
    fs::write(&one, file("failover", &[first, second])).expect("it is written");
    std::os::unix::fs::symlink(&one, &link).expect("a link");
    let running = Running::start(&link);
    assert_eq!(running.greeting(), "220 first\r\n");
    let mut took = Vec::new();

    // In place: emptied, then written in two pieces.
    let text_of = file("round-robin", &[second, first]);
    let (head, tail) = text_of.split_at(text_of.len() - 30);
    let mut open = fs::File::create(&one).expect("it is emptied");
    open.write_all(head.as_bytes()).expect("it is written");
    open.write_all(tail.as_bytes()).expect("it is written");
    drop(open);
    took.push(running.in_force("round-robin"));
    assert_eq!(running.greeting(), "220 second\r\n");

    // Renamed over it.
    let new = folder.path().join("new.yaml");
    fs::write(&new, file("failover", &[second])).expect("it is written");
    fs::rename(&new, &one).expect("a rename");
    took.push(running.in_force("failover"));

    // The link swapped for another.
    let two = folder.path().join("two.yaml");
    fs::write(&two, file("least-connections", &[second])).expect("it is written");
    let other = folder.path().join("other");
    std::os::unix::fs::symlink(&two, &other).expect("a link");
    fs::rename(&other, &link).expect("the link is swapped");
    took.push(running.in_force("least-connections"));
    println!("in force after {took:?}");
    let slowest = took.iter().max().expect("three");
    // 100 ms is promised on a machine that is not busy; tests share theirs.
    assert!(*slowest < Duration::from_secs(1), "in force after {took:?}");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.yaml");
    let good = file("failover", &[node("n")]);
    fs::write(&path, &good).expect("it is written");
    let running = Running::start(&path);
    assert!(running.get("/metrics").contains("balancer_config_valid 1"));
    fs::write(&path, good.replace("failover", "fastest") + "x: 1\ny: 2\n").expect("it is written");
    let began = Instant::now();
    while running.status()["config"]["valid"] == true {
        assert!(began.elapsed() < LONG, "its faults never were seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    let faults = running.status()["config"]["faults"].clone();
    assert_eq!(faults.as_array().map(Vec::len), Some(3), "{faults}");
    assert!(faults[0].as_str().is_some_and(|fault| fault.contains(":7:11: services[0].mode: ")));
    let metrics = running.get("/metrics");
    assert!(metrics.contains("balancer_config_valid 0"), "{metrics}");
    assert!(metrics.contains("balancer_config_reloads_total{result=\"bad\"} 1"), "{metrics}");
    assert_eq!(running.greeting(), "220 n\r\n");
    let shown = balancer(&["status", "--admin", &running.admin.to_string()]);
    assert!(text(&shown.stdout).contains("NOT in force"), "{}", text(&shown.stdout));

    // The good file again, and a look at it that somebody asks for.
    fs::write(&path, &good).expect("it is written");
    running.signal(Signal::HUP);
    let began = Instant::now();
    while running.status()["config"]["valid"] == false {
        assert!(began.elapsed() < LONG, "it never was good again");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(running.get("/metrics").contains("balancer_config_valid 1"));
    assert_eq!(running.path, path);
}

#[test]
fn metrics_are_lawful_and_agree_with_what_was_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.yaml");
    fs::write(&path, file("round-robin", &[node("n0"), node("n1")])).expect("it is written");
    let running = Running::start(&path);
    for _ in 0..10 {
        running.greeting();
    }
    let expected = [
        "balancer_service_ends_total{service=\"s\",end=\"node_closed\"} 10",
        "balancer_service_connections_total{service=\"s\"} 10",
        "balancer_service_connections{service=\"s\"} 0",
        "balancer_node_connections{service=\"s\",node=\"n0\"} 0",
        "balancer_node_connects_total{service=\"s\",node=\"n0\"} 5",
        "balancer_node_connects_total{service=\"s\",node=\"n1\"} 5",
        "balancer_node_bytes_total{service=\"s\",node=\"n0\",to=\"client\"} 40",
        "balancer_node_greeting_seconds_count{service=\"s\",node=\"n1\"} 5",
        "balancer_node_up{service=\"s\",node=\"n0\"} 1",
    ];
    // A client sees its end a moment before the balancer has counted it.
    let began = Instant::now();
    let metrics = loop {
        let metrics = running.get("/metrics");
        let missing = |line: &&&str| !metrics.lines().any(|one| one == **line);
        let missing: Vec<_> = expected.iter().filter(missing).collect();
        if missing.is_empty() {
            break metrics;
        }
        assert!(began.elapsed() < LONG, "no {missing:#?} in\n{metrics}");
    };
    let described = |line: &str| {
        let name = line.split([' ', '{']).next().expect("a name");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let has = |name: &str| metrics.contains(&format!("# HELP {name} "));
        has(name) || base.is_some_and(has)
    };
    let series = metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let without: Vec<_> = series.filter(|line| !described(line)).collect();
    assert!(without.is_empty(), "no help for {without:?}");

    // A node that is gone raises no alarm: every comparison with NaN is false.
    fs::write(&path, file("failover", &[node("n0")])).expect("it is written");
    running.in_force("failover");
    let metrics = running.get("/metrics");
    assert!(metrics.contains("balancer_node_up{service=\"s\",node=\"n1\"} NaN"), "{metrics}");
}

#[test]
fn a_signal_ends_it_and_a_second_one_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.yaml");
    let node = listener.local_addr().expect("an address");
    fs::write(&path, file("failover", &[node])).expect("it is written");
    std::thread::spawn(move || {
        let greet = |stream: std::io::Result<TcpStream>| {
            let mut stream = stream.expect("it accepts");
            stream.write_all(b"220 n\r\n").map(|()| stream)
        };
        listener.incoming().map(greet).collect::<Vec<_>>()
    });
    let mut running = Running::start(&path);
    let mut client = TcpStream::connect(running.door).expect("the door is open");
    client.read_exact(&mut [0; 7]).expect("a greeting");
    let began = Instant::now();
    running.signal(Signal::TERM);
    while TcpStream::connect(running.door).is_ok() {
        assert!(began.elapsed() < LONG, "the door is still open");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(running.get("/ready").contains("stopping"), "the admin port still answers");
    assert!(running.child.try_wait().expect("it can be asked").is_none(), "it waits for its guest");
    running.signal(Signal::INT);
    let status = running.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(9), "not at once: {:?}", began.elapsed());
    client.read_exact(&mut [0; 1]).expect_err("the guest was cut off");
}
