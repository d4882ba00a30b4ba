//! Counts the system calls of running programs at full speed, with the kernel's tracepoints.
//!
//! It does not know what the programs do. Called by `scenario::system_calls`.
//!
//! `perf stat` costs nothing worth naming. `strace -c` would count as truly, but it slows a program
//! so much that fewer things are ready at each wake-up: what is done in batches looks dearer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

use crate::process::{Failure, Step, doing};

/// The counter of all system calls.
pub(crate) const ALL: &str = "all";

/// Those that are told one by one; the rest is in [`ALL`].
const KINDS: [&str; 25] = [
    "accept4",
    "bind",
    "clock_gettime",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "futex",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ioctl",
    "read",
    "recvfrom",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "splice",
    "write",
    "writev",
];

/// A `perf stat` at work. It ends with its input.
pub(crate) struct Counter {
    child: Child,
}

impl Counter {
    /// Counts the calls of these processes from when this returns.
    pub(crate) fn attach(processes: &[Pid]) -> Step<Self> {
        let pids: Vec<_> =
            processes.iter().map(|pid| pid.as_raw_nonzero().get().to_string()).collect();
        let kinds = KINDS.map(|kind| format!("syscalls:sys_enter_{kind}"));
        let events = format!("raw_syscalls:sys_enter,{}", kinds.join(","));
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", &events, "-p", &pids.join(","), "--", "cat"]);
        perf.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut counter = Self { child: doing("cannot start perf (linux-perf)", perf.spawn())? };
        // perf starts `cat` when it counts: what comes back shows that it does.
        let mut back = [0];
        let streams = (counter.child.stdin.as_mut(), counter.child.stdout.as_mut());
        let (Some(stdin), Some(stdout)) = streams else { return Err(counter.failed()) };
        if stdin.write_all(b"?").is_err() || stdout.read_exact(&mut back).is_err() {
            return Err(counter.failed());
        }
        Ok(counter)
    }

    /// Ends the count: how many of each kind, by name.
    pub(crate) fn stop(mut self) -> Step<BTreeMap<&'static str, u64>> {
        let said = self.last_words();
        let count = |event: &str| {
            let fields = said.lines().map(|line| line.split(',').collect::<Vec<_>>());
            let mut of_event = fields.filter(|fields| fields.get(2) == Some(&event));
            of_event.next().and_then(|fields| fields[0].parse::<u64>().ok())
        };
        let Some(all) = count("raw_syscalls:sys_enter") else {
            return Err(Failure(format!("perf stat counted nothing: {}", said.trim_end())));
        };
        let one = |kind| Some((kind, count(&format!("syscalls:sys_enter_{kind}"))?));
        let kinds = KINDS.into_iter().filter_map(one);
        Ok(kinds.chain([(ALL, all)]).collect())
    }

    fn failed(mut self) -> Failure {
        let said = self.last_words();
        Failure(format!("perf stat cannot count here (root? tracefs?): {}", said.trim_end()))
    }

    fn last_words(&mut self) -> String {
        drop(self.child.stdin.take());
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            // Whatever it is: an unreadable answer is told as it stands.
            let _ = stderr.read_to_string(&mut said);
        }
        let _ = self.child.wait();
        said
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.last_words();
    }
}
