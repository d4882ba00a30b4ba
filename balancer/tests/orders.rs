//! Does a running balancer do what an operator says, over the admin port and the command line?
//! It does not know what is inside: it starts the binary and asks it from outside.

mod program;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use program::{LONG, Running, balancer, file, node, text};
use serde_json::Value;

/// A balancer that is asked through a socket in the file system, and its file.
fn start(folder: &Path, mode: &str, nodes: &[SocketAddr]) -> Running {
    let path = folder.join("b.yaml");
    fs::write(&path, with_socket(folder, &file(mode, nodes))).expect("it is written");
    Running::start(&path)
}

fn with_socket(folder: &Path, text: &str) -> String {
    text.replace("admin: 127.0.0.1:0", &format!("admin: unix:{}/b.sock", folder.display()))
}

/// Runs a command with `--config` of this balancer.
fn say(running: &Running, words: &[&str]) -> Output {
    let path = running.path.display().to_string();
    balancer(&[words, &["--config", &path]].concat())
}

#[track_caller]
fn done(running: &Running, words: &[&str]) -> String {
    let output = say(running, words);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// A node that greets with its name and gives back what it is given.
fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("it accepts");
            std::thread::spawn(move || {
                let _ = stream.write_all(format!("220 {name}\r\n").as_bytes());
                let mut back = stream.try_clone().expect("a second one");
                let _ = std::io::copy(&mut stream, &mut back);
            });
        }
    });
    address
}

fn line(stream: &mut TcpStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') {
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    text(&line)
}

#[test]
fn a_node_drains_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[echo("n0"), echo("n1")]);
    let mut inside = TcpStream::connect(running.door).expect("the door is open");
    assert_eq!(line(&mut inside), "220 n0\r\n");
    assert!(done(&running, &["drain", "n0"]).contains("n0: no new sessions, 1 go on"));
    let mut next = TcpStream::connect(running.door).expect("the door is open");
    assert_eq!(line(&mut next), "220 n1\r\n", "new sessions go elsewhere");
    inside.write_all(b"still here\r\n").expect("it is sent");
    assert_eq!(line(&mut inside), "still here\r\n", "those it has go on");
    let shown = done(&running, &["status"]);
    assert!(shown.contains("draining") && shown.contains("said by"), "{shown}");

    let late = say(&running, &["drain", "n0", "--wait", "--timeout", "300ms"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("1 sessions are left"), "{}", text(&late.stderr));

    // What was said survives another file, and waiting ends when the last one has left.
    let text_of = fs::read_to_string(&running.path).expect("it is there");
    fs::write(&running.path, text_of + "limits: {connections_max: 500}\n").expect("it is written");
    let began = Instant::now();
    while running.status()["connections_max"] != 500 {
        assert!(began.elapsed() < LONG, "the file never was in force");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.status()["services"][0]["nodes"][0]["duty"], "drain");
    drop(inside);
    let said = done(&running, &["drain", "n0", "--wait", "--timeout", "30s"]);
    assert!(said.ends_with("n0: no session is left, safe to reboot\n"), "{said}");
    assert!(done(&running, &["status"]).contains("drained"));
    done(&running, &["ready", "n0"]);
    let mut back = TcpStream::connect(running.door).expect("the door is open");
    assert_eq!(line(&mut back), "220 n0\r\n");
    assert!(running.log().contains("\"duty\":\"drain\""), "{}", running.log());
}

