//! Does the house keep its rules? (DESIGN §5, §6; codebases.md sections 3 and 4)
//! It does not know what the code does, only how it looks; each rule names every place at once.
//! Clippy holds the rules that Clippy knows (see the root's Cargo.toml); here are the others.

use std::os::unix::fs::PermissionsExt;

use harness::source::{Source, all, rust};

const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;

/// Fails with every place that breaks a rule.
#[track_caller]
fn none(rule: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{rule}:\n  {}", places.join("\n  "));
}

/// `path:line: text` of every line for which `breaks` is true.
fn lines_that(sources: &[Source], breaks: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let places = sources.iter().flat_map(|source| {
        let broken = source.numbered().filter(|(_, line)| breaks(source, line));
        broken.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    });
    places.collect()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `text` has `word` with no letter, digit or `_` at its sides.
fn has_word(text: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

fn is_below(source: &Source, folders: &[&str]) -> bool {
    folders.iter().any(|folder| source.path.starts_with(folder))
}

#[test]
fn every_file_says_what_it_is_and_what_it_does_not_know() {
    let absences = ["not know", "knows no", "knows neither", "knows nothing", "nothing here knows"];
    let mut places = Vec::new();
    for source in rust() {
        let head: Vec<_> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        if !absences.iter().any(|absence| head.join(" ").contains(absence)) {
            places.push(format!("{}: {}", source.path, head.join(" ")));
        }
    }
    none("a file opens with `//!`: its purpose and one thing it does not know", places);
}

#[test]
fn files_functions_and_lines_stay_short() {
    let sources = rust();
    let long = sources.iter().filter(|source| source.text.lines().count() > LINES_MAX);
    let long = long.map(|source| format!("{}: {}", source.path, source.text.lines().count()));
    none("a file of over 400 lines asks to be parted", long.collect());
    none("a function of over 70 lines asks to be parted", long_functions(&sources));
    // The lists of features in the root's Cargo.toml are the one thing that may be wider.
    let written = all().into_iter().filter(|s| is_ours(s) && s.path != "Cargo.toml");
    let written: Vec<_> = written.collect();
    let wide = lines_that(&written, |_, line| line.chars().count() > COLUMNS_MAX);
    none("a line has 100 columns at most", wide);
}

/// What people write: no lock file, no licence, no prose.
fn is_ours(source: &Source) -> bool {
    let endings = [".rs", ".toml", ".yaml", ".py", ".sql", "/up", "/run"];
    endings.iter().any(|ending| source.path.ends_with(ending))
}

/// Functions by their indentation, which rustfmt keeps.
fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources {
        let mut open: Vec<(usize, String)> = Vec::new();
        for (number, line) in source.numbered() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if has_word(code(line), "fn") && !line.trim_end().ends_with([';', ',', '}']) {
                open.push((number, format!("{indent}}}")));
            }
            if let Some(at) = open.iter().rposition(|(_, end)| line == end) {
                let (begin, _) = open.remove(at);
                let length = number - begin + 1;
                if length > FUNCTION_LINES_MAX {
                    places.push(format!("{}:{begin}: {length} lines", source.path));
                }
            }
        }
    }
    places
}

#[test]
fn sql_is_spoken_in_the_store_only() {
    let sources: Vec<_> = rust()
        .into_iter()
        .filter(|s| !is_below(s, &["tests/", "mailnode/tests/", "mailnode/src/store/"]))
        .collect();
    let statements = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "UPDATE ", "BEGIN IMMEDIATE"];
    let places = lines_that(&sources, |_, line| {
        let line = code(line);
        let spoken = line.split('"').skip(1).step_by(2);
        let spoken = spoken.map(str::to_uppercase).collect::<Vec<_>>();
        has_word(line, "sqlx")
            || spoken.iter().any(|text| statements.iter().any(|word| text.starts_with(word)))
    });
    none("SQL and sqlx stand in mailnode/src/store only", places);
}

