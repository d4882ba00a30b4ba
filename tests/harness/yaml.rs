//! The two YAML files of a test's cluster, as texts.
//! It does not know what the keys mean; `cluster` writes them and starts the programs on them.

use std::fmt::Write as _;
use std::path::Path;

use crate::cluster::administer;

/// The name of the mail domain and of its two users' host in all tests.
pub const DOMAIN: &str = "example.test";

/// One service of the balancer: where it listens and the nodes it may choose from.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name in the YAML.
    pub name: String,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// least-connections, round-robin or failover.
    pub mode: String,
    /// smtp or pop3.
    pub protocol: &'static str,
    /// Names and ports of its nodes, in order.
    pub nodes: Vec<(String, u16)>,
}

/// The balancer's file.
pub fn balancer(admin: u16, services: &[Service], more: &str) -> String {
    let log = "log: {format: json, level: info}";
    let mut text = format!("admin: 127.0.0.1:{admin}\n{log}\nservices:\n");
    for service in services {
        let Service { name, port, mode, protocol, nodes } = service;
        let _ = write!(
            text,
            "  - name: {name}\n    listen: [\"127.0.0.1:{port}\"]\n    mode: {mode}\n    \
             protocol: {protocol}\n    proxy_protocol: v2\n    \
             health: {{interval: 100ms, timeout: 1s, rise: 2, fall: 2}}\n    nodes:\n"
        );
        for (node, port) in nodes {
            let _ = writeln!(text, "      - {{name: {node}, address: \"127.0.0.1:{port}\"}}");
        }
    }
    text.push_str(more);
    text
}

/// Makes the certificate that a nodes' file names: for every node, and for those who call it by
/// `localhost` or its address.
///
/// # Panics
/// When it cannot be made.
pub fn make_certificate(config: &Path) {
    let names = ["*.example.test", "localhost", "127.0.0.1"];
    let verbs = [&["certificate", "self-signed"][..], &names].concat();
    administer(config, &verbs, "").exits(0);
}

/// The nodes' one file: what differs by node comes from the environment, as in
/// `configs/mailnode.yaml`. A node's host name is `NODE.example.test`, so that a client sees in
/// the greeting whom it has reached. `databases`: the addresses.
pub fn mailnode(directory: &Path, databases: &[&str], more: &str) -> String {
    let databases = databases.join("\", \"");
    let directory = directory.display();
    format!(
        "node: ${{NODE}}\n\
         hostname: ${{NODE}}.{DOMAIN}\n\
         admin: 127.0.0.1:${{ADMIN_PORT}}\n\
         listen:\n  smtp: [\"127.0.0.1:${{SMTP_PORT}}\"]\n  \
         pop3: [\"127.0.0.1:${{POP3_PORT}}\"]\n  pop3s: [\"127.0.0.1:${{POP3S_PORT}}\"]\n\
         tls: {{certificate: {directory}/certificate.pem, key: {directory}/key.pem}}\n\
         proxy_protocol_from: [127.0.0.1/32]\n\
         plain_text_login: true\n\
         database: [\"{databases}\"]\n\
         directories:\n  temp: {directory}/temp/${{NODE}}\n  \
         mail: {directory}/store/mail\n  logs: {directory}/store/logs\n\
         log: {{format: json, level: info}}\n\
         {more}"
    )
}
