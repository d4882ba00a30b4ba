//! Can a node be drained and rebooted, taken out and put back by day, and nobody notices?
//! It does not know how the balancer keeps sessions away: files are changed and commands given
//! while senders work.

use std::path::Path;

use harness::ledger::Ledger;
use harness::program::our_command;
use harness::{ALICE, Cluster, Finished, MOMENT, SmtpClient, run, wait_until};

const SENDERS: usize = 8;

/// Runs `balancer WORDS... --config FILE`.
fn balancer(config: &Path, words: &[&str]) -> Finished {
    let mut command = our_command("balancer");
    command.args(words).arg("--config").arg(config);
    run(&mut command, b"")
}

fn connects_to(cluster: &Cluster, node: &str) -> f64 {
    let labels = [("service", "smtp"), ("node", node)];
    cluster.metrics().sum("balancer_node_connects_total", &labels)
}

/// Only the services that all nodes share: a node that a service has alone cannot be emptied.
fn share_everything(cluster: &Cluster) {
    cluster.edit_balancer_yaml(|text| {
        text.split("  - name: smtp-a").next().expect("the first part").to_owned()
    });
    wait_until("the services of single nodes are gone", MOMENT, || {
        let status = balancer(&cluster.balancer_yaml(), &["status", "--json"]).exits(0).text();
        if status.contains("smtp-a") { Err(status) } else { Ok(()) }
    });
}

#[test]
fn a_node_is_drained_and_killed_under_load_and_nobody_notices() {
    let mut cluster = Cluster::start(3);
    share_everything(&cluster);
    // Somebody is in the middle of a session, and leaves when the drain has begun.
    let mut clients = (0..3).map(|_| SmtpClient::hello(cluster.smtp()));
    let inside = clients.find(|client| client.node() == "b").expect("each has its turn");
    let (ledger, config) = (Ledger::new(cluster.smtp(), ALICE), cluster.balancer_yaml());
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| ledger.send_until(600));
        }
        ledger.wait_answered(100);
        balancer(&config, &["drain", "b"]).exits(0);
        let drained =
            scope.spawn(|| balancer(&config, &["drain", "b", "--wait", "--timeout", "60s"]));
        ledger.wait_answered(200);
        inside.quit();
        let said = drained.join().expect("it ends").exits(0).text();
        assert!(said.ends_with("b: no session is left, safe to reboot\n"), "{said}");
        let before = connects_to(&cluster, "b");
        cluster.kill_node("b");
        ledger.wait_answered(400);
        assert_eq!(connects_to(&cluster, "b"), before, "nobody was sent to it any more");
    });
    assert_eq!(ledger.cut_off(), 0, "somebody was cut off");
    ledger.settle(&cluster.read_all(ALICE));
}

#[test]
fn a_node_is_taken_out_of_the_file_and_put_back_under_load() {
    let cluster = Cluster::start(3);
    let ledger = Ledger::new(cluster.smtp(), ALICE);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| ledger.send_until(600));
        }
        for (round, node) in ["a", "b", "c"].into_iter().enumerate() {
            ledger.wait_answered(100 + 150 * round);
            let mut whole = String::new();
            cluster.edit_balancer_yaml(|text| {
                whole = text.to_owned();
                let (shared, alone) = text.split_once("  - name: smtp-a").expect("both parts");
                let its = format!("{{name: {node}, ");
                let kept = shared.lines().filter(|line| !line.contains(&its));
                let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
                format!("{kept}  - name: smtp-a{alone}")
            });
            wait_until("nobody new is sent to it", MOMENT, || {
                let status = balancer(&cluster.balancer_yaml(), &["status", "--json"]);
                let status: serde_json::Value =
                    serde_json::from_slice(&status.exits(0).stdout).expect("JSON");
                let nodes = status["services"][0]["nodes"].as_array().expect("a list");
                if nodes.len() == 2 { Ok(()) } else { Err(format!("{nodes:?}")) }
            });
            let before = connects_to(&cluster, node);
            let answered = ledger.answered();
            ledger.wait_answered(answered + 50);
            assert_eq!(connects_to(&cluster, node), before, "{node} still gets sessions");
            cluster.edit_balancer_yaml(|_| whole);
            wait_until("it has its turn again", MOMENT, || {
                let now = connects_to(&cluster, node);
                if now > before { Ok(()) } else { Err(format!("{now} connects")) }
            });
        }
    });
    assert_eq!(ledger.cut_off(), 0, "somebody was cut off");
    ledger.settle(&cluster.read_all(ALICE));
}
