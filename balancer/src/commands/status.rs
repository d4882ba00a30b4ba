//! `balancer status`: asks a running balancer over its admin port, and shows the answer.
//! It does not know how the answer came to be (`api` does).

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ask::{Balancer, Where, read};
use super::{CommandError, print};
use crate::api::{NodeStatus, OrderStatus, STATUS_PATH, ServiceStatus, Status};

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";
/// The table's first line.
const HEADER: [&str; 11] =
    ["NODE", "ADDRESS", "STATE", "FOR", "NOW", "NEW/S", "P50", "P99", "WEIGHT", "FAILED", "WHY"];

/// Shows the status once, or again and again.
///
/// # Errors
/// Bad settings, or no answer.
pub(super) fn status(place: &Where, json: bool, watch: bool) -> Result<(), CommandError> {
    let balancer = Balancer::find(place)?;
    let clear = watch && !json && std::io::stdout().is_terminal();
    loop {
        let answer = balancer.get(STATUS_PATH);
        let shown = match answer {
            Ok(answer) if json => answer,
            Ok(answer) => table(&read(&answer)?, now()),
            // Who watches wants to see it come back.
            Err(error) if clear => error.to_string(),
            Err(error) => return Err(error),
        };
        let clear = if clear { CLEAR } else { "" };
        let read = print(&format!("{clear}{}\n", shown.trim_end()))?;
        if !watch || !read {
            return Ok(());
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The status for people, as it is at second `now` of the epoch.
fn table(status: &Status, now: u64) -> String {
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
        text += &head(service, now);
        let mut rows = vec![HEADER.map(str::to_owned)];
        rows.extend(service.nodes.iter().map(|node| row(node, now)));
        text += &columns(&rows);
    }
    for left in &status.leaving {
        let (service, node, sessions) = (&left.service, &left.node, left.connections);
        let _ = writeln!(text, "\n{node} of {service} is no longer in the file: {sessions} left");
    }
    text
}

fn head(service: &ServiceStatus, now: u64) -> String {
    let listen: Vec<_> = service.listen.iter().map(ToString::to_string).collect();
    format!(
        "\n{} ({}, {}{}) at {}: {} connections so far, {} moved on, {} without a node\n",
        service.name,
        service.protocol,
        service.mode,
        service.mode_order.as_ref().map(|order| said(order, now)).unwrap_or_default(),
        listen.join(" "),
        service.connections_total,
        service.retries_total,
        service.no_node_total,
    )
}

fn row(node: &NodeStatus, now: u64) -> [String; HEADER.len()] {
    let since = node.duty_order.as_ref().map_or(node.state_since, |order| order.since);
    let millis =
        |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}ms"));
    let mark = if node.weight_order.is_some() { "*" } else { "" };
    [
        node.name.clone(),
        node.address.to_string(),
        node.word().to_owned(),
        ago(now.saturating_sub(since)),
        node.connections.to_string(),
        format!("{:.1}", node.connects_per_second),
        millis(node.greeting_p50_ms),
        millis(node.greeting_p99_ms),
        format!("{}{mark}", node.weight),
        node.failures_total.to_string(),
        why(node, now),
    ]
}

/// Why it is as it is; nothing where all is well.
fn why(node: &NodeStatus, now: u64) -> String {
    let mut reasons = Vec::new();
    if let Some(order) = &node.duty_order {
        reasons.push(format!("said by {}", order.by));
        if node.open {
            reasons.push("used all the same: nobody else is ready".to_owned());
        }
        if node.state == "down" {
            reasons.push("down".to_owned());
        }
    }
    if node.state == "down" || node.failures_total > 0 {
        reasons.extend(node.last_failure.iter().map(|failure| format!("last failure: {failure}")));
    }
    if let Some(order) = &node.weight_order {
        reasons.push(format!("*weight{}", said(order, now)));
    }
    reasons.join("; ")
}

fn said(order: &OrderStatus, now: u64) -> String {
    format!(", said by {} {} ago", order.by, ago(now.saturating_sub(order.since)))
}

/// A time in the unit that suits it.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
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
