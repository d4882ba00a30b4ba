//! What a check of a set-up comes to: each thing that is right, and each that is not with the line
//! that says so and the remedy. It does not know what is looked at; both binaries' `check` fill it.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::config::Places;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// `ok` or `fault`.
    pub state: State,
    /// The setting it was read from, such as `services[0].nodes[1].address`; may be empty.
    pub key: String,
    /// Where that stands; where it is not written, the line above which it would be. 0: nowhere.
    pub line: usize,
    /// Its column, from 1; 0: nowhere.
    pub column: usize,
    /// What was seen, in a sentence.
    pub what: String,
    /// What to do about it; empty where all is well.
    pub remedy: String,
}

/// Whether something is as it has to be.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Ok,
    /// A node or balancer would not work, or not as it is meant to.
    Fault,
}

/// All that was looked at, in order.
#[derive(Debug, Serialize)]
pub struct Checkup {
    file: String,
    findings: Vec<Finding>,
    #[serde(skip)]
    places: Places,
}

impl Checkup {
    /// Of the set-up that this settings file describes.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let name = file.display().to_string();
        Self { file: name, findings: Vec::new(), places: Places::of_file(file) }
    }

    /// This is right.
    pub fn good(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.add(State::Ok, key.into(), what.into(), String::new());
    }

    /// This is wrong, and this helps.
    pub fn fault(
        &mut self,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(State::Fault, key.into(), what.into(), remedy.into());
    }

    fn add(&mut self, state: State, key: String, what: String, remedy: String) {
        let (line, column) = self.places.find(&key).unwrap_or_default();
        self.findings.push(Finding { state, key, line, column, what, remedy });
    }

    /// All that was looked at.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many things are wrong.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.findings.iter().filter(|finding| finding.state == State::Fault).count()
    }

    /// For people: a line for each thing, what is wrong last with its remedy below it. Control
    /// characters, which a stranger's greeting may hold, are escaped.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let of = |state| self.findings.iter().filter(move |finding| finding.state == state);
        for Finding { key, what, .. } in of(State::Ok) {
            let _ = writeln!(text, "ok     {key}: {}", visible(what));
        }
        for Finding { key, line, column, what, remedy, .. } in of(State::Fault) {
            let place = if *line > 0 { format!(":{line}:{column}") } else { String::new() };
            let _ = writeln!(text, "FAULT  {}{place}: {key}: {}", self.file, visible(what));
            let _ = writeln!(text, "       remedy: {}", visible(remedy));
        }
        text
    }
}

fn visible(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_line_and_its_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.yaml");
        std::fs::write(&file, "x: 1\nport: 25\n").expect("a file");
        let mut checkup = Checkup::of(&file);
        checkup.good("x", "fits");
        checkup.fault("port", "is taken\u{1b}[2J", "stop the other program");
        assert_eq!(checkup.faults(), 1);
        let file = file.display();
        let wanted = format!(
            "ok     x: fits\nFAULT  {file}:2:1: port: is taken\\u{{1b}}[2J\n       \
             remedy: stop the other program\n"
        );
        assert_eq!(checkup.text(), wanted);
    }
}
