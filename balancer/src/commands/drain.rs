//! `balancer drain`, `ready` and `maintenance`: what a node is there for, and waiting until it is
//! empty. It does not know how a node is kept free (`backends` does).

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::ask::{Balancer, Where, read};
use super::{CommandError, print};
use crate::api::{Machine, NODES_PATH};
use crate::backends::Duty;

/// From one look at what is left to the next.
const LOOK: Duration = Duration::from_millis(200);
/// Where nobody sits before it, a line for each change is written no more often than this.
const LINE: Duration = Duration::from_secs(1);
/// So many looks in a row have to find nobody: a client that was just accepted may be on its way.
const EMPTY_LOOKS: u32 = 3;

/// What the balancer answers to an order.
#[derive(Debug, Deserialize)]
struct Obeyed {
    node: Machine,
    warnings: Vec<String>,
}

/// Says what a node is there for.
///
/// # Errors
/// Bad settings, no answer, no such node.
pub(super) fn say(place: &Where, node: &str, duty: Duty) -> Result<(), CommandError> {
    let obeyed = post(&Balancer::find(place)?, node, duty)?;
    let Machine { connections, .. } = obeyed.node;
    let what = match duty {
        Duty::Ready => format!("{node}: ready, {connections} sessions\n"),
        Duty::Drain => format!("{node}: no new sessions, {connections} go on\n"),
        Duty::Maintenance => format!("{node}: no new sessions, {connections} are sent away\n"),
    };
    print(&what).map(drop)
}

/// Says it, and waits until the node has no session left.
///
/// # Errors
/// As [`say`], and when sessions are left after `timeout`, or the node gets new ones.
pub(super) fn say_and_wait(
    place: &Where,
    node: &str,
    duty: Duty,
    timeout: Option<Duration>,
) -> Result<(), CommandError> {
    let balancer = Balancer::find(place)?;
    let obeyed = post(&balancer, node, duty)?;
    if obeyed.node.services.iter().any(|one| one.node.open) {
        let remedy = "make another node ready first (`balancer ready NODE`)";
        let message = format!("{node} still gets new sessions, so it never is empty; {remedy}");
        return Err(CommandError::Failed(message));
    }
    let (began, mut lines, mut empty) = (Instant::now(), Progress::new(node), 0);
    loop {
        let machines: Vec<Machine> = read(&balancer.get(NODES_PATH)?)?;
        let Some(machine) = machines.into_iter().find(|machine| machine.name == node) else {
            lines.end();
            return Err(CommandError::Failed(format!("{node} is no longer in the file")));
        };
        if machine.duty != duty.name() {
            lines.end();
            let message = format!("{node} is {} again: somebody else said so", machine.duty);
            return Err(CommandError::Failed(message));
        }
        let left = machine.connections;
        empty = if left == 0 { empty + 1 } else { 0 };
        lines.show(left);
        if empty >= EMPTY_LOOKS {
            lines.end();
            return print(&format!("{node}: no session is left, safe to reboot\n")).map(drop);
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            lines.end();
            let remedy = "wait on, or send them away: balancer maintenance";
            let message = format!("{node}: {left} sessions are left; {remedy} {node}");
            return Err(CommandError::Failed(message));
        }
        std::thread::sleep(LOOK);
    }
}

fn post(balancer: &Balancer, node: &str, duty: Duty) -> Result<Obeyed, CommandError> {
    let path = format!("{NODES_PATH}/{}/{}", super::name(node)?, duty.name());
    let obeyed: Obeyed = read(&balancer.post(&path, json!({}))?)?;
    for warning in &obeyed.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(obeyed)
}

/// One line that changes on a terminal, lines elsewhere.
struct Progress<'n> {
    node: &'n str,
    on_terminal: bool,
    shown: Option<(usize, Instant)>,
}

impl<'n> Progress<'n> {
    fn new(node: &'n str) -> Self {
        Self { node, on_terminal: std::io::stdout().is_terminal(), shown: None }
    }

    fn show(&mut self, left: usize) {
        let (is_new, is_due) = match self.shown {
            None => (true, true),
            Some((before, when)) => (before != left, when.elapsed() >= LINE),
        };
        if !is_new || !(self.on_terminal || is_due || left == 0) {
            return;
        }
        self.shown = Some((left, Instant::now()));
        let mut out = std::io::stdout().lock();
        // Whether anybody reads on is no matter: what counts is the end.
        let _ = if self.on_terminal {
            write!(out, "\r\x1b[K{}: {left} sessions left", self.node)
        } else {
            writeln!(out, "{}: {left} sessions left", self.node)
        };
        let _ = out.flush();
    }

    fn end(&self) {
        if self.on_terminal && self.shown.is_some() {
            println!();
        }
    }
}
