//! `bench delivery`: durable deliveries by one mail node, by three behind our balancer, and by
//! Postfix, each into as many mailboxes on the same disk.
//!
//! It does not know how any of them keeps mail. Called by `main`.
//!
//! A delivery is a message that is kept: for our nodes that is the 250 (the files are counted
//! afterwards, and POP3 is asked in a few mailboxes); Postfix has only queued it then, so its
//! clock runs until all files are in the Maildirs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::accounting::Meter;
use crate::load::smtp::{self, Mail};
use crate::load::{Amount, Outcome};
use crate::machine::{self, FileSystem};
use crate::peers::mailnode::{self, Cluster};
use crate::peers::postfix::{self, Postfix};
use crate::process::{Failure, Step, Workplace};
use crate::report::{Ratio, Report};

use super::{Finished, Options, Quiet, SETTLE, Troubles, turns};

const NODE: &str = "node";
const THREE: &str = "three";
const POSTFIX: &str = "postfix";

/// Bytes of a message.
const SIZE: usize = 4096;

/// Postfix must have delivered what it took after so long.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

/// One load: how many senders, and whether each keeps its connection.
#[derive(Clone, Copy, Debug)]
struct Load {
    senders: usize,
    keep: bool,
}

impl Load {
    fn name(self) -> String {
        let connection = if self.keep { "kept" } else { "new" };
        format!("senders={} connection={connection} bytes={SIZE}", self.senders)
    }
}

/// Who takes the mail.
enum Taker {
    Ours(Cluster),
    Postfix(Postfix),
}

/// A mail server under test and what it has taken so far.
struct Contender {
    name: &'static str,
    taker: Taker,
    /// Messages answered 250, by mailbox, over all runs.
    taken: RefCell<BTreeMap<u64, u64>>,
}

/// What one run gave.
struct Run {
    outcome: Outcome,
    /// From the first connect until the last message was kept.
    took: Duration,
    cpu: Duration,
}

impl Contender {
    fn address(&self) -> SocketAddr {
        match &self.taker {
            Taker::Ours(cluster) => cluster.address(),
            Taker::Postfix(postfix) => postfix.peer.address(),
        }
    }

    fn groups(&self) -> Vec<Pid> {
        match &self.taker {
            Taker::Ours(cluster) => cluster.groups(),
            Taker::Postfix(postfix) => vec![postfix.peer.group()],
        }
    }

    /// Sends for one run's time and waits until all is kept.
    async fn once(&self, load: Load, others: &[Pid], plan: &Plan) -> Step<(Run, f64)> {
        let groups = self.groups();
        let others: Vec<_> = others.iter().copied().filter(|pid| !groups.contains(pid)).collect();
        let mail = Mail {
            size: SIZE,
            mailboxes: plan.mailboxes,
            recipient: "user{}@example.test".to_owned(),
            keep: load.keep,
        };
        let meter = Meter::start(&groups, &others);
        let start = Instant::now();
        let outcome = smtp::run(self.address(), load.senders, Amount::Time(plan.run), mail).await;
        for (mailbox, count) in &outcome.delivered {
            *self.taken.borrow_mut().entry(*mailbox).or_default() += count;
        }
        let took = match &self.taker {
            Taker::Ours(_) => outcome.took,
            Taker::Postfix(postfix) => {
                let taken = self.taken.borrow().clone();
                all_delivered(postfix, &taken, &outcome).await?;
                start.elapsed()
            }
        };
        tokio::time::sleep(SETTLE).await;
        let usage = meter.stop();
        Ok((Run { outcome, took, cpu: usage.cpu }, usage.foreign))
    }

    /// Compares what was answered 250 with what is there; says what is missing.
    async fn missing(&self) -> Step<Option<String>> {
        let Taker::Ours(cluster) = &self.taker else { return Ok(None) };
        let taken = self.taken.borrow().clone();
        let (answered, files) = (taken.values().sum::<u64>(), cluster.files());
        if files < answered {
            let name = self.name;
            return Ok(Some(format!(
                "{name}: {answered} answered 250, {files} files in the store"
            )));
        }
        // Each login costs a password hash: a sample.
        for (mailbox, expected) in taken.iter().step_by(taken.len().div_ceil(8).max(1)) {
            let shown = cluster.messages(*mailbox).await?;
            if shown < *expected {
                return Ok(Some(format!(
                    "{}: user{mailbox} has {shown} messages by POP3, {expected} were answered 250",
                    self.name
                )));
            }
        }
        Ok(None)
    }
}

