//! What does a node refuse, and with which words? (RFC 5321 §4.2, RFC 3463, mail.md section 5)
//! It does not know the session's code; each refusal is provoked through the balancer.

use std::time::{Duration, Instant};

use harness::cluster::Plan;
use harness::line::LineStream;
use harness::proxy_header;
use harness::{ALICE, BOB, Cluster, MOMENT, Pop3Client, SmtpClient, message, of_size, wait_until};

/// Small limits, so that they are met quickly.
const LIMITS: &str = "limits: {message_bytes_max: 64 KiB, recipients_max: 100}\n";

#[test]
fn nobody_relays() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<alice@example.test>").is(250);
    for foreign in [
        "<victim@elsewhere.test>",
        "<@example.test:victim@elsewhere.test>",
        "<victim@example.test.elsewhere.test>",
        "<victim@sub.example.test>",
        "<alice@[127.0.0.1]>",
    ] {
        client.say(&format!("RCPT TO:{foreign}")).begins("550 5.7.1");
    }
    // Ours by their domain, yet nobody here: the other sign is not a way out.
    for nobody in [
        "<victim%elsewhere.test@example.test>",
        "<elsewhere.test!victim@example.test>",
        "<\"victim@elsewhere.test\"@example.test>",
    ] {
        client.say(&format!("RCPT TO:{nobody}")).begins("550 5.1.1");
    }
    client.say("DATA").code_in(&[503, 554]);
    client.quit();
}

#[test]
fn unknown_recipients_are_refused_and_the_rest_is_served() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<>").is(250);
    client.say("RCPT TO:<nobody@example.test>").begins("550 5.1.1");
    client.say("RCPT TO:<ALICE@EXAMPLE.TEST>").is(250);
    client.say("RCPT TO:<\"\"@example.test>").code_in(&[501, 550, 553]);
    client.say("RCPT TO:<../../etc@example.test>").code_in(&[501, 550, 553]);
    client.say("RCPT TO:<' OR 1=1 --@example.test>").code_in(&[501, 550, 553]);
    client.say("RCPT TO:<%@example.test>").code_in(&[501, 550, 553]);
    client.say("DATA").is(354);
    client.say("Subject: to one\r\n\r\n.").is(250);
    client.quit();
    assert_eq!(cluster.read_all(ALICE).len(), 1);
    assert_eq!(cluster.read_all(BOB).len(), 0);
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_announcement_and_at_its_end() {
    let cluster = small();
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<a@example.net> SIZE=65537").begins("552 5.3.4");
    client.say("MAIL FROM:<a@example.net> SIZE=99999999999999999999").begins("552 5.3.4");
    // Who announced nothing, or a lie, is refused when all has been read.
    let reply = client.deliver(ALICE.address, &of_size("big", 70_000)).expect("an answer");
    reply.begins("552 5.3.4");
    let reply = client.deliver(ALICE.address, &of_size("fits", 60_000)).expect("an answer");
    reply.is(250);
    client.quit();
    assert_eq!(cluster.read_all(ALICE).len(), 1);
}

#[test]
fn recipients_over_the_limit_are_put_off() {
    let cluster = small();
    // RFC 5321 §4.5.3.1.8: a hundred have to be taken, so no lower limit can be set.
    let aliases: Vec<_> = (0..100).map(|number| format!("alias{number}@example.test")).collect();
    for alias in &aliases {
        cluster.mailnode(&["alias", "add", alias, ALICE.address], "").exits(0);
    }
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say("MAIL FROM:<a@example.net>").is(250);
    for alias in &aliases {
        client.say(&format!("RCPT TO:<{alias}>")).is(250);
    }
    client.say(&format!("RCPT TO:<{}>", BOB.address)).begins("452 4.5.3");
    client.say("DATA").is(354);
    client.say("Subject: to a hundred\r\n\r\n.").is(250);
    client.quit();
    assert_eq!(cluster.read_all(ALICE).len(), 1, "one mailbox, one copy");
    assert_eq!(cluster.read_all(BOB).len(), 0);
}

#[test]
fn long_lines_of_commands_are_refused_and_forgotten() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    client.say(&format!("NOOP {}", "x".repeat(10_000))).is(500);
    client.say("NOOP").is(250);
    client.quit();

    let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
    let answer = client.say(&format!("NOOP {}", "x".repeat(10_000))).expect("an answer");
    assert!(answer.starts_with("-ERR"), "{answer}");
    client.ok("CAPA");
}

#[test]
fn a_line_without_an_end_does_not_fill_memory() {
    let mut cluster = Cluster::start(1);
    let before = memory_kib(cluster.node_process("a").pid());
    let mut client = SmtpClient::hello(cluster.smtp());
    let piece = vec![b'x'; 1 << 20];
    // A node may hang up or read on; it may not keep 100 MiB.
    let _sent = (0..100).try_for_each(|_| client.line().send(&piece));
    let grown = memory_kib(cluster.node_process("a").pid()).saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB more for one line");
    SmtpClient::hello(cluster.smtp()).quit();
}

