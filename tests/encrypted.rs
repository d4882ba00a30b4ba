//! TLS as clients and administrators meet it: both versions, a certificate that changes under open
//! connections, and a bad one that changes nothing.
//! It does not know what is said inside; `dialogues` and `clients` do.

use std::fs;
use std::process::Command;

use harness::cluster::administer;
use harness::line::LineStream;
use harness::node::PORT_NAMES;
use harness::program::our_command;
use harness::wait::same;
use harness::{ALICE, Cluster, MOMENT, Plan, Pop3Client, SmtpClient, run, wait_until};

#[test]
fn openssl_speaks_both_versions_and_no_older_one() {
    let cluster = Cluster::start(1);
    let ports = [
        (vec![], cluster.pop3s()),
        (vec!["-starttls", "pop3"], cluster.pop3()),
        (vec!["-starttls", "smtp"], cluster.smtp()),
    ];
    for (more, port) in ports {
        for (version, wanted) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let mut openssl = Command::new("openssl");
            openssl.args(["s_client", "-brief", "-verify_return_error", version, "-connect"]);
            openssl.arg(format!("localhost:{port}")).arg("-CAfile").arg(cluster.certificate());
            openssl.args(["-verify_hostname", "localhost"]).args(&more);
            let finished = run(&mut openssl, b"QUIT\n");
            let said = format!("{}{}", finished.text(), finished.stderr);
            assert!(said.contains(&format!("Protocol version: {wanted}")), "{more:?}: {said}");
            assert!(said.contains("Verification: OK"), "{more:?}: {said}");
        }
        let mut old = Command::new("openssl");
        old.args(["s_client", "-brief", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect"]);
        old.arg(format!("localhost:{port}")).args(&more);
        let finished = run(&mut old, b"QUIT\n");
        assert_ne!(finished.code, Some(0), "{more:?}: {}", finished.text());
    }
}

#[test]
fn a_session_inside_tls_and_one_that_ends_without_a_word() {
    let cluster = Cluster::start(2);
    let mut sender = SmtpClient::hello(cluster.smtp());
    sender.say("STARTTLS").is(220);
    sender.line().encrypt(&cluster.certificate()).expect("TLS");
    sender.say("EHLO client.example.net").is(250);
    sender.deliver(ALICE.address, &harness::of_size("large", 3 << 20)).expect("sent").is(250);
    sender.quit();
    let connect = || Pop3Client::connect_tls(cluster.pop3s(), &cluster.certificate());
    let mut reader = connect().expect("TLS and a greeting");
    reader.ok(&format!("USER {}", ALICE.address));
    reader.ok(&format!("PASS {}", ALICE.password));
    let read = reader.retr(1);
    harness::stored_as(&read, &harness::of_size("large", 3 << 20));
    assert!(String::from_utf8_lossy(&read).contains(" with ESMTPS id "), "the Received line");
    reader.quit();
    // One that hangs up without close_notify, and one that speaks no TLS at all.
    drop(connect().expect("TLS and a greeting"));
    let mut plain = LineStream::connect(cluster.pop3s()).expect("a connection");
    plain.send(b"QUIT\r\n").expect("sent");
    plain.expect_closed().expect("it ends");
    let ended = |end: &str| {
        let labels = [("protocol", "pop3s"), ("end", end)];
        let of = |node| cluster.metrics_of(node).sum("mailnode_sessions_ended_total", &labels);
        of("a") + of("b")
    };
    wait_until("each end is counted as what it was", MOMENT, || {
        same(&[ended("orderly"), ended("client_closed"), ended("tls")], &[1.0, 1.0, 1.0])
    });
}

#[test]
fn a_changed_certificate_is_in_force_without_a_restart_and_a_bad_one_is_not() {
    let mut cluster = Cluster::start(1);
    let old = cluster.directory().join("old.pem");
    fs::copy(cluster.certificate(), &old).expect("a copy");
    let mut open = Pop3Client::connect_tls(cluster.pop3s(), &old).expect("TLS");
    let reloads = |cluster: &Cluster, result: &str| {
        cluster.metrics_of("a").sum("mailnode_certificate_reloads_total", &[("result", result)])
    };

    fs::write(cluster.certificate(), "half of a certificate").expect("a file");
    wait_until("the bad one is refused", MOMENT, || match reloads(&cluster, "refused") {
        seen if seen >= 1.0 => Ok(()),
        _ => Err("no word of it".to_owned()),
    });
    let log = cluster.node_log("a");
    assert!(log.contains("tls.certificate: ") && log.contains("stays as it was"), "{log}");
    Pop3Client::connect_tls(cluster.pop3s(), &old).expect("the old one is in force");

    let verbs = ["certificate", "self-signed", "--replace", "localhost", "--days", "9"];
    administer(&cluster.mailnode_yaml(), &verbs, "").exits(0);
    cluster.node_process("a").signal(rustix::process::Signal::HUP);
    wait_until("the new one is in force", MOMENT, || {
        let new = Pop3Client::connect_tls(cluster.pop3s(), &cluster.certificate());
        new.map(drop).map_err(|error| error.to_string())
    });
    // Whoever was inside goes on under the old one.
    open.ok("CAPA");
}

#[test]
fn check_and_start_name_what_is_wrong_with_a_pair() {
    let cluster = Cluster::planned(&Plan { nodes: 1, ..Plan::default() });
    let said = |verb: &str| {
        let mut command = our_command("mailnode");
        command.args([verb, "--config"]).arg(cluster.mailnode_yaml()).env("NODE", "b");
        for name in PORT_NAMES {
            command.env(name, harness::ports::Port::claim().number().to_string());
        }
        let finished = run(&mut command, b"").exits(1);
        format!("{}{}", finished.text(), finished.stderr)
    };
    let make = |names: &[&str]| {
        let verbs = [&["certificate", "self-signed", "--replace"][..], names].concat();
        administer(&cluster.mailnode_yaml(), &verbs, "").exits(0);
    };
    make(&["other.example.net"]);
    let told = said("check");
    assert!(told.contains("is not for b.example.test"), "{told}");
    assert!(told.contains("other.example.net"), "{told}");

    let key = cluster.directory().join("key.pem");
    let kept = fs::read(&key).expect("the key");
    make(&["*.example.test"]);
    fs::write(&key, kept).expect("the key of another");
    for verb in ["check", "run"] {
        let told = said(verb);
        assert!(told.contains("tls.key: ") && told.contains("does not fit"), "{verb}: {told}");
    }
    fs::remove_file(&key).expect("it was there");
    for verb in ["check", "run"] {
        let told = said(verb);
        assert!(told.contains("tls.key: ") && told.contains("No such file"), "{verb}: {told}");
    }
}
