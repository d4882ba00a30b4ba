//! The command line of the benches: `bench proxy|delivery|smoke` hold programs side by side,
//! `bench load KIND --to ADDRESS` is the generator alone, `bench nodes` the greeting nodes.
//!
//! It does not know how anything is measured. Started by `bench/run`, which builds what is
//! compared and installs the peers.

mod accounting;
mod arguments;
mod faults;
mod greeter;
mod load;
mod machine;
mod outages;
mod peers;
mod process;
mod record;
mod report;
mod scenario;
mod system_calls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command, Kind, Measure};
use load::Outcome;
use load::pop3::Reader;
use load::roundtrip::Ball;
use load::smtp::Mail;
use process::{Failure, Step, doing};
use report::Printed;
use scenario::{Finished, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Everything that was started is ended by its guard when the work is dropped here.
    let done = tokio::select! {
        done = work(arguments.command) => done,
        name = interrupted() => Err(Failure(format!("ended by {name}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn interrupted() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn work(command: Command) -> Step<()> {
    match command {
        Command::Proxy(measure) => {
            recordable(&measure, cfg!(debug_assertions))?;
            let options = options(&measure, 5, 1.2, 20);
            let finished = bounded(240, &options, 6.0, scenario::proxy::run(&options)).await?;
            show("proxy", &measure, finished)
        }
        Command::Syscalls(measure) => {
            recordable(&measure, cfg!(debug_assertions))?;
            let options = options(&measure, 3, 1.0, 0);
            let run = scenario::system_calls::run(&options);
            show("syscalls", &measure, bounded(120, &options, 3.0, run).await?)
        }
        Command::Idle(measure) => {
            recordable(&measure, cfg!(debug_assertions))?;
            let options = options(&measure, 3, 3.0, 6);
            let finished = bounded(240, &options, 9.0, scenario::held::run(&options)).await?;
            show("idle", &measure, finished)
        }
        Command::Slow(measure) => {
            recordable(&measure, cfg!(debug_assertions))?;
            let options = options(&measure, 2, 1.0, 2);
            let finished = bounded(300, &options, 2.0, scenario::slow::run(&options)).await?;
            show("slow", &measure, finished)
        }
        Command::Failover(measure) => failover(&measure, false).await,
        Command::FailoverSmoke(measure) => failover(&measure, true).await,
        Command::FaultNode { fault, ports } => faults::node::run(&ports, fault).await,
        Command::Delivery(measure) => {
            recordable(&measure, cfg!(debug_assertions))?;
            let options = options(&measure, 3, 1.5, 12);
            let finished = bounded(300, &options, 4.5, scenario::delivery::run(&options)).await?;
            show("delivery", &measure, finished)
        }
        Command::Smoke(measure) => {
            recordable(&measure, true)?;
            let tiny = Options { tiny: true, ..options(&measure, 1, 0.2, 0) };
            let proxy = bounded(60, &tiny, 1.0, scenario::proxy::run(&tiny)).await?;
            show("proxy", &measure, proxy)?;
            let idle = bounded(60, &tiny, 1.0, scenario::held::run(&tiny)).await?;
            show("idle", &measure, idle)?;
            let slow = bounded(60, &tiny, 1.0, scenario::slow::run(&tiny)).await?;
            show("slow", &measure, slow)?;
            let delivery = bounded(60, &tiny, 1.0, scenario::delivery::run(&tiny)).await?;
            show("delivery", &measure, delivery)
        }
        Command::Nodes { listen, proxied } => nodes(&listen, proxied).await,
        Command::Load { kind } => load(kind).await,
    }
}

/// Ends a bench that takes too long (something hangs): `seconds` for the usual measure, and more in
/// proportion where more rounds or longer runs were asked for than `usual` seconds of each load.
async fn bounded<T>(
    seconds: u64,
    options: &Options,
    usual: f64,
    bench: impl Future<Output = Step<T>>,
) -> Step<T> {
    let asked = options.run.as_secs_f64() * options.rounds as f64;
    let limit = Duration::from_secs(seconds).mul_f64((asked / usual).max(1.0));
    let late = || Err(Failure(format!("not done in {} s: something hangs", limit.as_secs())));
    tokio::time::timeout(limit, bench).await.unwrap_or_else(|_| late())
}

/// History holds measurements only.
fn recordable(measure: &Measure, measures_nothing: bool) -> Step<()> {
    if measure.record && measures_nothing {
        let why = "a smoke run or a development build measures nothing";
        return Err(Failure(format!("--record: {why}")));
    }
    Ok(())
}

/// What a bench is told: the command line's, or its own measure.
fn options(measure: &Measure, rounds: usize, seconds: f64, again_max: u32) -> Options {
    let likely = [PathBuf::from("target"), std::env::temp_dir(), PathBuf::from("/var/tmp")];
    Options {
        rounds: measure.rounds.unwrap_or(rounds),
        run: Duration::from_secs_f64(measure.seconds.unwrap_or(seconds)),
        again_max: measure.again.unwrap_or(again_max),
        contenders: measure.contenders.clone(),
        parents: measure.dir.clone().map_or_else(|| likely.to_vec(), |dir| vec![dir]),
        tiny: false,
    }
}

/// What clients suffer when a node goes wrong, in a network of its own.
async fn failover(measure: &Measure, tiny: bool) -> Step<()> {
    recordable(measure, tiny || cfg!(debug_assertions))?;
    faults::network::enter()?;
    let seconds = if tiny { 0.5 } else { 5.0 };
    let options = Options { tiny, ..options(measure, 1, seconds, if tiny { 0 } else { 8 }) };
    let outages = bounded(240, &options, seconds, scenario::failover::run(&options)).await?;
    print("failover", measure, &outages.printed(), Vec::new())
}

/// Prints a bench, keeps it where that is wanted, and fails when its figures are not whole.
fn show(bench: &str, measure: &Measure, finished: Finished) -> Step<()> {
    print(bench, measure, &finished.report.printed(), finished.troubles)
}

fn print(bench: &str, measure: &Measure, report: &Printed, mut troubles: Vec<String>) -> Step<()> {
    println!("\n{}\n{}\n{}", report.table, report.remarks, report.lines);
    troubles.extend(report.gaps.iter().map(|gap| format!("no figure for {gap}")));
    if !troubles.is_empty() {
        return Err(Failure(format!("{bench} is not to be trusted:\n  {}", troubles.join("\n  "))));
    }
    if measure.record {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("bench/run {}", words.join(" "));
        record::keep(Path::new("bench/RESULTS.md"), bench, &command, report)?;
        println!("kept in bench/RESULTS.md");
    }
    Ok(())
}

/// Greeting nodes until a signal comes.
async fn nodes(listen: &[SocketAddr], proxied: bool) -> Step<()> {
    for address in listen {
        let listener = doing(address, TcpListener::bind(address).await)?;
        println!("listening on {}", doing(address, listener.local_addr())?);
        tokio::spawn(greeter::serve(listener, proxied));
    }
    std::future::pending().await
}

/// The generator alone: prints one line of what came of it.
async fn load(kind: Kind) -> Step<()> {
    let outcome = match kind {
        Kind::Churn { to, clients, amount } => load::churn::run(to, clients, amount.read()).await,
        Kind::Rtt { to, clients, amount, noop } => {
            let ball = if noop { Ball::Noop } else { Ball::Echo };
            load::roundtrip::run(to, clients, amount.read(), ball).await
        }
        Kind::Up { to, streams, mib } => load::bulk::run(to, streams, mib << 20).await,
        Kind::Idle { to, clients, seconds } => return hold(to, clients, seconds).await,
        Kind::Smtp { to, senders, amount, size, mailboxes, recipient, keep } => {
            let mail = Mail { size, mailboxes, recipient, keep };
            load::smtp::run(to, senders, amount.read(), mail).await
        }
        Kind::Pop3 { to, clients, amount, user, password, mailboxes, retrieve } => {
            let preface = String::new();
            let reader = Reader { user, password, mailboxes, retrieve, preface };
            load::pop3::run(to, clients, amount.read(), reader).await
        }
    };
    finish(&outcome)
}

fn finish(outcome: &Outcome) -> Step<()> {
    println!("{outcome}");
    match outcome.troubles() {
        0 => Ok(()),
        count => Err(Failure(format!("{count} steps did not end as they should"))),
    }
}

/// Holds idle connections for a while.
async fn hold(to: SocketAddr, clients: usize, seconds: f64) -> Step<()> {
    let filled = load::idle::fill(to, clients).await;
    let held = filled.map_err(|fault| Failure(fault.to_string()))?;
    println!("held={}", held.len());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    load::idle::leave(held).await;
    Ok(())
}
