//! Is a node that hesitates taken for dead, or a balancer's own standstill for everybody's death?
//! It does not know how life is told from death; processes are stopped and continued.

use std::time::Duration;

use harness::callers::{self, Callers};
use harness::{Cluster, MOMENT, hold_for, wait_until};
use rustix::process::Signal;

/// Health as in configs/balancer.yaml: the shipped times are what has to stand this.
fn as_shipped() -> Cluster {
    let mut cluster = Cluster::start(3);
    let before = reloads(&cluster);
    cluster.edit_balancer_yaml(|text| {
        text.replace("interval: 100ms, timeout: 1s", "interval: 200ms, timeout: 100ms")
    });
    wait_until("the shipped times are in force", MOMENT, || match reloads(&cluster) {
        now if now > before => Ok(()),
        now => Err(format!("{now} reloads")),
    });
    cluster.wait_balancer_ready();
    cluster
}

fn reloads(cluster: &Cluster) -> f64 {
    cluster.metrics().sum("balancer_config_reloads_total", &[("result", "good")])
}

/// How often a node was declared dead, and what the log says of it.
fn falls(cluster: &Cluster) -> (f64, Vec<String>) {
    let counted = cluster.metrics().sum("balancer_node_flips_total", &[("to", "down")]);
    let log = cluster.balancer_log();
    let told = log.lines().filter(|line| line.contains("node is down"));
    (counted, told.map(str::to_owned).collect())
}

fn probes(cluster: &Cluster) -> f64 {
    cluster.metrics().sum("balancer_node_probes_total", &[])
}

#[test]
fn a_hundred_short_freezes_flip_nothing() {
    let mut cluster = as_shipped();
    let callers = Callers::start(cluster.smtp(), callers::SMTP, 4);
    callers.wait_served(50);
    for _ in 0..100 {
        cluster.node_process("b").signal(Signal::STOP);
        hold_for(Duration::from_millis(40));
        cluster.node_process("b").signal(Signal::CONT);
        callers.wait_served(4);
    }
    let heard = callers.stop();
    assert_eq!(heard.failures, [""; 0], "of {} served", heard.served);
    assert_eq!(falls(&cluster), (0.0, vec![]), "a short freeze was taken for a death");
}

#[test]
fn a_balancer_that_stood_still_declares_nobody_dead() {
    let mut cluster = as_shipped();
    let callers = Callers::start(cluster.smtp(), callers::SMTP, 4);
    callers.wait_served(50);
    cluster.balancer_process().signal(Signal::STOP);
    hold_for(Duration::from_secs(2));
    cluster.balancer_process().signal(Signal::CONT);
    // Four services with five looks a second at each of their nodes: some seconds' worth of them.
    let before = probes(&cluster);
    wait_until("it looks at its nodes again", MOMENT, || match probes(&cluster) - before {
        enough if enough >= 60.0 => Ok(()),
        few => Err(format!("{few} looks")),
    });
    callers.wait_served(50);
    assert_eq!(callers.stop().failures, [""; 0]);
    assert_eq!(falls(&cluster), (0.0, vec![]), "its own standstill was taken for deaths");
    let up = cluster.metrics().sum("balancer_node_up", &[("service", "smtp")]);
    assert_eq!(up, 3.0, "of its three nodes are up");
}
