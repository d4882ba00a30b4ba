//! `bench proxy`: our balancer beside HAProxy and nginx before the same three greeting nodes.
//!
//! It does not know mail: the nodes greet, echo and count. Called by `main`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::accounting::{Meter, anonymous_bytes};
use crate::load::roundtrip::Ball;
use crate::load::{Amount, Outcome, bulk, churn, idle, roundtrip};
use crate::machine;
use crate::peers::balancer::{self, Header};
use crate::peers::haproxy::{self, Besides, Bulk};
use crate::peers::{Nodes, Peer, nginx};
use crate::process::{Failure, Step, Workplace};
use crate::report::{Ratio, Report};

use super::{Finished, Options, Quiet, SETTLE, Troubles, turns};

const OURS: &str = "ours";
const HAPROXY: &str = "haproxy";
const NGINX: &str = "nginx";
/// HAProxy with forced splice: for bulk alone.
const SPLICE: &str = "haproxy_splice";

/// Both with a PROXY header for each node and a log line for each connection: for dialogue alone.
const SHIPPED: &str = "ours_shipped";
const HAPROXY_SHIPPED: &str = "haproxy_shipped";

const GIB: u64 = 1 << 30;

/// One kind of load with its number of clients.
#[derive(Clone, Copy, Debug)]
enum Load {
    Churn(usize),
    RoundTrips(usize),
    Up { streams: usize, bytes_each: u64 },
}

impl Load {
    fn name(self) -> String {
        match self {
            Self::Churn(clients) => format!("kind=churn c={clients}"),
            Self::RoundTrips(clients) => format!("kind=rtt c={clients} bytes=64"),
            Self::Up { streams, bytes_each } => {
                format!("kind=up streams={streams} mib={}", (bytes_each * streams as u64) >> 20)
            }
        }
    }

    async fn run(self, to: SocketAddr, time: Duration) -> Outcome {
        match self {
            Self::Churn(clients) => churn::run(to, clients, Amount::Time(time)).await,
            Self::RoundTrips(clients) => {
                roundtrip::run(to, clients, Amount::Time(time), Ball::Echo).await
            }
            Self::Up { streams, bytes_each } => bulk::run(to, streams, bytes_each).await,
        }
    }

    /// Adds the figures of one run.
    fn report(self, report: &mut Report, who: &'static str, outcome: &Outcome, cpu: Duration) {
        let load = self.name();
        let cpu_us = cpu.as_secs_f64() * 1e6 / outcome.done as f64;
        let mut add = |figure, unit, value| report.add(figure, &load, unit, who, value);
        match self {
            Self::Churn(_) => {
                add("cpu_per_connection", "us", cpu_us);
                add("connections", "per_s", outcome.rate());
            }
            Self::RoundTrips(_) => {
                add("cpu_per_round_trip", "us", cpu_us);
                add("round_trips", "per_s", outcome.rate());
            }
            Self::Up { .. } => {
                let gib = outcome.bytes as f64 / GIB as f64;
                add("cpu_per_gib", "s", cpu.as_secs_f64() / gib);
                add("throughput", "gib_per_s", gib / outcome.took.as_secs_f64());
                return;
            }
        }
        add("p50", "us", outcome.latencies.quantile(0.5));
        add("p99", "us", outcome.latencies.quantile(0.99));
    }
}

/// A balancer under test.
struct Contender {
    name: &'static str,
    peer: Peer,
}

impl Contender {
    /// Whether it takes part in this load.
    fn takes(&self, load: Load) -> bool {
        match self.name {
            SPLICE => matches!(load, Load::Up { .. }),
            SHIPPED | HAPROXY_SHIPPED => !matches!(load, Load::Up { .. }),
            _ => true,
        }
    }
}

/// The greeting nodes: without a PROXY header before the greeting, and with one.
struct All {
    plain: Nodes,
    proxied: Nodes,
}

