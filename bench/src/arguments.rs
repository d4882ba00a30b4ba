//! What may be said on the command line.
//!
//! It does not know what comes of it. Called by `main`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::faults::Fault;
use crate::faults::node::Port;
use crate::load::Amount;

/// Load generator and benches of the mail cluster.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Our balancer beside HAProxy and nginx (about 2.5 minutes)
    Proxy(Measure),
    /// System calls of our balancer and of HAProxy, by connection and by round trip (20 seconds)
    Syscalls(Measure),
    /// 9,000 idle connections held at once, and what that costs (about 40 seconds)
    Idle(Measure),
    /// A GiB each way at once before a slow reader: memory, and every octet (about 1 minute)
    Slow(Measure),
    /// Our balancer beside HAProxy while a node goes wrong (about 3 minutes)
    Failover(Measure),
    /// One fault, short: shows that `failover` runs, measures nothing
    FailoverSmoke(Measure),
    /// A node that does wrong from SIGUSR1 on
    #[command(hide = true)]
    FaultNode {
        /// What it does then
        #[arg(long)]
        fault: Fault,
        /// Where it listens: PROTOCOL=ADDRESS
        #[arg(required = true, value_parser = Port::parse)]
        ports: Vec<Port>,
    },
    /// Our mail nodes beside Postfix (about 3 minutes)
    Delivery(Measure),
    /// Both with tiny counts: shows that the benches run, measures nothing (seconds)
    Smoke(Measure),
    /// The generator alone, against any address
    Load {
        #[command(subcommand)]
        kind: Kind,
    },
    /// Nodes that greet, echo, count and throw mail away, until a signal comes
    Nodes {
        /// Addresses to listen on
        #[arg(required = true)]
        listen: Vec<SocketAddr>,
        /// Each connection begins with a PROXY header, version 2
        #[arg(long)]
        proxied: bool,
    },
}

/// How a bench is measured.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// How often everything is measured
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Seconds of one run
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// How many runs may be done again because other programs used the processors
    #[arg(long)]
    pub(crate) again: Option<u32>,
    /// Write the medians into bench/RESULTS.md
    #[arg(long)]
    pub(crate) record: bool,
    /// Only these, with commas between: ours,haproxy,nginx or node,three,postfix
    #[arg(long, value_delimiter = ',')]
    pub(crate) contenders: Vec<String>,
    /// Where files go, on the disk to be measured [default: target, $TMPDIR, /var/tmp]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A time or a count.
#[derive(Debug, Args)]
pub(crate) struct Extent {
    /// Seconds the load lasts
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Steps instead of a time: connections, round trips, messages, sessions
    #[arg(long, conflicts_with = "seconds")]
    count: Option<u64>,
}

impl Extent {
    /// As the generator takes it.
    pub(crate) fn read(&self) -> Amount {
        let time = Amount::Time(Duration::from_secs_f64(self.seconds.max(0.0)));
        self.count.map_or(time, Amount::Count)
    }
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// Connect, read the greeting, QUIT, read to the end (SMTP or POP3)
    Churn {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Connections at once
        #[arg(long, short = 'c', default_value_t = 64)]
        clients: usize,
        #[command(flatten)]
        amount: Extent,
    },
    /// Round trips of 64 bytes over kept connections (to `bench nodes`)
    Rtt {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Connections at once
        #[arg(long, short = 'c', default_value_t = 16)]
        clients: usize,
        #[command(flatten)]
        amount: Extent,
        /// NOOP and its reply instead: any SMTP server answers
        #[arg(long)]
        noop: bool,
    },
    /// Bulk upward over a few streams (to `bench nodes`)
    Up {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Streams at once
        #[arg(long, default_value_t = 4)]
        streams: usize,
        /// MiB through each
        #[arg(long, default_value_t = 256)]
        mib: u64,
    },
    /// Connections that read the greeting and say nothing
    Idle {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Connections
        #[arg(long, short = 'c', default_value_t = 1000)]
        clients: usize,
        /// How long they are held
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Mail in; only a 250 to the end of data counts
    Smtp {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Senders at once
        #[arg(long, short = 'c', default_value_t = 16)]
        senders: usize,
        #[command(flatten)]
        amount: Extent,
        /// Bytes of a message
        #[arg(long, default_value_t = 4096)]
        size: usize,
        /// How many mailboxes take turns
        #[arg(long, default_value_t = 1)]
        mailboxes: u64,
        /// Their address; {} stands for 0, 1, ...
        #[arg(long, default_value = "alice@example.test")]
        recipient: String,
        /// Keep the connection for all messages of a sender
        #[arg(long)]
        keep: bool,
    },
    /// Mail out: log in, count, read, leave
    Pop3 {
        /// Where to
        #[arg(long)]
        to: SocketAddr,
        /// Sessions at once
        #[arg(long, short = 'c', default_value_t = 8)]
        clients: usize,
        #[command(flatten)]
        amount: Extent,
        /// Login; {} stands for 0, 1, ...
        #[arg(long, default_value = "alice@example.test")]
        user: String,
        /// Password of all
        #[arg(long, default_value = "alice-example")]
        password: String,
        /// How many mailboxes take turns
        #[arg(long, default_value_t = 1)]
        mailboxes: u64,
        /// Messages read in a session at most
        #[arg(long, default_value_t = 1)]
        retrieve: u64,
    },
}
