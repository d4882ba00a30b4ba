//! What clients suffered while a node went wrong, told twice: as a table for people and as one
//! `name=value ...` line for each fault and protocol.
//!
//! It does not know how it was measured. Filled by `scenario::failover`, printed by `main`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::faults::visits::Tally;
use crate::faults::{Fault, Voice};
use crate::report::{Printed, aligned};

/// Which row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What befell the node.
    pub(crate) fault: Fault,
    /// What was spoken.
    pub(crate) voice: Voice,
}

/// What one run has shown of one contender.
pub(crate) struct Seen {
    /// Where it belongs.
    pub(crate) row: Row,
    /// Whose it is.
    pub(crate) contender: &'static str,
    /// What the clients say.
    pub(crate) tally: Tally,
    /// How many were taken to another node on the same connection, says the balancer.
    pub(crate) moved: u64,
}

/// What the clients of one contender suffered in one row, all rounds together.
#[derive(Clone, Debug, Default)]
struct Suffered {
    clients: u64,
    failed: u64,
    cut: u64,
    worst: Duration,
    moved: u64,
    first_failure: Option<String>,
}

/// The whole table.
pub(crate) struct Outages {
    contenders: Vec<&'static str>,
    rows: Vec<(Row, BTreeMap<&'static str, Suffered>)>,
    settings: Vec<(&'static str, String)>,
    late: Duration,
    notes: Vec<String>,
}

impl Outages {
    /// An empty table with these columns.
    pub(crate) fn new(contenders: Vec<&'static str>) -> Self {
        Self { contenders, rows: vec![], settings: vec![], late: Duration::ZERO, notes: vec![] }
    }

    /// Says how a contender was set.
    pub(crate) fn setting(&mut self, name: &'static str, words: impl Into<String>) {
        self.settings.push((name, words.into()));
    }

    /// Adds a sentence under the table.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Adds what came of one run.
    pub(crate) fn add(&mut self, seen: &Seen) {
        let Seen { row, contender, tally, moved } = seen;
        let found = self.rows.iter().position(|(one, _)| one == row);
        let at = found.unwrap_or(self.rows.len());
        if found.is_none() {
            self.rows.push((*row, BTreeMap::new()));
        }
        let suffered = self.rows[at].1.entry(contender).or_default();
        suffered.clients += tally.clients;
        suffered.failed += tally.failed;
        suffered.cut += tally.cut;
        suffered.worst = suffered.worst.max(tally.worst);
        suffered.moved += moved;
        let first = suffered.first_failure.take();
        suffered.first_failure = first.or_else(|| tally.first_failure.clone());
        self.late = self.late.max(tally.late);
    }

    /// As it is shown and kept.
    pub(crate) fn printed(&self) -> Printed {
        let gaps = self.rows.iter().flat_map(|(row, columns)| {
            let missing = |name: &&&str| columns.get(**name).is_none_or(|one| one.clients == 0);
            let names = self.contenders.iter().filter(missing);
            names.map(|name| format!("{name} {} {}", row.fault.name(), row.voice.name()))
        });
        Printed {
            table: self.table(),
            remarks: self.remarks(),
            lines: self.lines(),
            gaps: gaps.collect(),
        }
    }

    fn table(&self) -> String {
        let mut head = vec!["fault".to_owned(), "protocol".to_owned(), "aim: ms".to_owned()];
        for name in &self.contenders {
            head.extend(
                ["failed", "worst ms", "moved", "cut"].map(|word| format!("{name}: {word}")),
            );
        }
        let mut rows = vec![head];
        for (row, columns) in &self.rows {
            let mut cells = vec![row.fault.name().to_owned(), row.voice.name().to_owned()];
            cells.push(format!("< {}", row.fault.goal_ms()));
            for name in &self.contenders {
                cells.extend(columns.get(name).map_or_else(
                    || ["-"; 4].map(str::to_owned),
                    |one| {
                        let counts = [one.failed, one.moved, one.cut].map(|n| n.to_string());
                        let [failed, moved, cut] = counts;
                        [failed, milliseconds(one.worst), moved, cut]
                    },
                ));
            }
            rows.push(cells);
        }
        aligned(&rows)
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        for (row, columns) in &self.rows {
            let (fault, protocol) = (row.fault.name(), row.voice.name());
            let goal = row.fault.goal_ms();
            let _ = write!(text, "bench=failover fault={fault} protocol={protocol} aim_ms={goal}");
            for (name, one) in columns {
                let worst = milliseconds(one.worst);
                let Suffered { clients, failed, cut, moved, .. } = one;
                let _ = write!(
                    text,
                    " {name}_clients={clients} {name}_failed={failed} {name}_worst_ms={worst} \
                     {name}_moved={moved} {name}_cut={cut}"
                );
            }
            text.push('\n');
        }
        text
    }

    fn remarks(&self) -> String {
        let mut text = String::new();
        for (name, words) in &self.settings {
            let _ = writeln!(text, "- {name}: {words}");
        }
        let _ = writeln!(
            text,
            "- failed: clients without a greeting, or with a refusal; worst: the longest wait for \
             the first word, of those that failed too (3,500 ms is where they give up); moved: \
             taken to another node on the same connection; cut: sessions lost after the greeting \
             (those that were open at the node cannot be saved by anyone)\n\
             - a client every millisecond for each protocol, the fault after a fifth of the time; \
             contenders at the same time, each before three nodes of its own; the clock of the \
             clients was late by {} ms at worst",
            milliseconds(self.late)
        );
        for note in self.notes.iter().cloned().chain(self.first_failures()) {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// One for each contender and fault: the first protocol in which somebody failed.
    fn first_failures(&self) -> Vec<String> {
        let mut told: Vec<(&str, Fault)> = Vec::new();
        let mut notes = Vec::new();
        for (Row { fault, voice }, columns) in &self.rows {
            for (name, one) in columns {
                let Some(first) = &one.first_failure else { continue };
                if !told.contains(&(name, *fault)) {
                    told.push((name, *fault));
                    let (fault, voice) = (fault.name(), voice.name());
                    notes.push(format!("{name}, {fault}, {voice}: the first to fail: {first}"));
                }
            }
        }
        notes
    }
}

/// One digit behind the point.
fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_add_up_and_the_worst_stays() {
        let mut outages = Outages::new(vec!["ours"]);
        let row = Row { fault: Fault::Killed, voice: Voice::Smtp };
        for (failed, worst) in [(1, 7), (2, 5)] {
            let worst = Duration::from_millis(worst);
            let tally = Tally { clients: 10, failed, worst, ..Tally::default() };
            outages.add(&Seen { row, contender: "ours", tally, moved: 4 });
        }
        let lines = outages.printed().lines;
        assert_eq!(
            lines,
            "bench=failover fault=killed protocol=smtp aim_ms=25 ours_clients=20 ours_failed=3 \
             ours_worst_ms=7.0 ours_moved=8 ours_cut=0\n"
        );
    }

    #[test]
    fn nobody_served_is_a_gap() {
        let mut outages = Outages::new(vec!["ours", "peer"]);
        let row = Row { fault: Fault::Slow, voice: Voice::Imap };
        let tally = Tally { clients: 1, ..Tally::default() };
        outages.add(&Seen { row, contender: "ours", tally, moved: 0 });
        assert_eq!(outages.printed().gaps, ["peer slow imap"]);
    }
}
