//! What a settings file with faults is told; tests only.
//! It does not know a real configuration; the test runner calls it.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::{Map, read_file, read_text};
use crate::units::Bytes;

fn env(name: &str) -> Option<String> {
    match name {
        "NODE" => Some("node1".to_owned()),
        "PORT" => Some("2525".to_owned()),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
struct Settings {
    name: String,
    rise: u32,
    interval: Duration,
    size: Bytes,
    listen: Vec<SocketAddr>,
    nodes: Vec<(String, u16)>,
}

fn settings(map: &mut Map<'_>) -> Option<Settings> {
    let name = map.required("name");
    let listen = map.list("listen");
    let size = map.or("size", Bytes(1024));
    let mut health = map.map("health");
    let rise = health.as_mut().map_or(2, |health| health.within("rise", 2, 1..=10));
    let interval = health.as_mut().and_then(|health| health.optional("interval"));
    let nodes = map.maps("nodes").into_iter().filter_map(|mut node| {
        let name = node.required::<String>("name");
        let port = node.required("port");
        Some((name?, port?))
    });
    let nodes = nodes.collect();
    map.ignore("later");
    let interval = interval.unwrap_or(Duration::from_secs(1));
    Some(Settings { name: name?, rise, interval, size, listen, nodes })
}

fn faults(text: &str) -> Vec<String> {
    let error = read_text("x.yaml", text, &env, settings).expect_err("it has faults");
    error.lines().collect()
}

#[test]
fn a_good_file_is_read() {
    let text = r#"
name: ${NODE}
listen: ["127.0.0.1:${PORT}", "[::1]:25"]
size: 25 MiB
later: {password: "${NOT_SET}"}
health: {rise: 3, interval: 200ms}
nodes:
  - {name: a, port: "${PORT}"}
  - name: "5"
    port: 110
"#;
    let read = read_text("x.yaml", text, &env, settings).expect("it is good");
    assert_eq!(read.name, "node1");
    assert_eq!(read.listen[0].port(), 2525);
    assert_eq!((read.rise, read.size), (3, Bytes(25 << 20)));
    assert_eq!(read.nodes, [("a".to_owned(), 2525), ("5".to_owned(), 110)]);
}

#[test]
fn a_single_value_is_a_list_of_one() {
    let read = read_text("x.yaml", "name: a\nlisten: 127.0.0.1:25", &env, settings);
    assert_eq!(read.expect("it is good").listen.len(), 1);
}

#[test]
fn ten_planted_faults_are_all_named() {
    let text = r#"
nam: a
listen: ["127.0.0.1:25", "localhost:25", "127.0.0.1:99999"]
size: 25 MB
health:
  rise: "2"
  interval: 5
  rise: 3
  fall: 2
nodes:
  - {name: a}
  - {name: "${NODE_NAME}", port: 1}
  - just text
"#;
    let found = faults(text);
    let expected = [
        "x.yaml:2:1: name: missing; needed: a text",
        "x.yaml:2:1: nam: unknown key; did you mean `name`? allowed: name, listen",
        "x.yaml:3:26: listen[1]: `localhost:25` is not allowed; allowed: an ADDRESS:PORT",
        "x.yaml:3:42: listen[2]: `127.0.0.1:99999` is not allowed",
        "x.yaml:4:7: size: `25 MB` is not allowed; allowed: a size such as 512, 64 KiB",
        "x.yaml:6:9: health.rise: `\"2\"` is quoted, so it is text; allowed: a whole number",
        "x.yaml:7:13: health.interval: `5` is not allowed; allowed: a time such as 200ms",
        "x.yaml:8:3: health.rise: the key stands here twice; first in line 6",
        "x.yaml:9:3: health.fall: unknown key; allowed: rise, interval",
        "x.yaml:11:5: nodes[0].port: missing; needed: a whole number from 0 to 65535",
        "x.yaml:12:12: nodes[1].name: the environment variable `NODE_NAME` is not set",
        "x.yaml:13:5: nodes[2]: `key: value` lines were expected",
    ];
    for start in expected {
        assert!(found.iter().any(|line| line.starts_with(start)), "no {start}\nin {found:#?}");
    }
}

#[test]
fn faults_come_in_the_order_of_the_file() {
    let error = read_text("x", "b: 1\na: 2\nname: x\nhealth: {rise: 99}", &env, settings);
    let error = error.expect_err("it has faults");
    let lines: Vec<_> = error.iter().map(|fault| (fault.line(), fault.column())).collect();
    assert_eq!(lines, [(1, 1), (2, 1), (4, 16)]);
    assert_eq!(error.len(), 3);
    assert!(error.to_string().contains("`99` is not allowed; allowed: 1 to 10"), "{error}");
}

#[test]
fn what_yaml_allows_and_we_do_not() {
    for (text, expected) in [
        ("", "x.yaml: is empty"),
        ("# nothing\n", "x.yaml: is empty"),
        ("---\n", "x.yaml: is empty"),
        ("- a\n- b\n", "has to be `key: value` lines"),
        ("name: &a b\n", "an anchor (`&name`)"),
        ("name: &a b\nsize: *a\n", "an alias (`*name`)"),
        ("name: !text b\n", "a tag (`!name`)"),
        ("name: a\n---\nname: b\n", "a second document"),
        ("name: [a\n", "this is not YAML"),
        ("name: \"a\n", "this is not YAML"),
        ("name: a\n\tsize: 1\n", "this is not YAML"),
        ("nodes:\n- {name: ${A}}\n", "has to be quoted"),
        ("[a, b]: c\nname: a\n", "a key has to be a single word"),
        ("name:\n", "name: has no value; give a text"),
        ("name: ~\n", "name: has no value"),
        ("name: {a: b}\n", "name: a single value was expected"),
        ("name: a\nhealth: fine\n", "health: `key: value` lines were expected"),
        ("name: a\nnodes: {name: b}\n", "nodes: a list was expected"),
        ("name: ${MISSING}\n", "`MISSING` is not set"),
        ("name: \"a\\nb\"\nnope: 1\n", "nope: unknown key"),
    ] {
        let found = faults(text);
        assert!(found.iter().any(|line| line.contains(expected)), "{text:?}: {found:#?}");
    }
}

#[test]
fn too_deep_and_too_long_are_refused() {
    let deep = format!("name: {}{}", "[".repeat(40), "]".repeat(40));
    assert!(faults(&deep)[0].contains("nested deeper than 32"), "{:?}", faults(&deep));
    // The parser has a limit of its own for what would overflow its stack.
    let deeper = format!("name: {}", "[".repeat(50_000));
    assert!(faults(&deeper)[0].contains("recursion limit"), "{:?}", faults(&deeper));
    let long = format!("name: {}", "a".repeat(1 << 20));
    assert!(faults(&long)[0].contains("is longer than"), "{:?}", faults(&long).len());
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.yaml");
    let error = read_file(&missing, settings).expect_err("it is not there").to_string();
    assert!(error.contains("missing.yaml: cannot be opened: No such file"), "{error}");
    let error = read_file(folder.path(), settings).expect_err("a folder").to_string();
    assert!(error.contains("cannot be read: Is a directory"), "{error}");
    let latin = folder.path().join("latin.yaml");
    std::fs::write(&latin, b"name: \xe4\n").expect("it is written");
    let error = read_file(&latin, settings).expect_err("not UTF-8").to_string();
    assert!(error.contains("is not UTF-8 text: byte 6"), "{error}");
}

#[test]
fn a_fault_is_one_line_whatever_stands_in_the_file() {
    let found = faults("name: a\nsize: \"1\\n\\e[31m2\"\n\"k\\ny\": 1\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|line| !line.chars().any(char::is_control)), "{found:#?}");
}

proptest! {
    #[test]
    fn no_settings_make_it_panic(text in "(name|nodes|health|size|[a-z]{1,4}): [ -~\n]{0,30}") {
        let _ = read_text("x", &text, &env, settings);
    }
}

/// Found by the fuzz targets: a last line without an end was counted twice.
#[test]
fn a_fault_at_the_end_stands_on_a_line_that_is_there() {
    for text in ["%)\x12", "{\u{feff}$\x01", "a: [", "a:\n  b: {"] {
        let faults = read_text("a.yaml", text, &|_| None, |_| Some(())).expect_err("no YAML");
        let lines = text.split('\n').count();
        assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line())), "{faults}");
    }
}
