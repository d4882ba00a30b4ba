//! Is a balancer's file understood, and is what is wrong with one said?
//! It knows no sockets; the test runner calls it.

use std::time::Duration;

use balancer::config::{Config, from_map};
use balancer::settings::{Mode, Protocol, ProxyProtocol, ServiceLimits};
use shared::config::{Faults, read_text};

fn read(text: &str) -> Result<Config, Faults> {
    read_text("balancer.yaml", text, &|_| None, from_map)
}

fn faults(text: &str) -> Vec<String> {
    read(text).expect_err("it has faults").lines().collect()
}

const SMALL: &str = "admin: 127.0.0.1:9100
services:
  - name: smtp
    listen: 0.0.0.0:25
    protocol: smtp
    nodes: [{name: node1, address: \"10.0.0.11:25\"}]
";

#[test]
fn a_small_file_has_its_defaults() {
    let config = read(SMALL).expect("it is good");
    let service = &config.services[0];
    assert_eq!(service.mode, Mode::LeastConnections);
    assert_eq!(service.proxy_protocol, ProxyProtocol::None);
    assert_eq!(service.timeouts.idle, Duration::from_secs(660));
    assert_eq!(service.nodes[0].weight, 1);
    assert_eq!((config.limits.connections_max, config.node_count()), (None, 1));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(service.limits, ServiceLimits::default());
    assert_eq!(config.limits.connections_per_address_per_minute_max, None);
    assert!(service.source.is_empty());
    let imap = read(&SMALL.replace("protocol: smtp", "protocol: imap")).expect("it is good");
    assert!(imap.services[0].timeouts.idle > Duration::from_secs(31 * 60), "IDLE would be cut");
}

#[test]
fn the_example_of_the_repository_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/balancer.yaml");
    let config = balancer::config::read(file.as_ref()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.services[0].protocol, Protocol::Smtp);
}

#[test]
fn every_planted_fault_is_named() {
    let found = faults(
        "admin: localhost:9100
services:
  - name: smtp one
    listen: [\"0.0.0.0:25\", \"127.0.0.1:25\"]
    mode: fastest
    protocol: http
    nodes:
      - {name: node1, address: \"10.0.0.11:25\", weight: 257}
      - {name: node1, address: \"10.0.0.11:25\"}
      - {name: node2, address: \"10.0.0.12:0\"}
      - {address: \"127.0.0.1:25\"}
  - name: pop3
    listen: []
    protocol: tcp
    timeouts: {greeting: 1s, idle: 0s}
    health: {rise: 0}
    nodes: []
  - name: pop3
    listen: 0.0.0.0:25
    protocol: pop3
    virtual_ip: x
    nodes: [{name: a, address: \"10.0.0.1:110\"}]
",
    );
    for expected in [
        ":1:8: admin: `localhost:9100` is not allowed",
        ":3:11: services[0].name: `smtp one` is not allowed",
        ":4:28: services[0].listen[1]: `127.0.0.1:25` is taken by",
        ":5:11: services[0].mode: `fastest` is not allowed; allowed: least-connections, round-",
        ":6:15: services[0].protocol: `http` is not allowed; allowed: smtp, pop3, imap, tls, tcp",
        ":8:56: services[0].nodes[0].weight: `257` is not allowed; allowed: 1 to 256",
        ":9:16: services[0].nodes[1].name: `node1` names two nodes",
        ":9:32: services[0].nodes[1].address: `10.0.0.11:25` is node1's already",
        ":10:32: services[0].nodes[2].address: `10.0.0.12:0` cannot be connected to",
        ":11:9: services[0].nodes[3].name: missing",
        ":11:19: services[0].nodes[3].address: `127.0.0.1:25` is where this balancer itself",
        ":13:13: services[1].listen: needs at least one ADDRESS:PORT",
        ":15:26: services[1].timeouts.greeting: has no meaning with tcp",
        ":15:36: services[1].timeouts.idle: `0ms` is not allowed; allowed: 10ms to 7d",
        ":16:20: services[1].health.rise: `0` is not allowed; allowed: 1 to 100",
        ":17:12: services[1].nodes: needs at least one node",
        ":18:11: services[2].name: `pop3` names two services",
        ":19:13: services[2].listen[0]: `0.0.0.0:25` is taken by",
        ":21:5: services[2].virtual_ip: unknown key; allowed: name, listen, mode, protocol",
    ] {
        let named = found.iter().any(|line| line.starts_with(&format!("balancer.yaml{expected}")));
        assert!(named, "no {expected}\nin {found:#?}");
    }
    assert_eq!(found.len(), 19, "{found:#?}");
}

#[test]
fn a_file_without_services_is_told_so() {
    assert!(faults("admin: 127.0.0.1:1")[0].contains("services: missing; needed: at least one"));
    let two = SMALL.replace("0.0.0.0:25", "[\"127.0.0.1:0\", \"127.0.0.1:0\"]");
    assert_eq!(read(&two).expect("port 0 is any free one").services[0].listen.len(), 2);
}

#[test]
fn limits_and_sources_are_read_and_checked() {
    let keys = "limits: {connections_max: 9, connections_per_node_max: 4}\n    \
                source: [10.0.0.5, \"2001:db8::5\"]\n    protocol: smtp";
    let text = SMALL.replace("protocol: smtp", keys);
    let text = format!("limits: {{connections_per_address_per_minute_max: 60}}\n{text}");
    let config = read(&text).expect("it is good");
    let service = &config.services[0];
    assert_eq!(config.limits.connections_per_address_per_minute_max, Some(60));
    assert_eq!(service.limits.connections_max, Some(9));
    assert_eq!(service.limits.connections_per_node_max, Some(4));
    assert_eq!(service.source.len(), 2);
    let bad = text.replace("_max: 4", "_max: 0").replace("10.0.0.5, \"2001:db8::5\"", "0.0.0.0");
    let bad = faults(&bad.replace("minute_max: 60", "minute_max: 600001"));
    for (found, expected) in bad.iter().zip([
        ":1:50: limits.connections_per_address_per_minute_max: `600001` is not allowed",
        ":6:60: services[0].limits.connections_per_node_max: `0` is not allowed",
        ":7:14: services[0].source[0]: `0.0.0.0` is not allowed; allowed: an address of this",
    ]) {
        assert!(found.starts_with(&format!("balancer.yaml{expected}")), "{found}");
    }
    assert_eq!(bad.len(), 3, "{bad:#?}");
    let twice = faults(&text.replace("\"2001:db8::5\"", "10.0.0.5"));
    assert!(twice[0].contains("services[0].source[1]: `10.0.0.5` is there twice"), "{twice:?}");
}

#[test]
fn who_can_be_reached_from_elsewhere_needs_a_token() {
    let with = |lines: &str| SMALL.replace("admin: 127.0.0.1:9100", lines);
    for wide in ["0.0.0.0:9100", "192.0.2.1:9100", "\"[::]:9100\"", "\"[::ffff:192.0.2.1]:9100\""] {
        let lines = format!("admin: {wide}");
        let found = faults(&with(&lines));
        assert!(found[0].contains("can be reached from elsewhere; set `admin_token`"), "{found:?}");
        let guarded = format!("{lines}\nadmin_token: 0123456789abcdef");
        let config = read(&with(&guarded)).expect("it is guarded");
        assert!(config.admin.token.is_some());
    }
    for near in ["127.0.0.1:9100", "127.1.2.3:9100", "\"[::1]:9100\"", "unix:/run/b.sock"] {
        let config = read(&with(&format!("admin: {near}"))).expect("it is for this machine");
        assert_eq!(config.admin.address.to_string(), near.trim_matches('"'));
    }
    for (bad, words) in [
        ("admin: unix:run/b.sock", "admin: `unix:run/b.sock` is not allowed; allowed: an ADDRESS"),
        ("admin: 0.0.0.0:9100\nadmin_token: hunter2", "admin_token: what stands here is not all"),
        ("admin: 0.0.0.0:9100\nadmin_token: ${T}", "`T` is not set"),
    ] {
        let found = faults(&with(bad));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{found:?}");
        assert!(!found[0].contains("hunter2"), "a secret is shown: {found:?}");
    }
}
