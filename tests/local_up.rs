//! Does `./configs/local/up` keep its word? It starts, says how to send and read, tells when a node
//! dies, ends without a trace, and goes on where it was with `--keep`.
//! It does not know what `up` does inside; it follows what `up` prints, word by word.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::http;
use harness::ports::Port;
use harness::process::Process;
use harness::program::{ours, project};
use harness::wait::same;
use harness::{MOMENT, run, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

/// As many ports as `up` takes.
const PORTS: u16 = 16;

struct Up {
    process: Process,
    ports: Vec<Port>,
    // Last: it goes when `up` has ended.
    folder: TempDir,
}

impl Up {
    /// Starts `up` on ports of its own and waits until it says that all is up.
    fn start(folder: TempDir, ports: Vec<Port>, more: &[&str]) -> Self {
        let base = ports[0].number().to_string();
        // Whoever starts the tests in the background of a script has them ignore Ctrl-C; `up`
        // is started as a terminal starts it.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(project().join("configs/local/up"));
        command.args(["--ports", &base]).args(more).env("TMPDIR", folder.path());
        // The programs are built already, beside this test.
        let built = ours("balancer");
        command.env("BIN_DIR", built.parent().expect("they lie in a folder"));
        let process = Process::start("up", &mut command, &folder.path().join("up.log"));
        let mut up = Self { process, ports, folder };
        wait_until("up says that all is up", MOMENT * 2, || {
            if let Some(status) = up.process.ended() {
                panic!("up ended: {status}\n{}", up.process.log_tail());
            }
            if up.said().contains("Ctrl-C ends all") { Ok(()) } else { Err(up.said()) }
        });
        up
    }

    fn said(&self) -> String {
        self.process.log()
    }

    /// The command behind a word that `up` printed, for a shell; a line that ends with `\` goes on.
    fn printed(&self, word: &str) -> String {
        let said = self.said().replace("\\\n", " ");
        let start = format!("  {word} ");
        let mut lines = said.lines().filter(|line| line.starts_with(&start));
        let line = lines.next_back().unwrap_or_else(|| panic!("no {word:?} in\n{said}"));
        line[start.len()..].trim().to_owned()
    }

    /// Does what `up` printed.
    fn follow(&self, word: &str) -> String {
        shell(&self.printed(word))
    }

    /// Where `up` keeps everything, from what it printed.
    fn directory(&self) -> PathBuf {
        let restart = self.printed("restart");
        let script = restart.split(' ').next().expect("a command");
        Path::new(script).parent().expect("a script in a directory").to_path_buf()
    }

    /// Ctrl-C, as the terminal sends it, and what must be left: nothing.
    fn stop(mut self, signal: Signal) -> (TempDir, Vec<Port>) {
        let pids = self.pids();
        assert_eq!(pids.len(), 4, "a balancer and three nodes: {pids:?}");
        self.process.signal(signal);
        let status = self.process.wait(MOMENT);
        assert_eq!(status.code(), Some(0), "{}", self.process.log_tail());
        for pid in pids {
            // One that has ended and was not yet asked for by its parent has no program any more.
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            assert!(program.is_err(), "process {pid} is left: {program:?}");
        }
        for port in &self.ports {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number()));
            assert!(bound.is_ok(), "port {} is held: {bound:?}", port.number());
        }
        (self.folder, self.ports)
    }

    fn pids(&self) -> Vec<String> {
        let names = ["balancer", "node1", "node2", "node3"];
        let read = |name| fs::read_to_string(self.directory().join(format!("{name}.pid")));
        names.into_iter().filter_map(|name| read(name).ok()).map(|pid| pid.trim().into()).collect()
    }

    fn port(&self, index: usize) -> u16 {
        self.ports[index].number()
    }
}

