//! `balancer status`: asks a running balancer over its admin port, and shows the answer.
//! It does not know how the answer came to be (`api` does).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{CommandError, print};
use crate::api::{STATUS_PATH, Status};
use crate::config;

/// A balancer that does not answer for so long does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A longer answer is not one of ours.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows the status once, or again and again.
///
/// # Errors
/// Bad settings, or no answer.
pub(super) fn status(
    path: Option<&Path>,
    admin: Option<SocketAddr>,
    json: bool,
    watch: bool,
) -> Result<(), CommandError> {
    let address = match (admin, path) {
        (Some(address), _) => address,
        (None, Some(path)) => config::read(path)?.admin,
        (None, None) => return Err(CommandError::Failed("needed: --config or --admin".to_owned())),
    };
    if address.port() == 0 {
        let remedy = "the file's admin port is any free one; take --admin with the one in its log";
        return Err(CommandError::Failed(remedy.to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Failed(error.to_string()))?;
    loop {
        let answer = runtime.block_on(async {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask(address)).await;
            answer.unwrap_or_else(|_| Err("no answer within 5 s".into()))
        });
        let answer = answer.map_err(|error| {
            CommandError::Failed(format!("the balancer at {address} cannot be asked: {error}"))
        })?;
        let shown = if json { answer } else { table(&read(&answer)?) };
        let clear = if watch && !json { CLEAR } else { "" };
        let read = print(&format!("{clear}{}\n", shown.trim_end()))?;
        if !watch || !read {
            return Ok(());
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

async fn ask(address: SocketAddr) -> Result<String, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(STATUS_PATH).header("Host", address.to_string());
    let request = request.body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let body = String::from_utf8(body.to_vec())?;
        match status {
            StatusCode::OK => Ok(body),
            _ => Err(format!("it says {status}: {}", body.trim_end()).into()),
        }
    };
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(error.into()),
    }
}

fn read(json: &str) -> Result<Status, CommandError> {
    let foreign = |error| CommandError::Failed(format!("this is no answer of a balancer: {error}"));
    serde_json::from_str(json).map_err(foreign)
}

/// The status for people.
fn table(status: &Status) -> String {
    let mut text = format!(
        "balancer {}: {} of {} connections{}\nsettings: {}, {}\n",
        status.version,
        status.connections,
        status.connections_max,
        if status.stopping { ", stopping" } else { "" },
        status.config.file,
        if status.config.valid { "in force" } else { "NOT in force, it has faults:" },
    );
    for fault in &status.config.faults {
        let _ = writeln!(text, "  {fault}");
    }
    if let Some(address) = &status.virtual_ip {
        let (held, problem) = (if address.held { "held" } else { "NOT held" }, &address.problem);
        let problem = problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "virtual address: {} at {}, {held}{problem}",
            address.address, address.interface
        );
    }
    for service in &status.services {
        let listen: Vec<_> = service.listen.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "\n{} ({}, {}) at {}: {} connections so far, {} moved on, {} without a node",
            service.name,
            service.protocol,
            service.mode,
            listen.join(" "),
            service.connections_total,
            service.retries_total,
            service.no_node_total,
        );
        let header = ["NODE", "ADDRESS", "WEIGHT", "STATE", "NOW", "CONNECTS", "FAILURES"];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(service.nodes.iter().map(|node| {
            [
                node.name.clone(),
                node.address.to_string(),
                node.weight.to_string(),
                node.state.clone(),
                node.connections.to_string(),
                node.connects_total.to_string(),
                node.failures_total.to_string(),
            ]
        }));
        text += &columns(&rows);
        for node in &service.nodes {
            if let Some(failure) = &node.last_failure {
                let _ = writeln!(text, "  {}: last failure: {failure}", node.name);
            }
        }
    }
    text
}

fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:width$}"));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}
