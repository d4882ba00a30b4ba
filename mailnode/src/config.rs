//! The settings file of a node, `mailnode.yaml`: every key, its default, what is allowed.
//! It does not know YAML (`shared::config` does). One file serves all nodes and all commands: a
//! command that is not a node reads only what it needs, so `${NODE}` may be unset there.

mod limits;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use shared::config::{self, Faults, Map, Value};
use shared::logging::LogConfig;

pub use self::limits::Limits;
use self::limits::read_limits;
use crate::mail::address::is_domain;
use crate::sasl::Mechanism;
use crate::store::{DatabaseUrl, DatabaseUrls};
use crate::tls::TlsFiles;

/// What every command needs: where things are kept.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The database: of several servers the one that may be written to is used.
    pub database: DatabaseUrls,
    /// Root of the messages' files.
    pub mail: PathBuf,
    /// Root of the nodes' log directories.
    pub logs: PathBuf,
    /// When files of nobody are taken away.
    pub sweep: SweepConfig,
    /// How the process logs.
    pub log: LogConfig,
}

/// When files of nobody are taken away.
#[derive(Debug, Clone, Copy)]
pub struct SweepConfig {
    /// Time between two sweeps, of whichever node.
    pub interval: Duration,
    /// Age at which a file without a row is an orphan.
    pub orphan_age: Duration,
}

/// What a running node needs on top.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where things are kept.
    pub store: StoreConfig,
    /// The node's name, alone its own in the cluster.
    pub node: NodeName,
    /// The name in greetings and `Received:` lines; the same on all nodes.
    pub hostname: Hostname,
    /// Where `/metrics`, `/live` and `/ready` are served.
    pub admin: SocketAddr,
    /// Where incoming mail is taken.
    pub smtp: Vec<SocketAddr>,
    /// Where maildrops are served.
    pub pop3: Vec<SocketAddr>,
    /// Where they are served with TLS from the first byte on.
    pub pop3s: Vec<SocketAddr>,
    /// The certificate and its key.
    pub tls: Option<TlsFiles>,
    /// From here a PROXY header is required, from elsewhere it is refused.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Passwords are taken without TLS.
    pub plain_text_login: bool,
    /// The ways to log in besides a command with name and password, the best first.
    pub mechanisms: Vec<Mechanism>,
    /// Time between two logins to one maildrop; zero: any.
    pub login_delay: Duration,
    /// Local temp, this node's alone.
    pub temp: PathBuf,
    /// All limits.
    pub limits: Limits,
    /// How long an orderly stop waits for sessions.
    pub drain_timeout: Duration,
}

/// A node's name: a label, also a directory and a metric's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(pub String);

impl Value for NodeName {
    const ALLOWED: &'static str = "1 to 63 of a-z, 0-9 and -";

    fn parse(text: &str) -> Option<Self> {
        let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=63).contains(&text.len()) && text.bytes().all(fit);
        is_name.then(|| Self(text.to_owned()))
    }
}

/// A host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname(pub String);

impl Value for Hostname {
    const ALLOWED: &'static str = "a host name such as mx.example.org";

