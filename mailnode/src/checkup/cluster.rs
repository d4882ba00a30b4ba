//! Does the database answer, does it keep what it acknowledges, and what does it say of the nodes?
//! It does not know SQL (`store` does) or directories. `checkup` calls it.

use shared::checkup::Checkup;

use super::network_file_system;
use crate::clock;
use crate::config::NodeConfig;
use crate::process::ProcessIdentity;
use crate::store::{Facts, Store};

/// Clocks that are further apart make `Received:` lines, certificates and log lines lie.
const CLOCKS_APART_MAX_US: i64 = 2_000_000;

/// What the cluster's database says; nothing where it does not answer.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Its id, which the markers of the directories must have.
    pub(super) id: Option<String>,
    /// A node with this file's name is running, so its ports and directories are rightly taken.
    pub(super) runs: bool,
    /// Nodes that live on other machines: what they share cannot lie on a disk of this one.
    pub(super) elsewhere: Vec<String>,
}

pub(super) async fn look(checkup: &mut Checkup, config: &NodeConfig) -> Cluster {
    if let Some(file) = config.store.database.file()
        && let Some(kind) = network_file_system(file)
    {
        checkup.fault(
            "database",
            format!(
                "{} lies on a network file system ({kind}): SQLite's locks do not hold there",
                file.display()
            ),
            "put it on a local disk; for nodes on several machines take PostgreSQL or MariaDB \
             (`mailnode switch`)",
        );
    }
    let store = &config.store;
    let opened = Store::open(&store.database, &store.mail, store.sweep.orphan_age).await;
    let facts = match &opened {
        Ok(store) => store.facts().await,
        Err(error) => {
            unusable(checkup, &error.to_string());
            return Cluster::default();
        }
    };
    let mut cluster = Cluster::default();
    cluster.id = opened.as_ref().ok().map(|store| store.cluster().to_owned());
    match facts {
        Err(error) => unusable(checkup, &error.to_string()),
        Ok(facts) => {
            checkup.good("database", format!("{} answers", facts.server));
            server(checkup, &facts);
            nodes(checkup, config, &facts, &mut cluster);
        }
    }
    cluster
}

/// Why the database cannot be used: the store's own words end in the remedy where there is one.
fn unusable(checkup: &mut Checkup, text: &str) {
    let what = text.strip_prefix("database: ").unwrap_or(text);
    let remedy = [
        ("run `mailnode", "that command, as the user that may create tables"),
        ("password", "correct user and password in `database`"),
        ("Access denied", "correct user and password in `database`"),
        ("standby", "name the primary in `database` too: the writable one is found by itself"),
        ("read-only", "name the primary in `database` too: the writable one is found by itself"),
    ];
    let remedy = remedy.iter().find(|(word, _)| what.contains(word)).map_or(
        "start the server, or correct `database`; `mailnode setup` makes the tables of a new one",
        |(_, remedy)| remedy,
    );
    checkup.fault("database", what, remedy);
}

fn server(checkup: &mut Checkup, facts: &Facts) {
    for weakness in &facts.weaknesses {
        checkup.fault("database", &weakness.what, &weakness.remedy);
    }
    let apart = (clock::now_us() - facts.clock_us).abs();
    if apart > CLOCKS_APART_MAX_US {
        checkup.fault(
            "database",
            format!("its clock and this machine's are {} s apart", apart / 1_000_000),
            "let NTP set both clocks (chrony, systemd-timesyncd)",
        );
    }
}

fn nodes(checkup: &mut Checkup, config: &NodeConfig, facts: &Facts, cluster: &mut Cluster) {
    let own = ProcessIdentity::own();
    let name = &config.node.0;
    for row in facts.nodes.iter().filter(|row| row.may_live(&own)) {
        if row.name != *name {
            if !own.is_of_this_machine(&row.process) {
                cluster.elsewhere.push(row.name.clone());
            }
        } else if own.is_of_this_machine(&row.process) {
            cluster.runs = true;
            checkup.good("node", format!("{name} is running here, epoch {}", row.epoch));
        } else {
            checkup.fault(
                "node",
                format!(
                    "a node named {name} is alive on another machine (epoch {}), and has the \
                         log directory of that name",
                    row.epoch
                ),
                "give this node another name, or stop that one first",
            );
        }
    }
    if !cluster.runs {
        checkup.good("node", format!("{name} is not running"));
    }
}
