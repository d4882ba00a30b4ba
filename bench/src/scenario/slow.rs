//! `bench slow`: a GiB each way at once over one connection whose client reads slowly: every octet
//! comes through, and nobody holds what is not read yet.
//!
//! It does not know how octets are made or compared (`load::both`). Called by `main`.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use crate::accounting::{Meter, anonymous_bytes};
use crate::load::both;
use crate::peers::{Nodes, Peer};
use crate::process::{Failure, Step, Workplace};
use crate::report::{Ratio, Report};

use super::pair::{HAPROXY, OURS, start};
use super::{Finished, Options, Quiet, SETTLE, turns};

const MIB: u64 = 1 << 20;
/// From one look at the memory to the next.
const LOOK: Duration = Duration::from_millis(100);

/// What one run has shown.
struct Seen {
    took: Duration,
    cpu: Duration,
    own: u64,
    kernel: u64,
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Step<Finished> {
    let place = Workplace::new(&options.parents)?;
    let nodes = Nodes::start(place.path(), false).await?;
    let names = options.choose(&[OURS, HAPROXY])?;
    let ratios = vec![Ratio { name: "ratio", of: OURS, to: HAPROXY }];
    let mut report = Report::new("slow", names.clone(), ratios);
    report
        .note("kernel memory is that of all sockets of the machine, generator and nodes included");
    let mut quiet = Quiet::new(options.again_max);
    let (mib, pace) = if options.tiny { (16, 32) } else { (1024, 128) };
    let load = format!("kind=both mib={mib} reader_mib_per_s={pace}");
    for round in 0..options.rounds {
        for name in turns(&names, round) {
            let peer = start(name, round, &place, &nodes, &mut report).await?;
            let helpers = [nodes.group()];
            let once = async || once(&peer, &helpers, mib * MIB, pace * MIB).await;
            let seen = quiet.measure(once).await.map_err(|f| Failure(format!("{name}: {f}")))?;
            let mut add = |figure, unit, value| report.add(figure, &load, unit, name, value);
            let mebibytes = |bytes: u64| bytes as f64 / MIB as f64;
            add("own_memory_more_at_most", "mib", mebibytes(seen.own));
            add("kernel_memory_at_most", "mib", mebibytes(seen.kernel));
            add("cpu_per_gib", "s", seen.cpu.as_secs_f64() * 512.0 / mib as f64);
            add("time", "s", seen.took.as_secs_f64());
        }
    }
    quiet.note(&mut report);
    Ok(Finished { report, troubles: Vec::new() })
}

/// One run, and the foreign share.
async fn once(
    peer: &Peer,
    helpers: &[rustix::process::Pid],
    bytes: u64,
    pace: u64,
) -> Step<(Seen, f64)> {
    let before = anonymous_bytes(peer.group());
    let (own, kernel) = (Cell::new(0), Cell::new(0));
    let look = async {
        loop {
            let more = anonymous_bytes(peer.group()).saturating_sub(before);
            own.set(own.get().max(more));
            kernel.set(kernel.get().max(socket_bytes()));
            tokio::time::sleep(LOOK).await;
        }
    };
    let meter = Meter::start(&[peer.group()], helpers);
    let took = tokio::select! {
        took = both::run(peer.address(), bytes, pace) => took,
        () = look => unreachable!("it looks for ever"),
    };
    let took = took.map_err(|fault| Failure(fault.to_string()))?;
    tokio::time::sleep(SETTLE).await;
    let usage = meter.stop();
    // Nothing more at all is a page, for the sake of ratios.
    let own = own.get().max(4096);
    Ok((Seen { took, cpu: usage.cpu, own, kernel: kernel.get() }, usage.foreign))
}

/// What all TCP sockets of this network hold (proc(5), `/proc/net/sockstat`: pages).
fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem");
    words.nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
