//! Can Prometheus read what is told at `/metrics`, and do the counts agree with what was done?
//! It does not know how anything is counted; promtool judges the form, what the test did the sums.

use std::process::Command;

use harness::http;
use harness::smtp_client::send;
use harness::{
    ALICE, BOB, Cluster, MOMENT, Metrics, Pop3Client, SmtpClient, message, run, wait_until,
};

#[test]
fn promtool_reads_them_and_the_counts_agree() {
    let cluster = Cluster::start(3);
    for (number, node) in cluster.names().iter().enumerate() {
        for copy in 0..=number {
            send(cluster.smtp_of(node), ALICE.address, &message(&format!("{node} {copy}")));
        }
    }
    // Six messages: 1 through a, 2 through b, 3 through c. Then one to two people, one refused.
    let mut client = SmtpClient::hello(cluster.smtp_of("a"));
    let both = [ALICE.address, BOB.address];
    client.deliver_to(&both, &message("both")).expect("an answer").is(250);
    client.say("MAIL FROM:<sender@example.net>").is(250);
    client.say("RCPT TO:<nobody@example.test>").is(550);
    client.quit();
    let mut reader = Pop3Client::connect(cluster.pop3_of("b")).expect("a greeting");
    reader.ok(&format!("USER {}", ALICE.address));
    reader.say("PASS wrong").expect("an answer");
    reader.ok(&format!("USER {}", ALICE.address));
    reader.ok(&format!("PASS {}", ALICE.password));
    reader.retr(1);
    reader.retr(2);
    reader.ok("DELE 1");
    reader.quit();

    wait_until("all connections have ended", MOMENT, || {
        let open = cluster.metrics().sum("balancer_node_connections", &[]);
        let ended = ["a", "b", "c"].map(|node| clients(&cluster.metrics_of(node), "smtp"));
        let ended: f64 = ended.iter().sum();
        if open == 0.0 && ended == 7.0 {
            Ok(())
        } else {
            Err(format!("{open} open, {ended} ended"))
        }
    });
    nodes_agree(&cluster);
    balancer_agrees(&cluster);
    promtool_is_content("balancer", &cluster.metrics());
    for node in cluster.names() {
        promtool_is_content(&node, &cluster.metrics_of(&node));
    }
}

fn nodes_agree(cluster: &Cluster) {
    let [a, b, c] = ["a", "b", "c"].map(|node| cluster.metrics_of(node));
    for (metrics, node, messages, mailboxes) in
        [(&a, "a", 2., 3.), (&b, "b", 2., 2.), (&c, "c", 3., 3.)]
    {
        counts(metrics, node, "mailnode_messages_total", &[("result", "kept")], messages);
        counts(metrics, node, "mailnode_deliveries_total", &[], mailboxes);
        counts(metrics, node, "mailnode_commit_deliveries_total", &[], messages);
        counts(metrics, node, "mailnode_part_up", &[], 3.0);
        counts(metrics, node, "mailnode_event_lines_lost_total", &[], 0.0);
    }
    assert_eq!([&a, &b, &c].map(|metrics| clients(metrics, "smtp")), [2.0, 2.0, 3.0]);
    assert_eq!([&a, &b, &c].map(|metrics| clients(metrics, "pop3")), [0.0, 1.0, 0.0]);
    counts(&a, "a", "mailnode_recipients_total", &[("result", "unknown")], 1.0);
    counts(&b, "b", "mailnode_logins_total", &[("result", "wrong")], 1.0);
    counts(&b, "b", "mailnode_logins_total", &[("result", "right")], 1.0);
    counts(&b, "b", "mailnode_messages_retrieved_total", &[], 2.0);
    counts(&b, "b", "mailnode_messages_removed_total", &[], 1.0);
}

/// Connections of clients that have ended: all but the balancer's own looks.
fn clients(metrics: &Metrics, protocol: &str) -> f64 {
    let ended = |labels: &[_]| metrics.sum("mailnode_sessions_ended_total", labels);
    ended(&[("protocol", protocol)]) - ended(&[("protocol", protocol), ("end", "probe")])
}

fn balancer_agrees(cluster: &Cluster) {
    let metrics = cluster.metrics();
    for (service, node, connections) in
        [("smtp-a", "a", 2.), ("smtp-b", "b", 2.), ("smtp-c", "c", 3.), ("pop3-b", "b", 1.)]
    {
        let labels = [("service", service), ("node", node)];
        counts(&metrics, "the balancer", "balancer_node_connects_total", &labels, connections);
        counts(&metrics, "the balancer", "balancer_node_up", &labels, 1.0);
    }
    let smtp = [("service", "smtp")];
    counts(&metrics, "the balancer", "balancer_service_connections_total", &smtp, 0.0);
}

#[track_caller]
fn counts(metrics: &Metrics, whose: &str, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let seen = metrics.sum(name, labels);
    let all = metrics.series(name, &[]).join("\n");
    assert!(seen == wanted, "{whose}: {name}{labels:?} is {seen}, not {wanted}; there is\n{all}");
}

#[track_caller]
fn promtool_is_content(whose: &str, metrics: &Metrics) {
    let mut promtool = Command::new("promtool");
    let finished = run(promtool.args(["check", "metrics"]), metrics.text().as_bytes());
    assert!(
        finished.code == Some(0),
        "promtool on the metrics of {whose}: {:?}\n{}{}",
        finished.code,
        finished.text(),
        finished.stderr
    );
}

#[test]
fn live_ready_and_what_is_not_there() {
    let cluster = Cluster::start(1);
    for (whose, port) in [("balancer", cluster.admin()), ("node", cluster.admin_of("a"))] {
        let ask = |path| http::get(port, path).expect("an answer");
        assert_eq!(ask("/live").status, 200, "/live of the {whose}");
        assert_eq!(ask("/ready").status, 200, "/ready of the {whose}");
        assert_eq!(ask("/metrics").status, 200, "/metrics of the {whose}");
        assert_eq!(ask("/nothing").status, 404, "/nothing of the {whose}");
    }
}

#[test]
fn the_balancer_is_not_ready_without_nodes() {
    let mut cluster = Cluster::start(2);
    cluster.kill_node("a");
    cluster.kill_node("b");
    wait_until("the balancer is not ready", MOMENT, || {
        let answer = http::get(cluster.admin(), "/ready").expect("an answer");
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    // Each protocol has its word for "later"; a client is never left without one.
    let client = SmtpClient::connect(cluster.smtp()).expect("a greeting that refuses");
    assert_eq!(client.greeting().code, 421, "{}", client.greeting());
    let client = Pop3Client::connect(cluster.pop3()).expect("a greeting that refuses");
    assert!(client.greeting().starts_with("-ERR [SYS/TEMP]"), "{}", client.greeting());
}
