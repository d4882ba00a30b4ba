//! Do the examples under `configs/` load, and do they show every key there is?
//! It does not know the keys; the programs' own `check` reads the files, and a program that is
//! asked for an unknown key lists those it knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::node::PORT_NAMES;
use harness::program::{our_command, project};
use harness::{Finished, run};

/// Runs `PROGRAM check --config FILE` with what the example takes from the environment.
fn check(program: &str, path: &Path) -> Finished {
    let mut command = our_command(program);
    command.args(["check", "--config"]).arg(path);
    if program == "balancer" {
        // The nodes of an example are not here.
        command.arg("--file-only");
    }
    command.env("NODE", "node1");
    for (name, value) in PORT_NAMES.into_iter().zip(["9211", "9221", "9231", "9201"]) {
        command.env(name, value);
    }
    run(&mut command, b"")
}

fn example(name: &str) -> String {
    let path = project().join("configs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_example_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["balancer.yaml", "mailnode.yaml", "local/balancer.yaml", "local/mailnode.yaml"] {
        let program = if name.contains("balancer") { "balancer" } else { "mailnode" };
        let path = folder.path().join(name.replace('/', "-"));
        let here = folder.path().to_string_lossy();
        fs::write(&path, example(name).replace("@DIR@", &here)).expect("a file");
        let finished = check(program, &path);
        // What the example names (other machines, a database) need not be there: that is 1.
        assert!(
            [Some(0), Some(1)].contains(&finished.code),
            "configs/{name} is refused with {:?}:\n{}{}",
            finished.code,
            finished.text(),
            finished.stderr
        );
    }
}

#[test]
fn every_key_is_shown() {
    for (program, name) in [("balancer", "balancer.yaml"), ("mailnode", "mailnode.yaml")] {
        let text = example(name);
        let known = known_keys(program, &text);
        assert!(known.len() > 15, "{program} tells few keys: {known:?}");
        let missing: Vec<_> = known.iter().filter(|key| !shows(&text, key)).collect();
        assert!(missing.is_empty(), "configs/{name} does not show {missing:?}");
    }
}

/// Whether a key stands in the text, in a comment or not.
fn shows(text: &str, key: &str) -> bool {
    let wanted = format!("{key}:");
    text.match_indices(&wanted).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}

/// All keys a program lists when an unknown one stands beside each key of its example.
fn known_keys(program: &str, text: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("asks.yaml");
    let mut known = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let (indent, is_key) = key_indent(line);
        if !is_key {
            continue;
        }
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.insert(index, format!("{indent}nonsense_key: 1"));
        fs::write(&path, lines.join("\n") + "\n").expect("a file");
        let finished = check(program, &path);
        let said = format!("{}{}", finished.text(), finished.stderr);
        let allowed = said.lines().filter(|line| line.contains("nonsense_key"));
        for list in allowed.filter_map(|line| line.split_once("allowed")) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let words = list.1.split(|c| !is_part(c)).filter(|word| !word.is_empty());
            known.extend(words.map(str::to_owned));
        }
    }
    known
}

/// The indentation of a line's key, and whether a key begins in it.
fn key_indent(line: &str) -> (&str, bool) {
    let rest = line.trim_start_matches(' ');
    let indent = &line[..line.len() - rest.len()];
    let name = rest.split(':').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (indent, is_name && rest.contains(':'))
}