#[test]
fn the_store_speaks_no_protocol() {
    let sources: Vec<_> =
        rust().into_iter().filter(|s| is_below(s, &["mailnode/src/store/"])).collect();
    let words = ["smtp", "pop3", "imap", "rcpt", "retr", "uidl", "dele"];
    let places = lines_that(&sources, |_, line| {
        let line = line.to_lowercase();
        words.iter().any(|word| has_word(&line, word))
    });
    none("no protocol word stands inside the store", places);
}

#[test]
fn sockets_are_opened_in_few_files() {
    let allowed = [
        "shared/src/listener.rs",
        "shared/src/admin/",
        "balancer/src/connection.rs",
        "balancer/src/relay.rs",
        "balancer/src/probe.rs",
        "balancer/src/eventloop/",
        "balancer/src/socket.rs",
        "balancer/src/self_check.rs",
        "balancer/src/system.rs",
        "balancer/src/virtual_ip/wire.rs",
        // The other end of the admin port.
        "balancer/src/commands/ask.rs",
        // A check tries each door, and lets go of it.
        "balancer/src/checkup/doors.rs",
        "mailnode/src/wire/",
        "mailnode/src/filter/",
        "bench/",
    ];
    let sources = rust().into_iter().filter(|s| s.path.contains("/src/"));
    let sources: Vec<_> = sources.filter(|s| !is_below(s, &allowed)).collect();
    let names = ["TcpStream", "TcpListener", "TcpSocket", "UdpSocket", "UnixStream", "socket2"];
    let mut places = Vec::new();
    for source in sources {
        let lines = source.without_tests().lines().map(code).enumerate();
        let broken = lines.filter(|(_, line)| names.iter().any(|name| has_word(line, name)));
        places.extend(broken.map(|(index, line)| format!("{}:{}: {line}", source.path, index + 1)));
    }
    none(&format!("sockets are touched in {} only", allowed.join(", ")), places);
}

/// A room, and what its files never name. A room ends with `/` or is one file.
const NEVER: [(&str, &[&str]); 19] = [
    ("shared/src/", &["balancer::", "mailnode::"]),
    ("shared/src/proxy_header.rs", &["tokio", "crate::listener", "crate::admin"]),
    ("balancer/src/", &["mailnode::", "smtp_proto"]),
    ("balancer/src/backends/", &["tokio", "Instant::now", "crate::connection", "crate::probe"]),
    ("balancer/src/relay.rs", &["crate::backends", "crate::config", "crate::probe"]),
    ("balancer/src/probe.rs", &["crate::connection", "crate::relay"]),
    ("balancer/src/connection.rs", &["crate::config", "crate::probe", "crate::api"]),
    ("mailnode/src/", &["balancer::"]),
    ("mailnode/src/mail/", &["tokio", "sqlx", "crate::wire", "crate::store", "crate::auth"]),
    ("mailnode/src/mail/", &["crate::smtp", "crate::pop3", "crate::delivery", "crate::config"]),
    ("mailnode/src/wire/", &["crate::store", "crate::smtp", "crate::pop3", "crate::auth"]),
    ("mailnode/src/wire/", &["crate::delivery", "crate::commands", "sqlx"]),
    ("mailnode/src/store/", &["crate::wire", "crate::smtp", "crate::pop3", "crate::auth"]),
    ("mailnode/src/store/", &["crate::delivery", "crate::commands"]),
    ("mailnode/src/auth.rs", &["crate::smtp", "crate::pop3", "crate::wire", "crate::delivery"]),
    ("mailnode/src/delivery.rs", &["crate::smtp", "crate::pop3", "crate::wire"]),
    ("mailnode/src/delivery/", &["crate::smtp", "crate::pop3", "crate::wire"]),
    ("mailnode/src/smtp/", &["crate::pop3", "crate::commands"]),
    ("mailnode/src/pop3/", &["crate::smtp", "crate::delivery", "crate::commands"]),
];