#[test]
fn maintenance_sends_sessions_away_one_after_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[echo("n0"), echo("n1")]);
    let text_of = fs::read_to_string(&running.path).expect("it is there");
    let text_of = text_of.replace("drain_timeout: 10s", "drain_timeout: 2s");
    fs::write(&running.path, text_of).expect("it is written");
    let mut inside: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(running.door).expect("the door is open");
            assert_eq!(line(&mut stream), "220 n0\r\n");
            stream
        })
        .collect();
    let began = Instant::now();
    while !running.log().contains("new settings are in force") {
        assert!(began.elapsed() < LONG, "the file never was in force");
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    let said = done(&running, &["maintenance", "n0", "--wait"]);
    let took = began.elapsed();
    assert!(said.ends_with("safe to reboot\n"), "{said}");
    assert!(took > Duration::from_secs(1), "all at once: {took:?}");
    // Each heard a reset: an end that looks orderly would be none.
    let resets = inside.iter_mut().filter_map(|stream| stream.read(&mut [0]).err());
    assert_eq!(resets.count(), 20);
    let metrics = running.get("/metrics");
    assert!(metrics.contains("service_ends_total{service=\"s\",end=\"drain\"} 20"), "{metrics}");
    assert!(metrics.contains("balancer_node_open{service=\"s\",node=\"n0\"} 0"), "{metrics}");
}

#[test]
fn the_last_node_is_used_on_and_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[node("n0"), node("n1")]);
    assert!(!done(&running, &["drain", "n0"]).contains("warning"));
    let said = done(&running, &["drain", "n1"]);
    assert!(said.contains("warning: s: nobody else is ready: drained nodes get"), "{said}");
    assert_eq!(running.greeting(), "220 n0\r\n");
    let wait = say(&running, &["drain", "n1", "--wait"]);
    assert_eq!(wait.status.code(), Some(1));
    assert!(text(&wait.stderr).contains("n1 still gets new sessions"), "{}", text(&wait.stderr));
    for name in ["n0", "n1"] {
        done(&running, &["maintenance", name]);
    }
    assert!(running.greeting().starts_with("421 "), "maintenance is meant");
    assert!(running.get("/ready").contains("no node of any service is up"));
}

