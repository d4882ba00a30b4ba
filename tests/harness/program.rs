//! Finding our own programs and running programs to their end.
//! It does not know what they do; tests of the command line and of real mail clients call it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// No command of ours or of the real clients takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Its standard error as text.
    pub stderr: String,
    /// The command line, for messages.
    pub command: String,
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Asserts the exit code and returns itself.
    ///
    /// # Panics
    /// With all the program said when the code is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(
            self.code == Some(code),
            "`{}` ended with {:?} in place of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.code,
            self.text(),
            self.stderr
        );
        self
    }

    /// Asserts that the exit code is one of several.
    ///
    /// # Panics
    /// With all the program said when the code is another.
    #[track_caller]
    pub fn code_in(self, codes: &[i32]) -> Self {
        let allowed = self.code.filter(|code| codes.contains(code));
        self.exits(allowed.unwrap_or(codes[0]))
    }
}

/// Where `balancer`, `mailnode` lie: beside the test's own executable (`target/PROFILE/`).
///
/// # Panics
/// When the program was not built.
pub fn ours(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own executable");
    let profile = test.ancestors().find(|a| a.file_name() == Some(OsStr::new("deps")));
    let directory = profile.and_then(Path::parent).unwrap_or_else(|| {
        panic!("{} does not lie in a folder `deps`: how was it built?", test.display())
    });
    let program = directory.join(name);
    assert!(
        program.is_file(),
        "{} is not there. `./tests/run` builds it, and so does `cargo build --workspace`",
        program.display()
    );
    program
}

/// A command for one of our own programs.
pub fn our_command(name: &str) -> Command {
    Command::new(ours(name))
}

/// The top folder of the project.
pub fn project() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the project").to_path_buf()
}

/// Runs a command to its end with `stdin` as its standard input.
///
/// # Panics
/// When it cannot be started (the message says how to install it) or takes over two minutes.
pub fn run(command: &mut Command, stdin: &[u8]) -> Finished {
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("cannot start {shown}: {error}. `./tests/run` installs what the tests need")
    });
    let pid = rustix::process::Pid::from_child(&child);
    let mut input = child.stdin.take().expect("piped above");
    let stdin = stdin.to_vec();
    // In a thread of its own: a program that does not read its input must not hang the test.
    std::thread::spawn(move || {
        let _ = input.write_all(&stdin);
    });
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        panic!("`{shown}` did not end within {DEADLINE:?}")
    });
    let output = output.unwrap_or_else(|error| panic!("waiting for {shown}: {error}"));
    Finished {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        command: shown,
    }
}
