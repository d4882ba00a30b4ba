//! Does `balancer check` name what is wrong around a good file, each with its line and a remedy?
//! It does not know how it looks; each set-up is broken by hand, and its good twin prints nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::fake_node::reset;
use harness::ports::Port;
use harness::program::our_command;
use harness::{Balancer, FakeNode, MOMENT, ReadSome, run};
use tempfile::TempDir;

/// What a node must be told before it greets: the signature of PROXY version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A settings file in a directory of its own.
struct SetUp {
    directory: TempDir,
    admin: u16,
}

impl SetUp {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, admin: Port::claim().number() }
    }

    /// Writes a file with one service before these nodes, and more of both.
    fn file(&self, root: &str, service: &str, nodes: &[String]) -> PathBuf {
        let mut text = format!(
            "admin: 127.0.0.1:{}\n{root}services:\n  - name: smtp\n    protocol: smtp\n{service}",
            self.admin
        );
        if !service.contains("listen:") {
            text += "    listen: [\"127.0.0.1:0\"]\n";
        }
        text += "    nodes:\n";
        for (number, node) in nodes.iter().enumerate() {
            text += &format!("      - {{name: node{number}, address: \"{node}\"}}\n");
        }
        let path = self.directory.path().join("balancer.yaml");
        std::fs::write(&path, text).expect("a file");
        path
    }
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Each of `wanted` stands in what the check says, which ends with 1 and within five seconds.
fn names(path: &Path, wanted: &[&str]) {
    let began = Instant::now();
    let finished = run(our_command("balancer").args(["check", "--config"]).arg(path), b"");
    let took = began.elapsed();
    let said = finished.exits(1).text();
    for words in wanted {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(said.contains("remedy: "), "{said}");
}

/// A node that greets only after a PROXY header, or only without one.
fn choosy(wants_header: bool) -> FakeNode {
    FakeNode::start(move |mut stream| {
        if !wants_header {
            let _ = std::io::Write::write_all(&mut stream, b"220 node\r\n");
        }
        let mut first = [0; 16];
        let length = stream.read_some(&mut first).unwrap_or(0);
        if first[..length].starts_with(SIGNATURE) != wants_header {
            return;
        }
        let said: &[u8] = if wants_header { b"220 node\r\n" } else { b"221 bye\r\n" };
        let _ = std::io::Write::write_all(&mut stream, said);
        let _ = stream.read_some(&mut first);
    })
}

#[test]
fn a_right_set_up_is_found_right_while_it_runs_too() {
    let node = FakeNode::greeter("220 node\r\n");
    let set_up = SetUp::new();
    let path = set_up.file("", "", &[at(node.port())]);
    let check = |path: &Path| {
        let mut command = our_command("balancer");
        run(command.args(["check", "--config"]).arg(path), b"").exits(0).text()
    };
    let said = check(&path);
    assert!(said.contains("node0 at") && said.contains("greets after"), "{said}");
    let balancer = Balancer::before("smtp", "", &[node.port()]);
    let said = check(&balancer.yaml());
    assert!(said.contains("is open, by the balancer that runs"), "{said}");
    let mut json = our_command("balancer");
    let text = run(json.args(["check", "--json", "--config"]).arg(&path), b"").exits(0).text();
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let findings = value["findings"].as_array().expect("a list");
    assert!(findings.iter().all(|finding| finding["state"] == "ok"), "{text}");
    assert!(findings.iter().any(|f| f["key"] == "services[0].nodes[0].address"), "{text}");
}

#[test]
fn nodes_that_do_not_answer_as_they_should() {
    let set_up = SetUp::new();
    let empty = Port::claim();
    let silent = FakeNode::start(|mut stream| {
        let _ = stream.set_read_timeout(Some(MOMENT));
        let _ = stream.read_some(&mut [0; 64]);
    });
    let resetting = FakeNode::start(reset);
    let busy = FakeNode::greeter("421 4.3.2 not now\r\n");
    let pop3 = FakeNode::greeter("+OK this is another protocol\r\n");
    let nodes = [empty.number(), silent.port(), resetting.port(), busy.port(), pop3.port()];
    let path = set_up.file("", "", &nodes.map(at));
    names(
        &path,
        &[
            &format!("balancer.yaml:7:23: services[0].nodes[0].address: node0 at {}", at(nodes[0])),
            "refuses connections: nothing listens there",
            "node1 at",
            "accepts and says nothing",
            "node2 at",
            "closes the connection without a word",
            "node3 at",
            "says that it takes nobody now",
            "node4 at",
            "greets in another protocol than this service's",
        ],
    );
}

#[test]
fn a_proxy_header_that_is_expected_and_not_sent_and_the_other_way_round() {
    let set_up = SetUp::new();
    let wants = choosy(true);
    let path = set_up.file("", "", &[at(wants.port())]);
    let words = "with none node0 at";
    names(&path, &["services[0].proxy_protocol: ", words, "with v2 it does"]);
    let plain = choosy(false);
    let path = set_up.file("", "    proxy_protocol: v2\n", &[at(plain.port())]);
    names(&path, &["services[0].proxy_protocol: node0 at", "it expects none"]);
}

#[test]
fn what_the_machine_does_not_have() {
    let node = FakeNode::greeter("220 node\r\n");
    let nodes = [at(node.port())];
    let set_up = SetUp::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    let service = format!("    listen: [\"{taken}\", \"192.0.2.1:25\"]\n    source: [192.0.2.7]\n");
    let root = "limits: {connections_max: 9000000}\n\
                virtual_ip: {address: 192.0.2.25/24, interface: nowhere0}\n";
    let path = set_up.file(root, &service, &nodes);
    names(
        &path,
        &[
            &format!("services[0].listen[0]: {taken} is taken by another program"),
            "services[0].listen[1]: 192.0.2.1:25 cannot be opened: this machine does not have",
            "services[0].source[0]: nodes cannot be dialed from 192.0.2.7",
            "limits.connections_max: 9000000 connections are more than",
            "virtual_ip.interface: this machine has no interface nowhere0",
            "virtual_ip.address: no service listens at 192.0.2.25",
        ],
    );
}
