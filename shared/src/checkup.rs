//! What a check of a set-up comes to: each thing that is right, and each that is not with the line
//! that says so and the remedy. It does not know what is looked at; both binaries' `check` fill it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
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

    /// How many things are wrong, in words; `None`: none is.
    #[must_use]
    pub fn verdict(&self) -> Option<String> {
        match self.faults() {
            0 => None,
            1 => Some("1 thing is wrong".to_owned()),
            many => Some(format!("{many} things are wrong")),
        }
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

/// Ports below this need a right (ip(7)).
const FIRST_FREE_PORT: u16 = 1024;

/// What differs from program to program where it tries its doors.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// By whom a door is open that is rightly taken; `None`: none of them is.
    pub open_by: Option<&'static str>,
    /// What helps where this machine does not have the address, behind "put … on an interface
    /// (`ip address`)".
    pub no_address: &'static str,
    /// What helps where a port below 1024 may not be opened.
    pub no_right: &'static str,
}

impl Doors {
    /// Says of the door at `address`, which was tried, whether it can be opened, and if not why.
    pub fn tell(
        &self,
        checkup: &mut Checkup,
        key: &str,
        address: SocketAddr,
        tried: io::Result<()>,
    ) {
        match (tried, self.open_by) {
            (Ok(()), _) => checkup.good(key, format!("{address} can be opened")),
            (Err(error), Some(by)) if error.kind() == ErrorKind::AddrInUse => {
                checkup.good(key, format!("{address} is open, by {by}"));
            }
            (Err(error), _) => {
                let (what, remedy) = self.closed(address, &error);
                checkup.fault(key, format!("{address} {what}"), remedy);
            }
        }
    }

    /// Why a door stays closed, and what opens it.
    fn closed(&self, address: SocketAddr, error: &io::Error) -> (String, String) {
        let (ip, port) = (address.ip(), address.port());
        match error.kind() {
            ErrorKind::AddrInUse => (
                "is taken by another program".to_owned(),
                format!(
                    "find it with `ss -ltnp 'sport = :{port}'` and stop it, or listen elsewhere"
                ),
            ),
            ErrorKind::AddrNotAvailable => (
                "cannot be opened: this machine does not have that address".to_owned(),
                format!("put {ip} on an interface (`ip address`){}", self.no_address),
            ),
            ErrorKind::PermissionDenied if port < FIRST_FREE_PORT => (
                "cannot be opened: ports below 1024 need a right".to_owned(),
                self.no_right.to_owned(),
            ),
            _ => (format!("cannot be opened: {error}"), "listen at another address".to_owned()),
        }
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