/// The files of a protocol that decide: (state, input, now) → (state, step).
const PURE: [&str; 3] = ["command.rs", "session.rs", "reply.rs"];
const PURE_NEVER: [&str; 7] = [
    "tokio",
    "crate::store",
    "crate::auth",
    "crate::delivery",
    "Instant::now",
    "SystemTime::now",
    "sqlx",
];

#[test]
fn imports_point_down() {
    let sources = rust();
    let mut places = Vec::new();
    for (room, never) in NEVER {
        let inside = sources.iter().filter(|source| source.path.starts_with(room));
        inside.for_each(|source| places.extend(names_any(source, never)));
    }
    let pure = sources.iter().filter(|source| {
        is_below(source, &["mailnode/src/smtp/", "mailnode/src/pop3/", "mailnode/src/imap/"])
            && PURE.iter().any(|name| source.path.ends_with(name))
    });
    pure.for_each(|source| places.extend(names_any(source, &PURE_NEVER)));
    none("imports point down (DESIGN §6)", places);
}

fn names_any(source: &Source, never: &[&str]) -> Vec<String> {
    let text: String = source.without_tests().lines().flat_map(|line| [code(line), "\n"]).collect();
    // `use crate::{a, b::{c, d}};` names crate::a and crate::b just as well.
    let imports = text.split("use ").skip(1).filter_map(|rest| rest.split(';').next());
    let mut names: Vec<_> = imports.flat_map(unfold).collect();
    names.push(text);
    let named = |name: &&&str| names.iter().any(|text| has_name(text, name));
    never.iter().filter(named).map(|name| format!("{} names {name}", source.path)).collect()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn unfold(import: &str) -> Vec<String> {
    let Some((front, rest)) = import.split_once('{') else { return vec![import.to_owned()] };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for character in inside.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(character);
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.flat_map(unfold).map(|part| format!("{front}{part}")).collect()
}

/// As [`has_word`]; a name that ends with `::` may go on behind it.
fn has_name(text: &str, name: &str) -> bool {
    match name.strip_suffix("::") {
        None => has_word(text, name),
        Some(front) => {
            text.match_indices(name).any(|(at, _)| has_word(&text[..at + front.len()], front))
        }
    }
}

#[test]
fn one_file_names_the_yaml_parsers() {
    let sources: Vec<_> = rust()
        .into_iter()
        .filter(|source| source.path != "shared/src/config.rs" && source.path != "tests/tidy.rs")
        .filter(|source| !source.path.starts_with("shared/src/config/"))
        .collect();
    let parsers = ["serde_yaml", "saphyr_parser"];
    let places = lines_that(&sources, |_, line| parsers.iter().any(|name| has_word(line, name)));
    none("only shared's config names a YAML parser", places);
}

#[test]
fn nothing_of_one_machine_is_written_down() {
    let sources: Vec<_> = all().into_iter().filter(|s| s.path != "tests/tidy.rs").collect();
    let places = lines_that(&sources, |_, line| {
        ["/root/", "/work/", "/home/", "--index-url", "index.crates.io"]
            .iter()
            .any(|sign| line.contains(sign))
    });
    none("no path of one machine and no host of a registry", places);
    let lock: Vec<_> = all().into_iter().filter(|s| s.path == "Cargo.lock").collect();
    let places = lines_that(&lock, |_, line| {
        line.starts_with("source = ")
            && !line.contains("https://github.com/rust-lang/crates.io-index")
    });
    none("every package comes from crates.io", places);
}

#[test]
fn tests_wait_for_something_and_none_is_skipped() {
    let exempt = ["tests/harness/wait.rs", "tests/tidy.rs"];
    let tests: Vec<_> = all()
        .into_iter()
        .filter(|s| s.path.starts_with("tests/") && !exempt.contains(&s.path.as_str()))
        .filter(|s| s.path.ends_with(".rs") || s.path.ends_with(".py"))
        .collect();
    let places = lines_that(&tests, |_, line| has_word(code(line), "sleep"));
    none("a test waits with wait_until, which says what it saw", places);
    let bare: Vec<_> =
        tests.into_iter().filter(|s| s.path != "tests/harness/read_some.rs").collect();
    let places = lines_that(&bare, |_, line| code(line).contains(".read(&mut "));
    none("a signal ends no test: read_some goes on with an interrupted read", places);
    let mark = "#[ignore";
    let sources: Vec<_> = rust().into_iter().filter(|s| s.path != "tests/tidy.rs").collect();
    none("no test is skipped", lines_that(&sources, |_, line| line.contains(mark)));
}

#[test]
fn nothing_is_left_for_later_and_names_say_something() {
    let marks = ["TODO", "FIXME", "XXX", "HACK", "placeholder"];
    let sources: Vec<_> =
        all().into_iter().filter(|s| is_ours(s) && s.path != "tests/tidy.rs").collect();
    let places = lines_that(&sources, |_, line| marks.iter().any(|mark| has_word(line, mark)));
    none("what is left for later is an issue, not a mark", places);
    let empty = ["util", "utils", "helper", "helpers", "common", "manager", "inner", "misc"];
    let vague = sources
        .iter()
        .filter(|source| source.path.split(['/', '.']).any(|part| empty.contains(&part)));
    none("a file's name is a noun that says something", vague.map(|s| s.path.clone()).collect());
}

#[test]
fn unsafe_has_its_reason_beside_it() {
    let mut places = Vec::new();
    let mut files = Vec::new();
    for source in rust().iter().filter(|source| source.path != "tests/tidy.rs") {
        let lines: Vec<_> = source.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !has_word(code(line), "unsafe") {
                continue;
            }
            if !files.contains(&source.path) {
                files.push(source.path.clone());
            }
            let above = &lines[index.saturating_sub(4)..index];
            if source.path.starts_with("mailnode/") || !above.join(" ").contains("SAFETY") {
                places.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    none("unsafe only with SAFETY above it, and none in mailnode", places);
    assert!(files.len() <= 1, "unsafe stands in one file at most: {files:?}");
}

#[test]
fn dependencies_are_named_once_and_scripts_can_be_run() {
    // tests/fuzz is a workspace of its own.
    let members = all().into_iter().filter(|s| s.path != "tests/fuzz/Cargo.toml");
    let members: Vec<_> = members.filter(|s| s.path.ends_with("/Cargo.toml")).collect();
    let places = lines_that(&members, |_, line| {
        let value = line.split_once('=').map_or("", |(_, value)| value.trim());
        value.starts_with('{') || value.starts_with("\"^") || line.contains(".path =")
    });
    none("a version, a feature, a path of a dependency stands in the root's Cargo.toml", places);
    let scripts = [
        "configs/keepalived/ready-to-track-file",
        "configs/local/up",
        "tests/run",
        "bench/run",
        ".ci/run",
    ];
    let mut places = Vec::new();
    for path in scripts {
        let location = harness::program::project().join(path);
        match std::fs::metadata(&location) {
            Ok(data) if data.permissions().mode() & 0o111 == 0o111 => {}
            Ok(data) => places.push(format!("{path}: mode {:o}", data.permissions().mode())),
            Err(error) => places.push(format!("{path}: {error}")),
        }
    }
    none("scripts can be executed", places);
}

#[test]
fn what_the_readme_names_is_there() {
    let text = std::fs::read_to_string(harness::program::project().join("README.md"));
    let text = text.expect("a README");
    for command in ["./configs/local/up", "./tests/run"] {
        assert!(text.contains(command), "the README does not name {command}");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    let folders = ["balancer/", "mailnode/", "shared/", "configs/", "tests/", "bench/", ".ci/"];
    let words = text.split(|c| !is_part(c)).map(|word| word.trim_start_matches("./"));
    let paths = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
    let missing = paths.filter(|path| {
        !harness::program::project().join(path.trim_end_matches(['.', '-'])).exists()
    });
    none("a path in the README leads somewhere", missing.map(str::to_owned).collect());
}