#[test]
fn commands_at_the_wrong_moment() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::connect(cluster.smtp()).expect("a greeting");
    client.say("MAIL FROM:<a@example.net>").is(503);
    client.say("EHLO client.example.net").is(250);
    client.say("RCPT TO:<alice@example.test>").is(503);
    client.say("DATA").is(503);
    client.say("STARTTLS now").is(501);
    client.say("AUTH PLAIN AGFsaWNlAGFsaWNl").is(502);
    client.say("BDAT 10 LAST").is(502);
    client.say("VRFY alice").is(252);
    client.say("VRFY nobody").is(252);
    client.say("MAIL FROM:<a@example.net>").is(250);
    client.say("MAIL FROM:<a@example.net>").is(503);
    client.say("RSET").is(250);
    client.say("RCPT TO:<alice@example.test>").is(503);
    client.quit();
}

#[test]
fn only_faults_end_in_a_farewell() {
    let cluster = Cluster::start(1);
    let mut client = SmtpClient::hello(cluster.smtp());
    let farewell = (0..1000).find_map(|_| {
        let reply = client.say("NONSENSE");
        (reply.code != 500).then_some(reply)
    });
    farewell.expect("a limit of faults").begins("421 4.7.0");
    client.line().expect_closed().expect("after 421 the server closes");
}

#[test]
fn one_address_holds_only_so_many_connections() {
    let more = "limits: {connections_per_address_max: 4}\n";
    let cluster = Cluster::planned(&Plan { nodes: 1, node_yaml: more, ..Plan::default() });
    let held: Vec<_> = (0..4).map(|_| SmtpClient::hello(cluster.smtp())).collect();
    let fifth = SmtpClient::connect(cluster.smtp()).expect("a greeting that refuses");
    assert_eq!(fifth.greeting().code, 421, "the fifth heard {}", fifth.greeting());
    drop(held);
    wait_until("their places are free again", MOMENT, || {
        match SmtpClient::connect(cluster.smtp()) {
            Ok(client) if client.greeting().code == 220 => Ok(()),
            Ok(client) => Err(client.greeting().to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
}

#[test]
fn the_balancer_has_a_limit_for_each_address_too() {
    let cluster = Cluster::start(1);
    cluster
        .edit_balancer_yaml(|text| format!("limits: {{connections_per_address_max: 4}}\n{text}"));
    wait_until("the limit is in force", MOMENT, || {
        let held: Vec<_> = (0..5).map(|_| SmtpClient::connect(cluster.smtp())).collect();
        let codes: Vec<_> = held.into_iter().flatten().map(|c| c.greeting().code).collect();
        if codes == [220, 220, 220, 220, 421] { Ok(()) } else { Err(format!("{codes:?}")) }
    });
    wait_until("the words of POP3, when the ones before have gone", MOMENT, || {
        let held: Vec<_> = (0..5).map(|_| Pop3Client::connect(cluster.pop3())).collect();
        let words = held.iter().flatten().map(|client| &client.greeting()[..5]);
        let words: Vec<_> = words.collect();
        let wanted = ["+OK a", "+OK a", "+OK a", "+OK a", "-ERR "];
        if words == wanted { Ok(()) } else { Err(format!("{words:?}")) }
    });
}

#[test]
fn a_node_talks_to_the_balancer_only_where_a_proxy_header_is_due() {
    let cluster = Cluster::start(1);
    // The limit of each address is that of the client named in the header, not the balancer's.
    let header = proxy_header::v2([192, 0, 2, 77].into());
    let mut client = SmtpClient::connect_saying(cluster.smtp_behind("a"), &header)
        .expect("a greeting behind a header");
    client.say("EHLO client.example.net").is(250);
    client.deliver(ALICE.address, &message("from afar")).expect("an answer").is(250);
    client.quit();
    let read = cluster.read_all(ALICE).remove(0);
    let read = String::from_utf8_lossy(&read);
    assert!(read.contains("[192.0.2.77]"), "Received: names the client in {read}");

    for wrong in [&b"EHLO client.example.net\r\n"[..], b"PROXY TCP4 nonsense\r\n", &[0; 64]] {
        let mut line = LineStream::connect(cluster.smtp_behind("a")).expect("a connection");
        line.send(wrong).expect("sent");
        let heard = line.expect_closed();
        assert_eq!(heard, Ok(()), "{} was sent without a header", wrong.escape_ascii());
    }
}

#[test]
fn unknown_users_and_wrong_passwords_cannot_be_told_apart() {
    let cluster = Cluster::start(1);
    let attempt = |user: &str| {
        let mut client = Pop3Client::connect(cluster.pop3()).expect("a greeting");
        let user = client.say(&format!("USER {user}")).expect("an answer");
        let begin = Instant::now();
        let pass = client.say("PASS a-wrong-password").expect("an answer");
        (user, pass, begin.elapsed())
    };
    let tries = |user: &str| -> (Vec<(String, String)>, Duration) {
        let (mut answers, mut times) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            let (user, pass, time) = attempt(user);
            answers.push((user, pass));
            times.push(time);
        }
        times.sort();
        (answers, times[4])
    };
    let (known, known_time) = tries(ALICE.address);
    let (unknown, unknown_time) = tries("nobody@example.test");
    assert_eq!(known, unknown, "the same words");
    assert!(known[0].1.starts_with("-ERR [AUTH]"), "{known:?}");
    let (less, more) = (known_time.min(unknown_time), known_time.max(unknown_time));
    assert!(more < less * 3, "medians: known {known_time:?}, unknown {unknown_time:?}");
}

fn small() -> Cluster {
    Cluster::planned(&Plan { nodes: 1, node_yaml: LIMITS, ..Plan::default() })
}

/// Resident memory of a process.
fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