/// Waits until every mailbox that got mail in this run holds all that Postfix has taken for it.
async fn all_delivered(
    postfix: &Postfix,
    taken: &BTreeMap<u64, u64>,
    outcome: &Outcome,
) -> Step<()> {
    let deadline = Instant::now() + DELIVERY_LIMIT;
    let mut waiting: Vec<u64> = outcome.delivered.keys().copied().collect();
    loop {
        waiting.retain(|mailbox| {
            postfix.delivered(*mailbox) < taken.get(mailbox).copied().unwrap_or(0)
        });
        if waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let count = waiting.len();
            return Err(Failure(format!("postfix: {count} mailboxes wait for mail after 60 s")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How much is sent where.
struct Plan {
    run: Duration,
    mailboxes: u64,
    loads: Vec<Load>,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let (mailboxes, senders) =
            if options.tiny { (10, vec![4]) } else { (1_000, vec![1, 16, 32]) };
        let both = |keep| senders.iter().map(move |&senders| Load { senders, keep });
        let loads = both(false).chain(both(true)).collect();
        Self { run: options.run, mailboxes, loads }
    }
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Step<Finished> {
    let place = Workplace::new(&options.parents)?;
    let plan = Plan::new(options);
    let names = options.choose(&[NODE, THREE, POSTFIX])?;
    let contenders = start(&names, &plan, &place).await?;
    let all: Vec<Pid> = contenders.iter().flat_map(Contender::groups).collect();
    let mut report = empty_report(&names, &plan, &FileSystem::of(place.path()));
    let mut quiet = Quiet::new(options.again_max);
    let mut troubles = Troubles::default();

    for contender in &contenders {
        // First connections, statements and directories are not what is measured.
        let warm = Plan { run: plan.run / 4, mailboxes: plan.mailboxes, loads: vec![] };
        contender.once(Load { senders: 4, keep: true }, &all, &warm).await?;
    }
    for round in 0..options.rounds {
        for load in &plan.loads {
            for contender in turns(&contenders, round) {
                let once = async || contender.once(*load, &all, &plan).await;
                let run = quiet.measure(once).await?;
                troubles.look(contender.name, &load.name(), &run.outcome);
                add_figures(&mut report, contender.name, *load, &run);
            }
        }
        for contender in &contenders {
            troubles.0.extend(contender.missing().await?);
        }
    }
    for contender in &contenders {
        let count: u64 = contender.taken.borrow().values().sum();
        let found = if troubles.0.is_empty() { "all found" } else { "see the troubles" };
        report.note(format!("{}: {count} messages answered 250, {found}", contender.name));
    }
    quiet.note(&mut report);
    // Programs end before their directory goes.
    drop(contenders);
    Ok(Finished { report, troubles: troubles.0 })
}

async fn start(names: &[&'static str], plan: &Plan, place: &Workplace) -> Step<Vec<Contender>> {
    let mut contenders = Vec::new();
    let mut add =
        |name, taker| contenders.push(Contender { name, taker, taken: RefCell::default() });
    // Hashing a thousand passwords is done once, and copied while no program is on it.
    let pristine = place.room("pristine")?;
    if names.iter().any(|name| *name != POSTFIX) {
        mailnode::found(&pristine, plan.mailboxes)?;
    }
    for name in names {
        let room = place.room(name)?;
        if *name == POSTFIX {
            add(name, Taker::Postfix(Postfix::start(&room, plan.mailboxes).await?));
            continue;
        }
        mailnode::copy(&pristine, &room)?;
        let count = if *name == THREE { 3 } else { 1 };
        add(name, Taker::Ours(Cluster::start(&room, count).await?));
    }
    Ok(contenders)
}

fn add_figures(report: &mut Report, name: &'static str, load: Load, run: &Run) {
    let done = run.outcome.done as f64;
    let load = load.name();
    let mut add = |figure, unit, value| report.add(figure, &load, unit, name, value);
    add("deliveries", "per_s", done / run.took.as_secs_f64());
    add("cpu_per_delivery", "us", run.cpu.as_secs_f64() * 1e6 / done);
    add("end_of_data_to_250_p50", "us", run.outcome.latencies.quantile(0.5));
    add("end_of_data_to_250_p99", "us", run.outcome.latencies.quantile(0.99));
}

fn empty_report(names: &[&'static str], plan: &Plan, disk: &FileSystem) -> Report {
    let ratios = vec![
        Ratio { name: "ratio", of: NODE, to: POSTFIX },
        Ratio { name: "ratio_three", of: THREE, to: POSTFIX },
    ];
    let mut report = Report::new("delivery", names.to_vec(), ratios);
    report.setting("mailboxes", plan.mailboxes.to_string());
    report.setting("disk", disk.kind.clone());
    report.note(format!("mount options of the disk: {}", disk.options));
    for name in names {
        match *name {
            NODE => report.setting(NODE, mailnode::NODE_SETTINGS),
            THREE => report.setting(THREE, mailnode::CLUSTER_SETTINGS),
            _ => {
                let version = machine::postfix_version();
                report.setting(POSTFIX, format!("{version},{}", postfix::SETTINGS));
            }
        }
    }
    report
}
