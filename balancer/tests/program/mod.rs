//! The balancer's program, started by a test and asked from outside; nodes that only greet.
//! It does not know what is tested; the test files that start the binary call it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes; a test that waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) fn balancer(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balancer"));
    command.args(arguments).output().expect("it can be started")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node that greets with its name and closes.
pub(crate) fn node(name: &'static str) -> SocketAddr {
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

pub(crate) fn file(mode: &str, nodes: &[SocketAddr]) -> String {
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
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) path: PathBuf,
    /// ADDRESS:PORT or unix:PATH.
    pub(crate) admin: String,
    pub(crate) door: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(path: &Path) -> Self {
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
                    addresses.push((what, address.to_owned()));
                }
                Some("started") => break,
                _ => {}
            }
        }
        let kept = Arc::<Mutex<String>>::default();
        let keeps = kept.clone();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                keeps.lock().expect("nobody panicked").push_str(&(line + "\n"));
            }
        });
        let address = |what: &str| {
            let found = addresses.iter().find(|(name, _)| name == what);
            found.unwrap_or_else(|| panic!("no {what} in {addresses:?}")).1.clone()
        };
        let door = address("s").parse().expect("an address");
        Self { child, path: path.to_owned(), admin: address("admin"), door, log: kept }
    }

    /// What it has logged since it started.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panicked").clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    pub(crate) fn greeting(&self) -> String {
        let mut stream = TcpStream::connect(self.door).expect("the door is open");
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).expect("a greeting");
        greeting
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"), "").1
    }

    /// The status and the body of the answer to a request whose head begins so.
    pub(crate) fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let end = format!("Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let answer = exchange(&self.admin, &format!("{head}{end}{body}"));
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.expect("a status"), body.expect("a head"))
    }

    /// Says something as a program would.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\n");
        let (status, body) = self.ask(&head, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status")).expect("JSON")
    }

    /// Waits for a mode to be in force, and says how long that took.
    pub(crate) fn in_force(&self, mode: &str) -> Duration {
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

/// What is answered at an admin address, whole.
fn exchange(admin: &str, request: &str) -> String {
    fn through(mut stream: impl Read + Write, request: &str) -> String {
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
    match admin.strip_prefix("unix:") {
        Some(path) => through(UnixStream::connect(path).expect("the admin door is open"), request),
        None => through(TcpStream::connect(admin).expect("the admin port is open"), request),
    }
}
