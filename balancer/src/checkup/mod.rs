//! Is everything as it has to be around a good settings file? Doors, nodes, addresses, limits.
//! It does not know how what it finds is shown. `commands::check` calls it; nothing is changed.

mod doors;
mod machine;
mod nodes;

use std::path::Path;

use shared::checkup::Checkup;

use crate::config::Config;

/// Looks at all that these settings need, in the machine and at the nodes. `runs`: a balancer with
/// this file is running, so that ports and addresses of its own are rightly taken.
pub(crate) async fn look(file: &Path, config: &Config, runs: bool) -> Checkup {
    let mut checkup = Checkup::of(file);
    machine::descriptors(&mut checkup, config);
    machine::virtual_ip(&mut checkup, config);
    doors::look(&mut checkup, config, runs);
    nodes::look(&mut checkup, config).await;
    checkup
}

/// The key of a service's setting, as the file has it.
fn key(service: usize, rest: &str) -> String {
    format!("services[{service}].{rest}")
}
