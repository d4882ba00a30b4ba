//! Do real mail programs send through any node and read through every node, byte for byte?
//! It does not know our own clients but for one message that no other sends: swaks, curl and
//! Python's smtplib send; Python's poplib and curl read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::line::LineStream;
use harness::message::with_body;
use harness::program::project;
use harness::smtp_client::{dotted, send};
use harness::{ALICE, Cluster, of_size, run, stored_as};

/// Messages that a careless server changes.
fn hard_messages() -> Vec<(&'static str, Vec<u8>)> {
    let dots = b".\r\n..\r\n.dot\r\n...\r\nno dot.\r\n\r\n.\r\nQUIT\r\n.\r\n";
    let eight_bit: Vec<u8> = (128..=255).chain(*b"\r\n").collect();
    let long_line = [&[b'x'; 100_000][..], b"\r\nafter it\r\n"].concat();
    vec![
        ("lines", with_body("lines", b"one\r\n\r\n\r\n three \t\r\n\r\n")),
        ("dots", with_body("dots", dots)),
        ("eight-bit", with_body("eight-bit", &eight_bit)),
        ("long-line", with_body("long-line", &long_line)),
        ("nul-bytes", with_body("nul-bytes", b"a\0b\r\n\0\r\n\0.\r\n")),
        ("empty-body", with_body("empty-body", b"")),
        ("no-header", b"\r\njust text\r\n".to_vec()),
        ("ten-mebibytes", of_size("ten-mebibytes", 10 << 20)),
    ]
}

#[test]
fn swaks_sends() {
    sent_by(|port, file| {
        // Its own fixing of data adds an empty line; so it is given what goes over the wire.
        let wire = dotted(&fs::read(file).expect("the message"));
        let data = file.with_extension("wire");
        fs::write(&data, [&wire[..], b"."].concat()).expect("a file");
        let mut swaks = Command::new("swaks");
        swaks.args(["--server", &format!("127.0.0.1:{port}"), "--timeout", "60"]);
        swaks.args(["--from", "sender@example.net", "--to", ALICE.address, "--hide-all"]);
        swaks.arg("--no-data-fixup").arg("--data").arg(format!("@{}", data.display()));
        run(&mut swaks, b"").exits(0);
    });
}

#[test]
fn curl_sends() {
    sent_by(|port, file| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60"]);
        curl.args(["--mail-from", "sender@example.net", "--mail-rcpt", ALICE.address]);
        curl.arg("--upload-file").arg(file);
        curl.arg(format!("smtp://127.0.0.1:{port}/client.example.net"));
        run(&mut curl, b"").exits(0);
    });
}

#[test]
fn python_sends() {
    sent_by(|port, file| {
        let mut python = Command::new("python3");
        python.arg(project().join("tests/clients/send.py"));
        python.args([&port.to_string(), ALICE.address]).arg(file);
        run(&mut python, b"").exits(0);
    });
}

/// Sends every hard message through one node, then reads all of them through each of the three.
fn sent_by(send_file: impl Fn(u16, &Path)) {
    let cluster = Cluster::start(3);
    let messages = hard_messages();
    for (number, (name, bytes)) in messages.iter().enumerate() {
        let file = cluster.directory().join(name);
        fs::write(&file, bytes).expect("a file");
        let node = &cluster.names()[number % 3];
        send_file(cluster.smtp_of(node), &file);
    }
    for node in cluster.names() {
        let port = cluster.pop3_of(&node);
        let folder = cluster.directory().join(format!("read-by-python-{node}"));
        compare(&read_by_python(port, &folder), &messages, &format!("poplib at {node}"));
        compare(&read_by_curl(port, messages.len()), &messages, &format!("curl at {node}"));
    }
}

fn compare(read: &[Vec<u8>], sent: &[(&str, Vec<u8>)], by: &str) {
    assert_eq!(read.len(), sent.len(), "{by} reads as many as were sent");
    for (read, (name, sent)) in read.iter().zip(sent) {
        eprintln!("{by}: {name}, {} bytes sent, {} read", sent.len(), read.len());
        stored_as(read, sent);
    }
}

fn read_by_python(port: u16, folder: &Path) -> Vec<Vec<u8>> {
    fs::create_dir(folder).expect("a folder");
    let mut python = Command::new("python3");
    python.arg(project().join("tests/clients/read.py")).arg(port.to_string());
    python.args([ALICE.address, ALICE.password]).arg(folder);
    run(&mut python, b"").exits(0);
    let file = |number: usize| -> PathBuf { folder.join(number.to_string()) };
    let numbers = (1..).take_while(|number| file(*number).exists());
    numbers.map(|number| fs::read(file(number)).expect("a file")).collect()
}

fn read_by_curl(port: u16, count: usize) -> Vec<Vec<u8>> {
    let read = |number: usize| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60"]);
        curl.args(["--user", &format!("{}:{}", ALICE.address, ALICE.password)]);
        curl.arg(format!("pop3://127.0.0.1:{port}/{number}"));
        run(&mut curl, b"").exits(0).stdout
    };
    (1..=count).map(read).collect()
}

#[test]
fn a_message_of_no_bytes_at_all() {
    // No real client sends it: they all put a CRLF in front of the dot.
    let cluster = Cluster::start(1);
    send(cluster.smtp(), ALICE.address, b"");
    stored_as(&cluster.read_all(ALICE)[0], b"");
}

#[test]
fn swaks_and_curl_say_why_they_were_refused() {
    let cluster = Cluster::start(2);
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &format!("127.0.0.1:{}", cluster.smtp())]);
    swaks.args(["--from", "sender@example.net", "--to", "nobody@example.test"]);
    let text = run(&mut swaks, b"").exits(24).text();
    assert!(text.contains("550 5.1.1"), "{text}");

    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--user", "alice@example.test:wrong"]);
    curl.arg(format!("pop3://127.0.0.1:{}/1", cluster.pop3()));
    let finished = run(&mut curl, b"").exits(67);
    assert!(finished.stderr.contains("denied"), "{}", finished.stderr);
}

#[test]
fn a_client_that_says_all_and_ends_its_side_hears_every_answer() {
    // As `nc -N` does: the end of one direction is passed on, the other stays open.
    let cluster = Cluster::start(1);
    let mut line = LineStream::connect(cluster.smtp()).expect("a connection");
    line.send(
        b"HELO client.example.net\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n\
          Subject: in one breath\r\n\r\n.\r\nQUIT\r\n",
    )
    .expect("sent");
    line.end_sending().expect("one side ends");
    for code in ["220", "250", "250", "250", "354", "250", "221"] {
        let answer = line.read_line().expect("an answer");
        assert!(answer.starts_with(code.as_bytes()), "{code}: {}", answer.escape_ascii());
    }
    line.expect_closed().expect("then the server closes");
    assert_eq!(cluster.read_all(ALICE).len(), 1);
}
