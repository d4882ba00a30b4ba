//! `balancer check`: is this file good, and is everything around it as it has to be?
//! It does not know what is looked at (`checkup` does). Nothing is changed by it.

use std::path::{Path, PathBuf};

use super::ask::{Balancer, Where};
use super::{CommandError, print};
use crate::api::STATUS_PATH;
use crate::checkup::look;
use crate::config::{self, Config};

/// How the check is done.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only the file: no look at ports, nodes and rights.
    #[arg(long)]
    file_only: bool,
    /// What was found, as JSON.
    #[arg(long, conflicts_with = "file_only")]
    json: bool,
}

/// Prints what the file comes to, and what was found around it.
///
/// # Errors
/// Every fault of the file (64); how many things around it are wrong (1), which are printed.
pub(super) fn check(how: &How) -> Result<(), CommandError> {
    let path = &how.config;
    let config = config::read(path)?;
    let (services, nodes) = (config.services.len(), config.node_count());
    let summary = format!("{}: ok, {services} services, {nodes} nodes\n", path.display());
    if how.file_only {
        return print(&summary).map(drop);
    }
    let runs = is_running(path, &config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Failed(error.to_string()))?;
    let checkup = runtime.block_on(look(path, &config, runs));
    if how.json {
        let text = serde_json::to_string_pretty(&checkup);
        let text = text.map_err(|error| CommandError::Failed(error.to_string()))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&format!("{summary}{}", checkup.text()))?;
    }
    checkup.verdict().map_or(Ok(()), |verdict| Err(CommandError::Failed(verdict)))
}

/// Whether a balancer answers at this file's admin door: its ports are rightly taken then.
fn is_running(path: &Path, config: &Config) -> bool {
    let chosen = config.admin.address.socket_address().is_none_or(|address| address.port() != 0);
    let place = Where { config: Some(path.to_owned()), admin: None };
    chosen && Balancer::find(&place).is_ok_and(|balancer| balancer.get(STATUS_PATH).is_ok())
}
