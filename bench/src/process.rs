//! Programs that a bench starts: each in a process group of its own, with its own log file, ended
//! by that group's id when its guard is dropped; and the ports and the directory they use.
//!
//! It does not know what the programs are. Called by `peers` and the scenarios.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::machine::FileSystem;

/// How long a program may take to answer in its own protocol.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a program may take to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two looks at a program that starts or ends.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A failed start or run, in words for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a bench's step gives back.
pub(crate) type Step<T> = Result<T, Failure>;

/// Adds what was tried to an error of the system.
pub(crate) fn doing<T>(what: impl std::fmt::Display, result: io::Result<T>) -> Step<T> {
    result.map_err(|error| Failure(format!("{what}: {error}")))
}

/// A running program; dropping it ends its whole group.
pub(crate) struct Daemon {
    name: String,
    child: std::process::Child,
    group: Pid,
    log: PathBuf,
}

impl Daemon {
    /// Starts a program in a group of its own, with `DIR/NAME.log` for all it says.
    ///
    /// Should this bench be killed itself, the kernel tells the program with SIGTERM (setpriv is
    /// part of util-linux, and the program keeps the pid). Postfix forgets that when it changes
    /// its user at start: after a SIGKILL of the bench its master stays.
    pub(crate) fn start(name: &str, dir: &Path, program: &Command) -> Step<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = doing(format!("cannot make {}", log.display()), File::create(&log))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program.get_program());
        command.args(program.get_args()).process_group(0).stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.stderr(output.try_clone()?).stdout(output);
        let child = doing(format!("cannot start {name}"), command.spawn())?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = id.ok_or_else(|| Failure(format!("{name} has no pid")))?;
        Ok(Self { name: name.to_owned(), child, group, log })
    }

    /// The process group, for the accounting.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    /// Sends a signal to all of it.
    pub(crate) fn signal(&self, signal: Signal) {
        // A group that is gone already has nothing left to be told.
        let _ = kill_process_group(self.group, signal);
    }

    /// Waits until the program gives its sign.
    pub(crate) async fn ready(&mut self, sign: Sign) -> Step<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let look = tokio::time::timeout(Duration::from_secs(2), sign.given());
            if let Ok(true) = look.await {
                return Ok(());
            }
            self.must_live(deadline, "did not become ready")?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Fails with the end of its log when the program has ended or the deadline has passed.
    fn must_live(&mut self, deadline: Instant, complaint: &str) -> Step<()> {
        let ended = self.child.try_wait()?;
        if ended.is_none() && Instant::now() < deadline {
            return Ok(());
        }
        let how = ended.map_or_else(
            || format!("{complaint} within {} s", START_LIMIT.as_secs()),
            |status| format!("ended at its start ({status})"),
        );
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last = said.lines().rev().take(5).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Err(Failure(format!("{} {how}; the end of its log:\n  {last}", self.name)))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A group that is gone already answers ESRCH: nothing is left to end then.
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_AGAIN);
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a program shows that it is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sign {
    /// It greets who connects here.
    Greeting(SocketAddr),
    /// It lets in who connects here.
    Door(SocketAddr),
    /// It answers who says this here (nothing, where it greets first).
    Answer(SocketAddr, &'static [u8]),
    /// `GET /ready` is answered 200 here.
    Admin(SocketAddr),
}

impl Sign {
    /// Whether the sign is given now.
    async fn given(self) -> bool {
        match self {
            Self::Greeting(address) => {
                matches!(first_bytes(address, b"").await, Ok(text) if !text.is_empty())
            }
            Self::Answer(address, hello) => {
                matches!(first_bytes(address, hello).await, Ok(text) if !text.is_empty())
            }
            Self::Door(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            Self::Admin(address) => {
                let request = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\n\r\n");
                let answer = first_bytes(address, request.as_bytes()).await;
                answer.is_ok_and(|text| text.contains(" 200 "))
            }
        }
    }
}

/// The first bytes that a server says to a client that says `request`.
async fn first_bytes(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// Runs a program to its end and gives its standard output; fails with what it said on the other.
pub(crate) fn output_of(program: &mut Command, input: &str) -> Step<String> {
    let name = program.get_program().to_string_lossy().into_owned();
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = doing(format!("cannot start {name}"), program.spawn())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input may have closed it: its status tells.
        let _ = io::Write::write_all(&mut stdin, input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!("{name}: {}: {}", output.status, said.trim_end())))
}

/// An address on loopback that nobody listens on, below the range the kernel takes its own
/// (ephemeral) ports from, so that no outgoing connection can sit on it.
pub(crate) fn free_address() -> Step<SocketAddr> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let port = FIRST + (NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Failure(format!("no free port from {FIRST} to {}", FIRST + COUNT)))
}

/// The directory of one run; dropping it removes all of it.
pub(crate) struct Workplace {
    path: PathBuf,
}

impl Workplace {
    /// Makes a fresh directory under the first of `parents` that is on a disk and that other
    /// users may pass through: Postfix and nginx work as users of their own.
    pub(crate) fn new(parents: &[PathBuf]) -> Step<Self> {
        let mut faults = Vec::new();
        for parent in parents {
            match Self::under(parent) {
                Ok(place) => return Ok(place),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        faults.push("name another directory with --dir".to_owned());
        Err(Failure(faults.join("\n")))
    }

    fn under(parent: &Path) -> Step<Self> {
        let path = parent.join(format!("bench-{}", std::process::id()));
        doing(format!("cannot make {}", path.display()), fs::create_dir_all(&path))?;
        let place = Self { path: path.canonicalize()? };
        let closed = |dir: &&Path| {
            fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
        };
        if let Some(dir) = place.path.ancestors().find(closed) {
            let dir = dir.display();
            return Err(Failure(format!(
                "{dir} is closed to Postfix, which works as its own user"
            )));
        }
        if FileSystem::of(&place.path).is_memory() {
            let path = place.path.display();
            return Err(Failure(format!("{path} is in memory: what an fsync costs is not seen")));
        }
        place.spread();
        Ok(place)
    }

    /// Asks ext4 to give every room block groups of its own (the attribute T).
    ///
    /// Without a journal ext4 walks past each inode that was freed within the last minutes. What
    /// one contender, or the run before, has deleted must not make another's files dearer.
    fn spread(&self) {
        // Other file systems know no such attribute, and need none.
        let _ = output_of(Command::new("chattr").arg("+T").arg(&self.path), "");
    }

    /// Where the run keeps its files.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory inside; its name is new on the machine, since ext4 places it by the name.
    pub(crate) fn room(&self, name: &str) -> Step<PathBuf> {
        let path = self.path.join(format!("{name}-{}", std::process::id()));
        doing(format!("cannot make {}", path.display()), fs::create_dir_all(&path))?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