#[test]
fn a_mode_and_a_weight_are_said_saved_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[node("n0"), node("n1")]);
    let text_of = fs::read_to_string(&running.path).expect("it is there");
    let commented = text_of
        .replace("    mode: failover\n", "    mode:   failover   # as always\r\n")
        .replace("  - name: s", "  # the one\n  - name: s");
    fs::write(&running.path, &commented).expect("it is written");
    fs::set_permissions(&running.path, fs::Permissions::from_mode(0o640)).expect("a mode");

    done(&running, &["mode", "s", "round-robin"]);
    let greetings: Vec<_> = (0..4).map(|_| running.greeting()).collect();
    assert_eq!(greetings, ["220 n0\r\n", "220 n1\r\n", "220 n0\r\n", "220 n1\r\n"]);
    // The file still says failover, whatever else changes in it.
    let (status, answer) = running.post("/api/v1/reload", "");
    assert_eq!((status, &answer["asked"]), (202, &Value::Bool(true)));
    fs::write(&running.path, commented.clone() + "limits: {connections_max: 77}\n")
        .expect("it is written");
    let began = Instant::now();
    while running.status()["connections_max"] != 77 {
        assert!(began.elapsed() < LONG, "the file never was in force");
        std::thread::sleep(Duration::from_millis(1));
    }
    let service = running.status()["services"][0].clone();
    assert_eq!(service["mode"], "round-robin", "what was said survives: {service}");
    assert_eq!(service["mode_order"]["what"], "round-robin");

    let before = fs::read_to_string(&running.path).expect("it is there");
    done(&running, &["mode", "s", "least-connections", "--save"]);
    done(&running, &["weight", "n1", "3", "--save"]);
    let after = fs::read_to_string(&running.path).expect("it is there");
    let expected = before
        .replace("failover   # as always", "least-connections   # as always")
        .replace("{name: n1, address", "{name: n1, weight: 3, address");
    assert_eq!(after, expected, "every other byte stays");
    let mode = fs::metadata(&running.path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "its rights stay");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(names.len(), 2, "nothing is left beside it: {names:?}");
    let began = Instant::now();
    // The file says it now, so nothing has to be remembered.
    while running.status()["services"][0]["mode_order"] != Value::Null
        || running.status()["services"][0]["nodes"][1]["weight_order"] != Value::Null
    {
        assert!(began.elapsed() < LONG, "orders stay: {}", running.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(running.status()["services"][0]["nodes"][1]["weight"], 3);
    done(&running, &["weight", "n1", "9"]);
    assert_eq!(running.status()["services"][0]["nodes"][1]["weight"], 9);
    done(&running, &["weight", "n1", "file"]);
    assert_eq!(running.status()["services"][0]["nodes"][1]["weight"], 3);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[node("n0")]);
    for (words, code, said) in [
        (&["drain", "n7"][..], 1, "there is no node `n7`; there are: n0"),
        (&["mode", "pop3", "failover"], 1, "there is no service `pop3`; there are: s"),
        (&["mode", "s", "fastest"], 2, "allowed: least-connections, round-robin, failover, file"),
        (&["weight", "n0", "0"], 2, "allowed: 1 to 256, file"),
        (&["drain", "../x"], 1, "is no name"),
        (&["drain", "n0", "--timeout", "1s"], 2, "--wait"),
    ] {
        let output = say(&running, words);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {all}");
        assert!(all.contains(said), "{words:?}: {all}");
    }
    for (path, body, status, error) in [
        ("/api/v1/nodes/n0/fly", "", 404, "no such verb"),
        ("/api/v1/services/s/fly", "", 404, "no such verb"),
        ("/api/v1/nodes/n0/weight", "", 400, "`weight` is missing"),
        ("/api/v1/nodes/n0/weight?w=257", "", 400, "`weight` is missing or not allowed"),
        ("/api/v1/nodes/n0/weight", "{\"weight\": \"5\"}", 400, "`weight` is missing or not"),
        ("/api/v1/nodes/n0/weight", "{\"weigth\": 5}", 400, "unknown: `weigth`"),
        ("/api/v1/nodes/n0/drain", "[]", 400, "no JSON object"),
        ("/api/v1/nodes/n0/drain", "{\"by\":", 400, "no JSON"),
        ("/api/v1/services/s/mode", "{\"mode\": \"x\"}", 400, "`mode` is missing or not allowed"),
        ("/api/v1/status", "", 405, "asked with GET"),
    ] {
        let (got, answer) = running.post(path, body);
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|it| it.contains(error)), "{path}: {answer}");
        assert!(answer["allowed"].is_array(), "{path}: {answer}");
    }
    let (status, _) = running.ask("GET /api/v1/nodes/n0/drain HTTP/1.1\r\n", "");
    assert_eq!(status, 405);
    // A form of a page somewhere that is open in the operator's browser.
    let form = "POST /api/v1/nodes/n0/drain HTTP/1.1\r\nContent-Type: text/plain\r\n";
    assert_eq!(running.ask(form, "").0, 415);
    assert_eq!(running.ask("GARBAGE\r\n", "").0, 400);
    let (status, answer) = running.post("/api/v1/nodes/n0/weight?w=5", "{\"by\": \"a\\nb\"}");
    assert_eq!((status, &answer["node"]["services"][0]["weight"]), (200, &5.into()), "{answer}");
    assert_eq!(
        running.status()["services"][0]["nodes"][0]["weight_order"]["by"],
        "ab (this machine)"
    );
    let sessions: Value = serde_json::from_str(&running.get("/api/v1/sessions")).expect("JSON");
    assert_eq!(sessions["nodes"][0]["node"], "n0", "{sessions}");
}

