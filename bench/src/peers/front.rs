//! A balancer that stands before several services, and how often it has moved clients on.
//!
//! It does not know how a balancer is set. `balancer` and `haproxy` build one for
//! `scenario::failover`.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::faults::Voice;
use crate::process::{Daemon, Failure, Step, doing};

/// A service: where clients come, and the nodes behind it.
pub(crate) struct ServiceOf {
    /// What is spoken.
    pub(crate) voice: Voice,
    /// Where clients come.
    pub(crate) front: SocketAddr,
    /// Its nodes; the first is the one that goes wrong.
    pub(crate) nodes: Vec<SocketAddr>,
}

/// Where a balancer tells its counts.
pub(crate) enum Counts {
    /// Our `/metrics`.
    Metrics(SocketAddr),
    /// HAProxy's socket, `show stat`.
    Stats(PathBuf),
}

/// Reads the count of a service in such a text.
type Count = fn(&str, &str) -> Option<u64>;

/// A running balancer.
pub(crate) struct Front {
    _daemon: Daemon,
    counts: Counts,
}

impl Front {
    /// A program that is ready.
    pub(crate) fn new(daemon: Daemon, counts: Counts) -> Self {
        Self { _daemon: daemon, counts }
    }

    /// How often clients of each service were taken to another node so far.
    pub(crate) async fn retries(&self, services: &[ServiceOf]) -> Step<Vec<u64>> {
        let (text, count): (String, Count) = match &self.counts {
            Counts::Metrics(address) => {
                let stream = doing(address, TcpStream::connect(address).await)?;
                let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
                (ask(stream, request).await?, in_metrics)
            }
            Counts::Stats(path) => {
                let stream = doing(path.display(), UnixStream::connect(path).await)?;
                (ask(stream, "show stat\n").await?, in_stats)
            }
        };
        let of = |service: &ServiceOf| {
            let name = service.voice.name();
            count(&text, name).ok_or_else(|| Failure(format!("no count of moved clients: {name}")))
        };
        services.iter().map(of).collect()
    }
}

async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> Step<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn in_metrics(text: &str, service: &str) -> Option<u64> {
    let series = format!("balancer_service_retries_total{{service=\"{service}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

/// Retries on the same server and moves to another one.
fn in_stats(text: &str, service: &str) -> Option<u64> {
    let head = text.lines().next()?.trim_start_matches("# ");
    let column = |name: &str| head.split(',').position(|field| field == name);
    let row = text.lines().find(|line| line.starts_with(&format!("{service},BACKEND,")))?;
    let fields: Vec<&str> = row.split(',').collect();
    let number = |name| fields.get(column(name)?)?.parse::<u64>().ok();
    Some(number("wretr")? + number("wredis")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_texts_are_understood() {
        let metrics = "# HELP x\nbalancer_service_retries_total{service=\"smtp\"} 7\n";
        assert_eq!(in_metrics(metrics, "smtp"), Some(7));
        assert_eq!(in_metrics(metrics, "pop3"), None);
        let stats = "# pxname,svname,wretr,wredis,\nsmtp,node1,1,1,\nsmtp,BACKEND,2,3,\n";
        assert_eq!(in_stats(stats, "smtp"), Some(5));
    }
}
