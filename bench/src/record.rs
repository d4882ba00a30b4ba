//! Keeps a run in RESULTS.md: a history, the newest section first, nothing ever taken away.
//!
//! It does not know what the figures mean. Called by `main` when `--record` was given.

use std::fs;
use std::path::Path;

use crate::machine;
use crate::process::{Step, doing};
use crate::report::Printed;

/// New sections go below this line.
const MARK: &str = "<!-- newest first -->\n";

/// Writes one section for a run of `command` into `file`.
pub(crate) fn keep(file: &Path, bench: &str, command: &str, report: &Printed) -> Step<()> {
    let section = format!(
        "\n## {bench} · {}\n\n- machine: {}\n- versions: {}\n- command: `{command}`\n{}\n{}",
        machine::date(),
        machine::machine(),
        machine::versions(),
        report.remarks,
        report.table
    );
    let name = file.display();
    let text = doing(format!("cannot read {name}"), fs::read_to_string(file))?;
    doing(format!("cannot write {name}"), fs::write(file, insert(&text, &section)))
}

/// Puts a section before all others.
fn insert(text: &str, section: &str) -> String {
    match text.find(MARK) {
        Some(at) => {
            let (head, tail) = text.split_at(at + MARK.len());
            format!("{head}{section}{tail}")
        }
        // Someone took the mark away: at the end nothing is lost.
        None => format!("{text}{section}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_section_comes_first_and_none_is_lost() {
        let empty = format!("# Results\n{MARK}");
        let one = insert(&empty, "one\n");
        assert_eq!(insert(&one, "two\n"), format!("# Results\n{MARK}two\none\n"));
        assert_eq!(insert("no mark\n", "one\n"), "no mark\none\n");
    }
}
