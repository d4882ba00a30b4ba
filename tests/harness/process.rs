//! One long-running process of a test: started, signalled by its pid, gone on drop.
//! It does not know what the process does; `cluster` starts nodes and balancer with it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wait::wait_until;

/// Lines of a log that are shown when a test fails.
const LINES_SHOWN: usize = 40;

/// A child whose output goes to a file: shown when the test fails, killed when it is dropped.
///
/// It stays in the test's process group, so that Ctrl-C at the tests ends it too.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its standard output and error are appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let open =
            || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(log) };
        let file = open().unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let copy = file.try_clone().expect("a file descriptor more");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_path_buf() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time it has used so far, in steps of 10 ms (proc(5), `stat`).
    ///
    /// # Panics
    /// When it has ended.
    pub fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let fields: Vec<_> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = fields[11..13].iter().filter_map(|field| field.parse::<u32>().ok());
        Duration::from_millis(10) * ticks.sum::<u32>()
    }

    /// Sends a signal, e.g. HUP.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(status) = self.ended() {
            panic!("{} has ended already: {status}\n{}", self.name, self.log_tail());
        }
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a child of ours takes signals");
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be asked")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended by the deadline.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.name);
        wait_until(&what, deadline, || self.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// All it has written.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES_SHOWN);
        format!("--- the last lines of {}:\n{}\n", self.name, lines[from..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprint!("{}", self.log_tail());
        }
    }
}
