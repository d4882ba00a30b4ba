//! `mailnode check`: everything that has to be right for a node to run, every fault at once, each
//! with its place and remedy. It does not know what is looked at (`checkup` does).

use std::path::Path;

use super::CommandError;
use crate::checkup::look;
use crate::config::NodeConfig;

/// Prints what was found: as JSON, or as lines for people.
pub(super) async fn check(file: &Path, json: bool) -> Result<(), CommandError> {
    let config = NodeConfig::read(file)?;
    let checkup = look(file, &config).await;
    if json {
        let text = serde_json::to_string_pretty(&checkup);
        println!("{}", text.map_err(|error| CommandError::Failed(error.to_string()))?);
    } else {
        print!("{}", checkup.text());
    }
    checkup.verdict().map_or(Ok(()), |verdict| Err(CommandError::Failed(verdict)))
}
