//! `bench idle`: thousands of idle connections held at once: what they cost in memory, what it
//! costs to hold them, and whether each of them is still of use.
//!
//! It does not know mail: the nodes greet. Called by `main`.

use std::time::{Duration, Instant};

use crate::accounting::{Meter, anonymous_bytes};
use crate::load::conversation::Conversation;
use crate::load::idle;
use crate::peers::Nodes;
use crate::process::{Failure, Step, Workplace};
use crate::report::{Ratio, Report};

use super::pair::{HAPROXY, OURS, start};
use super::{Finished, Options, Quiet, Troubles, turns};

/// Two descriptors each are what 20,000 open files allow.
const HELD: usize = 9_000;

/// Before they count as idle: what is done once for who stays longer is done then.
const REST: Duration = Duration::from_secs(3);

/// Runs the bench: each round fills a fresh program.
pub(crate) async fn run(options: &Options) -> Step<Finished> {
    let place = Workplace::new(&options.parents)?;
    let nodes = Nodes::start(place.path(), false).await?;
    let names = options.choose(&[OURS, HAPROXY])?;
    let ratios = vec![Ratio { name: "ratio", of: OURS, to: HAPROXY }];
    let mut report = Report::new("idle", names.clone(), ratios);
    let mut quiet = Quiet::new(options.again_max);
    let mut troubles = Troubles::default();
    let count = if options.tiny { 200 } else { HELD };
    let load = format!("c={count}");
    for round in 0..options.rounds {
        for name in turns(&names, round) {
            let peer = start(name, round, &place, &nodes, &mut report).await?;
            let before = anonymous_bytes(peer.group());
            let began = Instant::now();
            let filled = idle::fill(peer.address(), count).await;
            let mut held = filled.map_err(|fault| Failure(format!("{name}: {fault}")))?;
            let rate = count as f64 / began.elapsed().as_secs_f64();
            let more = anonymous_bytes(peer.group()).saturating_sub(before).max(1) as f64;
            tokio::time::sleep(REST).await;
            let helpers = [nodes.group()];
            let hold = async || {
                let meter = Meter::start(&[peer.group()], &helpers);
                tokio::time::sleep(options.run).await;
                let usage = meter.stop();
                Ok((usage.cpu, usage.foreign))
            };
            let cpu = quiet.measure(hold).await?;
            let mut add = |figure, unit, value| report.add(figure, &load, unit, name, value);
            add("memory_of_all", "mib", more / f64::from(1 << 20));
            add("memory_per_connection", "bytes", more / count as f64);
            add("cpu_while_held", "ms_per_s", cpu.as_secs_f64() * 1e3 / options.run.as_secs_f64());
            add("filled", "per_s", rate);
            let dead = count_dead(&mut held).await;
            if dead > 0 {
                troubles.0.push(format!("{name}: {dead} of {count} connections were dead"));
            }
            idle::leave(held).await;
        }
    }
    quiet.note(&mut report);
    report.note("each connection was asked in the end whether it is still there, and answered");
    Ok(Finished { report, troubles: troubles.0 })
}

/// How many do not answer any more.
async fn count_dead(held: &mut [Conversation]) -> usize {
    let mut dead = 0;
    for conversation in held {
        let answered = async {
            conversation.send(b"NOOP\r\n").await?;
            conversation.line().await
        };
        let answered: std::io::Result<String> = answered.await;
        dead += usize::from(!answered.is_ok_and(|line| line.starts_with("250")));
    }
    dead
}