#[test]
fn a_token_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("b.yaml");
    let text_of = file("failover", &[node("n0")])
        .replace("admin: 127.0.0.1:0", "admin: 0.0.0.0:0\nadmin_token: 0123456789abcdef0123");
    fs::write(&path, &text_of).expect("it is written");
    let mut running = Running::start(&path);
    running.admin = running.admin.replace("0.0.0.0", "127.0.0.1");
    for (head, status) in [
        ("GET /live HTTP/1.1\r\n", 200),
        ("GET /ready HTTP/1.1\r\n", 200),
        ("GET /metrics HTTP/1.1\r\n", 401),
        ("GET /api/v1/status HTTP/1.1\r\n", 401),
        ("POST /api/v1/nodes/n0/drain HTTP/1.1\r\nContent-Type: application/json\r\n", 401),
        ("GET /metrics HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdef0124\r\n", 401),
        ("GET /metrics HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdef0123\r\n", 200),
    ] {
        assert_eq!(running.ask(head, "").0, status, "{head}");
    }
    let refused = balancer(&["drain", "n0", "--admin", &running.admin]);
    assert!(text(&refused.stderr).contains("--config FILE takes the token"), "{refused:?}");
    // The same file, but with the port that it really has.
    let known = folder.path().join("known.yaml");
    let text_of = text_of.replace("0.0.0.0:0", &running.admin);
    fs::write(&known, text_of).expect("it is written");
    let drained = balancer(&["drain", "n0", "--config", &known.display().to_string()]);
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    assert!(!running.log().contains("0123456789abcdef"), "the token is in the log");
}

#[test]
fn a_machine_that_moves_keeps_its_name_and_what_is_left_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (echo("old"), echo("new"));
    let running = start(folder.path(), "failover", &[old, echo("n1")]);
    let mut inside = TcpStream::connect(running.door).expect("the door is open");
    assert_eq!(line(&mut inside), "220 old\r\n");
    let text_of = fs::read_to_string(&running.path).expect("it is there");
    let moved = text_of.replace(&old.to_string(), &new.to_string());
    fs::write(&running.path, moved).expect("it is written");
    let began = Instant::now();
    while running.status()["services"][0]["nodes"][0]["address"] != new.to_string() {
        assert!(began.elapsed() < LONG, "the file never was in force");
        std::thread::sleep(Duration::from_millis(1));
    }
    let shown = done(&running, &["status"]);
    assert!(shown.contains("n0 of s is no longer in the file: 1 left"), "{shown}");
    // The series of the name go on: NaN is for names that are gone.
    for metric in ["up", "open", "weight"] {
        let line = format!("balancer_node_{metric}{{service=\"s\",node=\"n0\"}} 1");
        assert!(running.get("/metrics").contains(&line), "no {line}");
    }
    // It is not empty before its old address is.
    let words = ["drain", "n0", "--wait", "--timeout", "300ms"];
    assert!(text(&say(&running, &words).stderr).contains("1 sessions are left"));
    drop(inside);
    done(&running, &["drain", "n0", "--wait", "--timeout", "30s"]);
}

#[test]
fn who_is_ready_again_keeps_the_sessions_that_are_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(folder.path(), "failover", &[echo("n0"), echo("n1")]);
    let mut inside: Vec<_> =
        (0..10).map(|_| TcpStream::connect(running.door).expect("the door is open")).collect();
    for stream in &mut inside {
        assert_eq!(line(stream), "220 n0\r\n");
    }
    done(&running, &["maintenance", "n0"]);
    let began = Instant::now();
    let left = || running.status()["services"][0]["nodes"][0]["connections"].as_u64();
    while left() == Some(10) {
        assert!(began.elapsed() < LONG, "nobody is sent away");
        std::thread::sleep(Duration::from_millis(1));
    }
    done(&running, &["ready", "n0"]);
    // Nobody is sent away any more: whoever still is inside is served, and stays.
    let mut served = 0;
    for stream in &mut inside {
        let sent = stream.write_all(b"still here\r\n");
        let mut answer = [0; 12];
        served += usize::from(sent.is_ok() && stream.read_exact(&mut answer).is_ok());
    }
    assert!((1..10).contains(&served), "{served} of 10 are served");
    let mut back = TcpStream::connect(running.door).expect("the door is open");
    assert_eq!(line(&mut back), "220 n0\r\n");
}
