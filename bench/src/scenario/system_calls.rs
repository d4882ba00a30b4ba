//! `bench syscalls`: how many system calls a connection and a round trip cost our balancer, and
//! HAProxy, before the same three greeting nodes.
//!
//! It does not know how calls are counted. Called by `main`.

use std::collections::BTreeMap;

use crate::load::roundtrip::Ball;
use crate::load::{Amount, Outcome, churn, roundtrip};
use crate::machine;
use crate::peers::balancer::{self, Header};
use crate::peers::haproxy::{self, Besides, Bulk};
use crate::peers::{Nodes, Peer};
use crate::process::{Step, Workplace};
use crate::report::{Ratio, Report};
use crate::system_calls::{ALL, Counter};

use super::{Finished, Options, Troubles, turns};

const OURS: &str = "ours";
const HAPROXY: &str = "haproxy";

/// Kinds that are rarer than this are not told one by one.
const RARE: f64 = 0.05;

#[derive(Clone, Copy)]
enum Load {
    Churn(usize),
    RoundTrips(usize),
}

impl Load {
    fn name(self) -> String {
        match self {
            Self::Churn(clients) => format!("kind=churn c={clients}"),
            Self::RoundTrips(clients) => format!("kind=rtt c={clients} bytes=64"),
        }
    }

    fn figure(self) -> &'static str {
        match self {
            Self::Churn(_) => "calls_per_connection",
            Self::RoundTrips(_) => "calls_per_round_trip",
        }
    }

    async fn run(self, peer: &Peer, tiny: bool) -> Outcome {
        let count = |count| Amount::Count(if tiny { count / 50 } else { count });
        match self {
            Self::Churn(clients) => churn::run(peer.address(), clients, count(8_000)).await,
            Self::RoundTrips(clients) => {
                roundtrip::run(peer.address(), clients, count(60_000), Ball::Echo).await
            }
        }
    }
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Step<Finished> {
    let place = Workplace::new(&options.parents)?;
    let nodes = Nodes::start(place.path(), false).await?;
    let names = options.choose(&[OURS, HAPROXY])?;
    let ratios = vec![Ratio { name: "ratio", of: OURS, to: HAPROXY }];
    let mut report = Report::new("syscalls", names.clone(), ratios);
    let mut peers = Vec::new();
    for name in &names {
        let dir = place.room(name)?;
        let peer = match *name {
            OURS => {
                report.setting(OURS, balancer::SETTINGS);
                balancer::start(&dir, &nodes.addresses, Header::None, "warn").await?
            }
            _ => {
                let version = machine::haproxy_version();
                report.setting(HAPROXY, format!("{version},{}", haproxy::SETTINGS));
                haproxy::start(&dir, &nodes.addresses, Bulk::Copy, Besides::Nothing).await?
            }
        };
        churn::run(peer.address(), 16, Amount::Count(300)).await;
        peers.push((*name, peer));
    }
    report.note("counted at full speed by perf stat (tracepoints); health checks are in it");
    let mut troubles = Troubles::default();
    let loads = [Load::Churn(64), Load::Churn(16), Load::RoundTrips(16), Load::RoundTrips(4)];
    for round in 0..options.rounds {
        for load in loads {
            for (name, peer) in turns(&peers, round) {
                let counter = Counter::attach(&[peer.group()])?;
                let outcome = load.run(peer, options.tiny).await;
                let counts = counter.stop()?;
                troubles.look(name, &load.name(), &outcome);
                let each = |count: u64| count as f64 / outcome.done as f64;
                report.add(load.figure(), &load.name(), "calls", name, each(counts[ALL]));
                if round == 0 {
                    report.note(format!("{name}, {}: {}", load.name(), kinds(&counts, each)));
                }
            }
        }
    }
    Ok(Finished { report, troubles: troubles.0 })
}

/// What the calls were.
fn kinds(counts: &BTreeMap<&'static str, u64>, each: impl Fn(u64) -> f64) -> String {
    let one_by_one = counts.iter().filter(|(kind, count)| **kind != ALL && each(**count) >= RARE);
    let told: Vec<_> = one_by_one.map(|(kind, count)| (*kind, *count)).collect();
    let rest = counts[ALL].saturating_sub(told.iter().map(|(_, count)| count).sum());
    let words = told.into_iter().chain([("others", rest)]);
    let words: Vec<_> = words.map(|(kind, n)| format!("{kind} {:.2}", each(n))).collect();
    words.join(", ")
}