impl Contender {
    /// Starts one in a directory of its own.
    async fn start(name: &'static str, room: &str, place: &Workplace, nodes: &All) -> Step<Self> {
        let dir = place.room(room)?;
        let proxied = &nodes.proxied.addresses;
        let nodes = &nodes.plain.addresses;
        let peer = match name {
            OURS => balancer::start(&dir, nodes, Header::None, "warn").await?,
            SHIPPED => balancer::start(&dir, proxied, Header::V2, "info").await?,
            HAPROXY => haproxy::start(&dir, nodes, Bulk::Copy, Besides::Nothing).await?,
            SPLICE => haproxy::start(&dir, nodes, Bulk::Splice, Besides::Nothing).await?,
            HAPROXY_SHIPPED => {
                haproxy::start(&dir, proxied, Bulk::Copy, Besides::HeaderAndLog).await?
            }
            _ => nginx::start(&dir, nodes).await?,
        };
        Ok(Self { name, peer })
    }
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Step<Finished> {
    let place = Workplace::new(&options.parents)?;
    let nodes = All {
        plain: Nodes::start(place.path(), false).await?,
        proxied: Nodes::start(place.path(), true).await?,
    };
    let names = options.choose(&[OURS, HAPROXY, NGINX])?;
    let mut contenders = Vec::new();
    for name in names.iter().flat_map(|name| with_variants(name)) {
        contenders.push(Contender::start(name, name, &place, &nodes).await?);
    }
    let mut report = empty_report(&names);
    let mut quiet = Quiet::new(options.again_max);
    let mut troubles = Troubles::default();
    let helpers: Vec<_> = contenders
        .iter()
        .map(|c| c.peer.group())
        .chain([nodes.plain.group(), nodes.proxied.group()])
        .collect();

    for contender in &contenders {
        // First use of every path of the code, and of every pool, is not what is measured.
        churn::run(contender.peer.address(), 16, Amount::Count(300)).await;
    }
    for round in 0..options.rounds {
        for load in loads(options.tiny) {
            for contender in turns(&contenders, round) {
                if !contender.takes(load) {
                    continue;
                }
                let once = async || Ok(once(contender, load, &helpers, options.run).await);
                let (outcome, cpu) = quiet.measure(once).await?;
                troubles.look(contender.name, &load.name(), &outcome);
                load.report(&mut report, contender.name, &outcome, cpu);
            }
        }
        let count = if options.tiny { 200 } else { 2_000 };
        for name in turns(&names, round) {
            let room = format!("idle-{name}-{round}");
            let fresh = Contender::start(name, &room, &place, &nodes).await?;
            let bytes = idle_bytes(&fresh, count).await?;
            report.add("memory_per_idle_connection", &format!("c={count}"), "bytes", name, bytes);
        }
    }
    quiet.note(&mut report);
    Ok(Finished { report, troubles: troubles.0 })
}

/// One run: what came of it with the contender's time, and the foreign share.
async fn once(
    contender: &Contender,
    load: Load,
    helpers: &[rustix::process::Pid],
    time: Duration,
) -> ((Outcome, Duration), f64) {
    let group = contender.peer.group();
    let others: Vec<_> = helpers.iter().copied().filter(|helper| *helper != group).collect();
    let meter = Meter::start(&[group], &others);
    let outcome = load.run(contender.peer.address(), time).await;
    tokio::time::sleep(SETTLE).await;
    let usage = meter.stop();
    ((outcome, usage.cpu), usage.foreign)
}

/// Anonymous memory that each of `count` idle connections adds to a fresh program.
async fn idle_bytes(fresh: &Contender, count: usize) -> Step<f64> {
    let before = anonymous_bytes(fresh.peer.group());
    let filled = idle::fill(fresh.peer.address(), count).await;
    let held = filled.map_err(|fault| Failure(format!("{}, idle: {fault}", fresh.name)))?;
    let after = anonymous_bytes(fresh.peer.group());
    idle::leave(held).await;
    // A page less than before is possible where nothing was needed: never a negative price.
    Ok(after.saturating_sub(before).max(1) as f64 / count as f64)
}

/// A contender and what it is held in besides.
fn with_variants(name: &&'static str) -> Vec<&'static str> {
    match *name {
        OURS => vec![OURS, SHIPPED],
        HAPROXY => vec![HAPROXY, SPLICE, HAPROXY_SHIPPED],
        name => vec![name],
    }
}

fn loads(tiny: bool) -> Vec<Load> {
    if tiny {
        let up = Load::Up { streams: 2, bytes_each: 16 << 20 };
        return vec![Load::Churn(4), Load::RoundTrips(2), up];
    }
    vec![
        Load::Churn(64),
        Load::Churn(16),
        Load::RoundTrips(16),
        Load::RoundTrips(4),
        Load::Up { streams: 4, bytes_each: GIB / 4 },
    ]
}

fn empty_report(names: &[&'static str]) -> Report {
    let ratios = vec![
        Ratio { name: "ratio", of: OURS, to: HAPROXY },
        Ratio { name: "ratio_to_nginx", of: OURS, to: NGINX },
        Ratio { name: "ratio_to_haproxy_splice", of: OURS, to: SPLICE },
        Ratio { name: "ratio_as_shipped", of: SHIPPED, to: HAPROXY_SHIPPED },
        Ratio { name: "ratio_nginx_to_haproxy", of: NGINX, to: HAPROXY },
    ];
    let columns = names.iter().flat_map(|name| with_variants(name)).collect();
    let mut report = Report::new("proxy", columns, ratios);
    report.setting("nodes", "3-greeting-nodes,loopback,one-process");
    for name in names {
        match *name {
            OURS => {
                report.setting(OURS, balancer::SETTINGS);
                report.setting(SHIPPED, balancer::SHIPPED_SETTINGS);
            }
            HAPROXY => {
                let version = machine::haproxy_version();
                report.setting(HAPROXY, format!("{version},{}", haproxy::SETTINGS));
                report.setting(SPLICE, "haproxy+splice-request+splice-response");
                report.setting(HAPROXY_SHIPPED, haproxy::SHIPPED_SETTINGS);
            }
            _ => {
                report.setting(NGINX, format!("{},{}", machine::nginx_version(), nginx::SETTINGS));
            }
        }
    }
    report
}
