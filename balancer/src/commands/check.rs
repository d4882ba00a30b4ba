//! `balancer check`: is this file good?
//! It does not know whether a balancer runs: ports in use are no fault of a file.

use std::path::Path;

use super::{CommandError, print};
use crate::config;

/// Prints what the file comes to.
///
/// # Errors
/// Every fault of it.
pub(super) fn check(path: &Path) -> Result<(), CommandError> {
    let config = config::read(path)?;
    let (services, nodes) = (config.services.len(), config.node_count());
    print(&format!("{}: ok, {services} services, {nodes} nodes\n", path.display())).map(drop)
}