    fn parse(text: &str) -> Option<Self> {
        (is_domain(text) && !text.starts_with('[')).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Value for Mechanism {
    const ALLOWED: &'static str = "SCRAM-SHA-256, PLAIN or LOGIN";

    fn parse(text: &str) -> Option<Self> {
        Self::named(text)
    }
}

impl Value for DatabaseUrl {
    const ALLOWED: &'static str = Self::FORMS;

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// An absolute path.
#[derive(Debug, Clone)]
struct AbsolutePath(PathBuf);

impl Value for AbsolutePath {
    const ALLOWED: &'static str = "an absolute path";

    fn parse(text: &str) -> Option<Self> {
        let path = PathBuf::from(text);
        path.is_absolute().then_some(Self(path))
    }
}

impl StoreConfig {
    /// Reads what a command needs that is not a node.
    ///
    /// # Errors
    /// Every fault of the file, with its place and what is allowed.
    pub fn read(file: &Path) -> Result<Self, Faults> {
        config::read_file(file, |root| {
            for key in NODE_KEYS {
                root.ignore(key);
            }
            let mut directories = root.map("directories");
            if let Some(directories) = &mut directories {
                directories.ignore("temp");
            }
            read_store(root, directories)
        })
    }
}

/// Keys that only a running node reads.
const NODE_KEYS: [&str; 11] = [
    "node",
    "hostname",
    "admin",
    "listen",
    "tls",
    "proxy_protocol_from",
    "plain_text_login",
    "sasl",
    "login_delay",
    "limits",
    "drain_timeout",
];

/// Keys that every other command reads.
const STORE_KEYS: [&str; 4] = ["database", "directories", "sweep", "log"];

impl NodeConfig {
    /// Reads all of it.
    ///
    /// # Errors
    /// Every fault of the file, with its place and what is allowed.
    pub fn read(file: &Path) -> Result<Self, Faults> {
        config::read_file(file, read_node)
    }
}

fn read_store(root: &mut Map<'_>, directories: Option<Map<'_>>) -> Option<StoreConfig> {
    let databases = root.list::<DatabaseUrl>("database");
    let given = databases.len();
    let databases = match DatabaseUrls::new(databases) {
        Ok(databases) => Some(databases),
        Err(why) => {
            if given > 0 {
                root.fault("database", why);
            } else if !root.has("database") {
                let allowed = DatabaseUrl::ALLOWED;
                root.fault("database", format!("is missing or bad; allowed: {allowed}"));
            }
            None
        }
    };
    let mut paths = (None, None);
    match directories {
        None => root.fault("directories", "is missing; it has the keys temp, mail and logs"),
        Some(mut directories) => {
            paths.0 = directories.required::<AbsolutePath>("mail");
            paths.1 = directories.required::<AbsolutePath>("logs");
        }
    }
    let mut sweep = SweepConfig { interval: hours(6), orphan_age: hours(24) };
    if let Some(mut given) = root.map("sweep") {
        sweep.interval = given.within("interval", sweep.interval, seconds(1)..=hours(24 * 7));
        sweep.orphan_age =
            given.within("orphan_age", sweep.orphan_age, seconds(5)..=hours(24 * 90));
    }
    let log = LogConfig::read(root);
    let database = databases?;
    Some(StoreConfig { database, mail: paths.0?.0, logs: paths.1?.0, sweep, log })
}

fn read_node(root: &mut Map<'_>) -> Option<NodeConfig> {
    let node = root.required("node");
    let hostname = root.required("hostname");
    let admin = root.required("admin");
    let (mut smtp, mut pop3, mut pop3s) = (Vec::new(), Vec::new(), Vec::new());
    match root.map("listen") {
        None => root.fault("listen", "is missing; it has the keys smtp, pop3 and pop3s"),
        Some(mut listen) => {
            smtp = listen.list("smtp");
            pop3 = listen.list("pop3");
            pop3s = listen.list("pop3s");
        }
    }
    let has_tls = root.has("tls");
    let tls = read_tls(root);
    if !has_tls && !pop3s.is_empty() {
        root.fault("tls", "is missing: `listen.pop3s` needs it; keys: certificate and key");
    }
    let proxy_protocol_from = root.list("proxy_protocol_from");
    let plain_text_login = root.or("plain_text_login", false);
    let has_sasl = root.has("sasl");
    let mut mechanisms = root.list("sasl");
    if !has_sasl {
        mechanisms = Mechanism::ALL.to_vec();
    }
    let login_delay = root.within("login_delay", seconds(0), seconds(0)..=hours(1));
    let limits = read_limits(root.map("limits"));
    let drain_timeout = root.within("drain_timeout", seconds(30), seconds(0)..=hours(1));
    let mut directories = root.map("directories");
    let temp = directories.as_mut().and_then(|map| map.required::<AbsolutePath>("temp"));
    let store = read_store(root, directories);
    Some(NodeConfig {
        store: store?,
        node: node?,
        hostname: hostname?,
        admin: admin?,
        smtp,
        pop3,
        pop3s,
        tls,
        proxy_protocol_from,
        plain_text_login,
        mechanisms,
        login_delay,
        temp: temp?.0,
        limits,
        drain_timeout,
    })
}

fn read_tls(root: &mut Map<'_>) -> Option<TlsFiles> {
    let mut map = root.map("tls")?;
    let certificate = map.required::<AbsolutePath>("certificate");
    let key = map.required::<AbsolutePath>("key");
    Some(TlsFiles { certificate: certificate?.0, key: key?.0 })
}

/// Reads where certificate and key lie, for a command that makes them.
///
/// # Errors
/// Every fault of that part of the file, with its place and what is allowed.
pub fn read_tls_files(file: &Path) -> Result<TlsFiles, Faults> {
    config::read_file(file, |root| {
        for key in NODE_KEYS.into_iter().chain(STORE_KEYS).filter(|key| *key != "tls") {
            root.ignore(key);
        }
        if !root.has("tls") {
            root.fault("tls", "is missing; it has the keys certificate and key");
        }
        read_tls(root)
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn hours(count: u64) -> Duration {
    seconds(count * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "
node: ${NODE}
hostname: mx.example.test
admin: 127.0.0.1:${ADMIN}
listen: {smtp: ['127.0.0.1:2525'], pop3: ['[::1]:2110']}
proxy_protocol_from: [127.0.0.1/32]
database: ['sqlite:///var/lib/mailnode/mail.db']
directories: {temp: '/tmp/${NODE}', mail: /srv/mail/mail, logs: /srv/mail/logs}
limits: {message_bytes_max: 25 MiB}
";

    fn node(text: &str) -> Result<NodeConfig, Faults> {
        let env = |name: &str| match name {
            "NODE" => Some("node1".to_owned()),
            "ADMIN" => Some("9200".to_owned()),
            _ => None,
        };
        config::read_text("mailnode.yaml", text, &env, read_node)
    }

    #[test]
    fn a_whole_file() {
        let config = node(WHOLE).unwrap();
        assert_eq!(config.node.0, "node1");
        assert_eq!(config.temp, Path::new("/tmp/node1"));
        assert_eq!(config.limits.message_bytes_max, 25 << 20);
        assert_eq!(config.pop3, ["[::1]:2110".parse().unwrap()]);
        assert!(!config.plain_text_login);
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let text = "
node: Node_1
hostname: a b
admin: 127.0.0.1
listen: {smtp: [nowhere], imap: ['127.0.0.1:143']}
database: ['oracle://db/mail']
directories: {temp: temp, mail: /srv/mail/mail}
limits: {recipients_max: 5}
plain_text_logins: true
";
        let told = node(text).unwrap_err().to_string();
        for part in [
            "mailnode.yaml:2:7: node",
            "3:11: hostname",
            "4:8: admin",
            "5:17: listen.smtp[0]",
            "5:27: listen.imap",
            "6:12: database[0]",
            "7:21: directories.temp",
            "directories.logs",
            "8:26: limits.recipients_max",
            "9:1: plain_text_logins",
        ] {
            assert!(told.contains(part), "`{part}` is missing in:\n{told}");
        }
    }

    #[test]
    fn a_command_reads_the_same_file_without_a_node() {
        let read = |root: &mut Map<'_>| {
            NODE_KEYS.into_iter().for_each(|key| root.ignore(key));
            let mut directories = root.map("directories");
            directories.as_mut().unwrap().ignore("temp");
            read_store(root, directories)
        };
        let config = config::read_text("mailnode.yaml", WHOLE, &|_| None, read).unwrap();
        assert_eq!(config.mail, Path::new("/srv/mail/mail"));
    }
}
