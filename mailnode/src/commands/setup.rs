//! `mailnode setup` and `sweep`: what an administrator does once, or by hand.
//! It does not know how a cluster is made; the store does.

use std::path::Path;

use super::CommandError;
use crate::clock;
use crate::config::StoreConfig;
use crate::store::{Store, set_up};

pub(super) async fn setup(file: &Path, adopt: bool) -> Result<(), CommandError> {
    let config = StoreConfig::read(file)?;
    let made = set_up(&config.database, &[&config.mail, &config.logs], adopt).await?;
    let what = if made.was_there { "was set up already" } else { "is set up" };
    println!("cluster {} {what}", made.cluster);
    Ok(())
}

pub(super) async fn sweep(file: &Path) -> Result<(), CommandError> {
    let config = StoreConfig::read(file)?;
    shared::logging::start(&config.log);
    let store = Store::open(&config.database, &config.mail, config.sweep.orphan_age).await?;
    let swept = store.sweep(config.sweep.orphan_age, clock::now_us()).await?;
    println!("{} removed files and {} orphans taken away", swept.removed, swept.orphans);
    Ok(())
}
