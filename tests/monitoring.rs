//! Do the alert rules, the dashboard and the README's table name what a real balancer tells?
//! It does not know what a metric counts; promtool judges rules and queries, the running balancer
//! and the help texts in its source say what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::program::project;
use harness::source::rust;
use harness::{Cluster, run};
use serde_json::Value;

const TABLE_BEGINS: &str = "<!-- metrics of the balancer: the test `monitoring` holds it -->";
const TABLE_ENDS: &str = "<!-- end of metrics -->";

fn read(path: &str) -> String {
    let path = project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn promtool(folder: &Path, words: &[&str]) -> String {
    let mut promtool = Command::new("promtool");
    let finished = run(promtool.args(words).current_dir(folder), b"");
    let said = finished.text() + &finished.stderr;
    assert!(finished.code == Some(0), "promtool {words:?}: {:?}\n{said}", finished.code);
    said
}

/// What a metric is.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    kind: String,
    help: String,
}

/// Every metric that the balancer's source describes, by name.
fn described() -> BTreeMap<String, Described> {
    let mut metrics = BTreeMap::new();
    for source in rust().into_iter().filter(|one| one.path.starts_with("balancer/src/")) {
        for call in source.text.split("describe_").skip(1) {
            let Some((kind, rest)) = call.split_once("!(") else { continue };
            if !["counter", "gauge", "histogram"].contains(&kind) {
                continue;
            }
            let mut strings = rest.split('"').skip(1).step_by(2);
            let (Some(name), Some(help)) = (strings.next(), strings.next()) else { continue };
            // A line that goes on in the source goes on in the text.
            let help = help.split("\\\n").map(str::trim_start).collect::<Vec<_>>().concat();
            metrics.insert(name.to_owned(), Described { kind: kind.to_owned(), help });
        }
    }
    assert!(metrics.len() > 15, "few metrics are described: {metrics:?}");
    metrics
}

/// The names of metrics in a text, without what Prometheus adds to those of a histogram.
fn names(text: &str) -> BTreeSet<String> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !part(letter)).filter(|word| word.starts_with("balancer_"));
    let base = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    words.map(base).collect()
}

#[test]
fn promtool_is_content_with_the_alerts() {
    let folder = project().join("configs/prometheus");
    promtool(&folder, &["check", "rules", "alerts.yml"]);
    promtool(&folder, &["test", "rules", "alerts_test.yml"]);
}

#[test]
fn every_alert_is_seen_to_fire_and_to_be_silent() {
    let (rules, tests) =
        (read("configs/prometheus/alerts.yml"), read("configs/prometheus/alerts_test.yml"));
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let fires = tests.contains(&format!("- alertname: {alert}\n"));
        let is_silent = tests.contains(&format!("{{alertname: {alert}, "));
        assert!(fires && is_silent, "{alert}: fires {fires}, is silent {is_silent}");
    }
}

#[test]
fn all_that_is_asked_for_is_told() {
    let cluster = Cluster::start(1);
    let metrics = cluster.metrics();
    let told: BTreeSet<_> = metrics
        .text()
        .lines()
        .filter_map(|line| {
            let name = line.strip_prefix("# HELP ")?.split(' ').next()?;
            name.starts_with("balancer_").then(|| name.to_owned())
        })
        .collect();
    let described = described();
    for (name, Described { kind, help }) in &described {
        if told.contains(name) {
            let lines = [format!("# HELP {name} {help}\n"), format!("# TYPE {name} {kind}\n")];
            assert!(lines.iter().all(|line| metrics.text().contains(line)), "no {lines:?}");
        }
    }
    let undescribed: Vec<_> = told.iter().filter(|name| !described.contains_key(*name)).collect();
    assert!(undescribed.is_empty(), "told and not described in the source: {undescribed:?}");
    // These are told only where the file asks for the address; its tests look at them.
    let rare = |name: &String| name.starts_with("balancer_virtual_ip_");
    for path in ["configs/prometheus/alerts.yml", "configs/grafana/balancer.json"] {
        let asked = names(&read(path));
        assert!(asked.len() > 5, "{path} asks for {asked:?}");
        let there =
            |name: &String| told.contains(name) || (rare(name) && described.contains_key(name));
        let missing: Vec<_> = asked.iter().filter(|name| !there(name)).collect();
        assert!(missing.is_empty(), "{path} asks for {missing:?}; there is {told:?}");
    }
}

#[test]
fn the_dashboard_is_whole_and_its_queries_are_sound() {
    let text = read("configs/grafana/balancer.json");
    let board: Value = serde_json::from_str(&text).expect("it is JSON");
    for key in ["uid", "title", "schemaVersion", "templating", "time"] {
        assert!(!board[key].is_null(), "no {key}");
    }
    let panels = board["panels"].as_array().expect("a list of panels");
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    let annotation = board["annotations"]["list"][0]["expr"].as_str().map(str::to_owned);
    let mut queries = vec![annotation.expect("its annotation asks")];
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64());
        assert!(place.iter().all(Option::is_some), "{title} has no place: {place:?}");
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{title} asks nothing"));
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            queries.push(target["expr"].as_str().expect("a query").to_owned());
        }
    }
    for (number, query) in queries.iter().enumerate() {
        let query = query.replace("$__rate_interval", "1m").replace("$service", ".*");
        let query = query.replace("$instance", ".*");
        assert!(!query.contains('$'), "a variable that is not there: {query}");
        let query = Value::from(query);
        rules += &format!("      - {{record: \"q:{number}\", expr: {query}}}\n");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("queries.yml"), rules).expect("it is written");
    promtool(folder.path(), &["check", "rules", "queries.yml"]);
}

#[test]
fn the_readme_s_table_is_what_there_is() {
    let rows = described()
        .into_iter()
        .map(|(name, Described { kind, help })| format!("| `{name}` | {kind} | {help} |\n"));
    let table: String = rows.collect();
    let table = format!("| metric | kind | what it is |\n| --- | --- | --- |\n{table}");
    let readme = read("README.md");
    let found = readme.split_once(TABLE_BEGINS).and_then(|(_, rest)| rest.split_once(TABLE_ENDS));
    let found = found.map(|(table, _)| table.trim());
    assert!(
        found == Some(table.trim()),
        "README.md should have, and has not:\n{TABLE_BEGINS}\n{table}{TABLE_ENDS}\n"
    );
}
