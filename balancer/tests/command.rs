//! Does the program do what its command line, its file and its signals say?
//! It does not know what is inside: it starts the binary and asks it from outside.

mod program;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use program::{LONG, Running, balancer, file, node, text};
use rustix::process::Signal;

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
        (&["check", "--file-only", "--config", &good], 0, "good.yaml: ok, 1 services, 1 nodes"),
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
    let shown = balancer(&["status", "--admin", &running.admin]);
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
