//! Is every line of a log one event, whatever a client sends, and does none of them tell a secret?
//! It does not know what else is logged; it sends odd things and reads the logs.

use harness::line::LineStream;
use harness::smtp_client::send;
use harness::{ALICE, Cluster, MOMENT, Pop3Client, SmtpClient, message, wait_until};
use serde_json::Value;

/// Each line of a log as JSON.
#[track_caller]
fn events(whose: &str, log: &str) -> Vec<Value> {
    let read = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{whose}: {error} in {line:?}"))
    };
    log.lines().map(read).collect()
}

#[test]
fn odd_input_stays_inside_its_line() {
    let cluster = Cluster::start(1);
    for odd in [
        "EHLO \"quoted\\\",\"level\":\"ERROR\"",
        "EHLO \u{1b}[31mred",
        "MAIL FROM:<a\"},{\"b@example.net>",
        "HELO x\rJan 1 00:00:00 fake",
        "NOOP \u{7f}\u{9b}\u{202e}",
    ] {
        let mut client = SmtpClient::connect(cluster.smtp()).expect("a greeting");
        client.say(odd);
        client.quit();
    }
    let mut line = LineStream::connect(cluster.smtp_behind("a")).expect("a connection");
    line.send(b"PROXY \x1b]0;title\x07\n{\"a\": 1}\r\n").expect("sent");
    line.expect_closed().expect("no PROXY header, no conversation");
    send(cluster.smtp(), ALICE.address, &message("with \"quotes\" and \\"));
    let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
    client.say("USER \u{1b}[31m\"},{\"").expect("an answer");
    client.say("PASS wrong\"").expect("an answer");
    drop(client);

    wait_until("the last connection is in the balancer's log", MOMENT, || {
        let log = cluster.balancer_log();
        let ended = log.matches("\"message\":\"connection\"").count();
        if ended == 7 { Ok(()) } else { Err(format!("{ended} of 7")) }
    });
    for (whose, log) in [("balancer", cluster.balancer_log()), ("node", cluster.node_log("a"))] {
        for event in events(whose, &log) {
            for key in ["timestamp", "level", "message"] {
                assert!(event[key].is_string(), "{whose}: no {key} in {event}");
            }
        }
        let printable = |c: char| c == '\n' || !c.is_control();
        assert!(log.chars().all(printable), "{whose}: a control character in {log:?}");
    }
}

#[test]
fn one_line_for_each_connection_says_how_it_went() {
    let cluster = Cluster::start(2);
    send(cluster.smtp_of("b"), ALICE.address, &message("logged"));
    let line = wait_until("the connection is in the log", MOMENT, || {
        let log = cluster.balancer_log();
        let line = log
            .lines()
            .find(|line| line.contains("\"service\":\"smtp-b\",\"node\":\"b\",\"tries\""));
        line.map(str::to_owned).ok_or(log)
    });
    let event = &events("balancer", &line)[0];
    assert_eq!(event["message"], "connection", "{event}");
    assert_eq!(event["tries"], 1, "{event}");
    assert!(event["client"].as_str().is_some_and(|c| c.starts_with("127.0.0.1:")), "{event}");
    assert!(event["end"].is_string(), "{event}");
    for number in ["bytes_to_node", "bytes_to_client", "dial_ms", "greeting_ms", "total_ms"] {
        assert!(event[number].as_f64().is_some_and(|n| n > 0.0), "{number} in {event}");
    }
}

#[test]
fn no_log_and_no_file_holds_a_password() {
    let cluster = Cluster::start(1);
    let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
    client.ok(&format!("USER {}", ALICE.address));
    client.say("PASS a-wrong-password").expect("an answer");
    client.ok(&format!("USER {}", ALICE.address));
    client.ok(&format!("PASS {}", ALICE.password));
    // The password in place of the name, as people do.
    let mut other = Pop3Client::connect(cluster.pop3()).expect("a greeting");
    other.say("PASS before-user").expect("an answer");
    client.quit();
    for secret in [ALICE.password, "a-wrong-password", "before-user"] {
        let mut grep = std::process::Command::new("grep");
        grep.args(["-rlaF", secret, "."]).current_dir(cluster.directory());
        let found = harness::run(&mut grep, b"");
        assert_eq!(found.code, Some(1), "{secret} stands in {}", found.text());
    }
}
