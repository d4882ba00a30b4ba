//! Who used the processors and the memory: nanoseconds of whole process groups, the share that
//! everything else on the machine took meanwhile, and anonymous memory, all read from /proc.
//!
//! It does not know what the processes do. Called by the scenarios around every run.
//!
//! A group's time is the scheduler's own count (`/proc/PID/task/*/schedstat`, nanoseconds) of all
//! its living threads plus what its parents have collected from children that ended (`cutime`,
//! 10 ms steps): Postfix ends its processes after a hundred uses, and their work must not vanish.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// One unit of the times in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Debian ships.
const TICK: Duration = Duration::from_millis(10);

/// The kernel's own threads are children of this process.
const KTHREADD: i32 = 2;

/// What one line of `/proc/PID/stat` says about a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    /// Time of the process with its ended threads, in ticks.
    own: u64,
    /// Time of its ended and collected children, in ticks.
    reaped: u64,
}

impl Process {
    /// Reads the text of `/proc/PID/stat`; the name in parentheses may itself hold blanks.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (_name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            own: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
        })
    }

    /// All processes of the machine; one that ends meanwhile is left out.
    fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
            .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
            .filter_map(|text| Self::parse(&text))
            .collect()
    }

    /// Time used by the process and by the children it has collected.
    fn time(&self) -> Duration {
        // Threads that ended are in the ticks only, parts of a tick are in the threads only.
        threads_time(self.pid).max(ticks(self.own)) + ticks(self.reaped)
    }
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}

/// Time of the living threads of a process, to the nanosecond.
fn threads_time(pid: i32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanoseconds = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// The idle time of all processors since the start of the machine, in steps of 10 ms.
fn idle_time() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // cpu user nice system idle iowait ...
    let idle = first.split_ascii_whitespace().skip(4).take(2);
    idle.filter_map(|field| field.parse().ok()).map(ticks).sum()
}

/// How many processors the kernel gives us.
pub(crate) fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(count).unwrap_or(1)
}

/// Memory of a process group that no file stands behind, in bytes: what connections cost a
/// program, without its code. Counted from the page tables, so it is exact to a page.
pub(crate) fn anonymous_bytes(group: Pid) -> u64 {
    let group = group.as_raw_nonzero().get();
    let members = Process::all().into_iter().filter(|process| process.group == group);
    let kibibytes: u64 = members
        .filter_map(|process| {
            fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok()
        })
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("Anonymous:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum();
    kibibytes * 1024
}

/// The counters at one instant.
struct Sample {
    at: Instant,
    idle: Duration,
    /// Time of each watched group, in the order they were named.
    groups: Vec<Duration>,
    /// Time of this process, of the kernel's threads and of the groups that belong to the bench.
    explained: Duration,
}

impl Sample {
    fn take(groups: &[Pid], helpers: &[Pid]) -> Self {
        let processes = Process::all();
        let of_group = |group: &Pid| -> Duration {
            let group = group.as_raw_nonzero().get();
            processes.iter().filter(|p| p.group == group).map(Process::time).sum()
        };
        let kernel = processes.iter().filter(|p| p.parent == KTHREADD).map(Process::time);
        let own = threads_time(rustix::process::getpid().as_raw_nonzero().get());
        let groups: Vec<Duration> = groups.iter().map(of_group).collect();
        let explained = own
            + kernel.sum::<Duration>()
            + groups.iter().sum::<Duration>()
            + helpers.iter().map(of_group).sum::<Duration>();
        Self { at: Instant::now(), idle: idle_time(), groups, explained }
    }
}

/// What was used between the start and the stop of a [`Meter`].
pub(crate) struct Usage {
    /// Processor time of all watched groups together.
    pub(crate) cpu: Duration,
    /// The share of all processors used by what is neither watched, nor the bench, nor the kernel.
    pub(crate) foreign: f64,
}

/// Counts from its start to its stop.
pub(crate) struct Meter {
    groups: Vec<Pid>,
    helpers: Vec<Pid>,
    start: Sample,
}

impl Meter {
    /// Starts to count the groups under test; helpers are other groups of the bench, whose time is
    /// not foreign.
    pub(crate) fn start(groups: &[Pid], helpers: &[Pid]) -> Self {
        let start = Sample::take(groups, helpers);
        Self { groups: groups.to_vec(), helpers: helpers.to_vec(), start }
    }

    /// Ends the count.
    pub(crate) fn stop(self) -> Usage {
        let end = Sample::take(&self.groups, &self.helpers);
        let pairs = end.groups.iter().zip(&self.start.groups);
        let cpu = pairs.map(|(end, start)| end.saturating_sub(*start)).sum();
        let whole = (end.at - self.start.at).as_secs_f64() * f64::from(processors());
        let idle = end.idle.saturating_sub(self.start.idle).as_secs_f64();
        let explained = end.explained.saturating_sub(self.start.explained).as_secs_f64();
        Usage { cpu, foreign: ((whole - idle - explained) / whole).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = "41 (a (b) c) S 7 40 40 0 -1 4194560 1 2 0 0 11 22 33 44 20 0 1 0 5 0 0";
        let process = Process::parse(line).unwrap();
        assert_eq!(process, Process { pid: 41, parent: 7, group: 40, own: 33, reaped: 77 });
    }

    #[test]
    fn our_own_work_is_counted_and_is_not_foreign() {
        // A group of its own: that of this process may be led by one outside its namespace.
        let mut busy = std::process::Command::new("sh");
        let busy = busy.args(["-c", "while :; do :; done"]).process_group(0).spawn();
        let mut busy = busy.expect("a shell");
        let group = Pid::from_child(&busy);
        let meter = Meter::start(&[group], &[]);
        let until = Instant::now() + Duration::from_millis(120);
        let mut turns = 0_u64;
        while Instant::now() < until {
            turns += 1;
        }
        let usage = meter.stop();
        let bytes = anonymous_bytes(group);
        busy.kill().expect("it is a child of ours");
        busy.wait().expect("it ends");
        assert!(turns > 0);
        assert!(usage.cpu > Duration::from_millis(20), "counted only {:?}", usage.cpu);
        assert!(bytes > 0);
    }
}