/// Runs a line in a shell that ends with 0.
fn shell(line: &str) -> String {
    let mut bash = Command::new("bash");
    let finished = run(bash.args(["-c", line]), b"").exits(0);
    format!("{}{}", finished.text(), finished.stderr)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn send_and_read_as_it_says_then_ctrl_c() {
    let up = Up::start(folder(), Port::claim_row(PORTS), &[]);
    let directory = up.directory();
    up.follow("send");
    up.follow("   or");
    let first = up.follow("read");
    assert!(first.contains("hello"), "{first}");
    let second = shell(&up.printed("read").replacen("/1 ", "/2 ", 1));
    assert!(second.contains("Subject: hello"), "{second}");

    let state = up.follow("state");
    for word in ["smtp", "pop3", "node1", "node2", "node3", "up"] {
        assert!(state.contains(word), "no {word:?} in {state}");
    }
    for port in [2, 3, 4, 5] {
        let answer = http::get(up.port(port), "/metrics").expect("metrics where it says");
        assert_eq!(answer.status, 200);
        assert!(up.said().contains(&up.port(port).to_string()), "{}", up.said());
    }
    let (folder, _) = up.stop(Signal::INT);
    assert!(!directory.exists(), "a directory that nobody wanted to keep is left");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "only this test's log is left: {left:?}");
}

#[test]
fn keeps_everything_and_goes_on() {
    let folder = folder();
    let kept = folder.path().join("kept");
    let keep = ["--keep", kept.to_str().expect("a path of letters")];
    let up = Up::start(folder, Port::claim_row(PORTS), &keep);
    up.follow("send");
    up.follow("mode");
    let (folder, ports) = up.stop(Signal::TERM);
    assert!(kept.join("mail.db").exists(), "kept");
    let log = folder.path().join("up.log");
    fs::rename(&log, folder.path().join("first-up.log")).expect("the first log goes aside");

    let up = Up::start(folder, ports, &keep);
    assert!(up.follow("read").contains("hello"), "the mail of the first time");
    let state = up.follow("state");
    assert!(state.contains("failover"), "the mode that was set the first time: {state}");
    up.follow("send");
    shell(&up.printed("read").replacen("/1 ", "/2 ", 1));
    up.stop(Signal::INT);
}

#[test]
fn tells_of_a_dead_node_and_takes_it_back() {
    let up = Up::start(folder(), Port::claim_row(PORTS), &[]);
    up.follow("kill");
    wait_until("up tells of the dead node", MOMENT, || {
        let said = up.said();
        if said.contains("node2 (pid ") { Ok(()) } else { Err(said) }
    });
    up.follow("send");
    // In the background, as it is printed; its output must not hold this shell's pipes.
    let restart = up.printed("restart");
    shell(&format!("{} >/dev/null 2>&1 &", restart.trim_end_matches('&')));
    let node2 = up.port(4);
    wait_until("node2 is ready again", MOMENT, || {
        let answer = http::get(node2, "/ready").map_err(|error| error.to_string())?;
        same(&answer.status, &200)
    });
    // It is no child of `up`, and yet `up` ends it too.
    up.stop(Signal::INT);
}

#[test]
fn a_port_in_use_is_named() {
    let ports = Port::claim_row(PORTS);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[2].number())).expect("a listener");
    let folder = folder();
    let mut command = Command::new(project().join("configs/local/up"));
    command.args(["--ports", &ports[0].number().to_string()]).env("TMPDIR", folder.path());
    command.env("BIN_DIR", ours("balancer").parent().expect("a folder"));
    let refused = run(&mut command, b"").exits(1);
    assert!(refused.stderr.contains(&ports[2].number().to_string()), "{}", refused.stderr);
    drop(taken);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn help_and_wrong_words() {
    let up = |arguments: &[&str]| {
        let mut command = Command::new(project().join("configs/local/up"));
        run(command.args(arguments), b"")
    };
    let help = up(&["--help"]).exits(0).text();
    assert!(help.contains("--keep DIR"), "{help}");
    up(&["--nonsense"]).exits(2);
    up(&["--ports", "many"]).exits(2);
}
