//! Are mail, logs and temp what they have to be: there, this cluster's, written to and kept?
//! It does not know what lies in them. `checkup` calls it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Instant, SystemTime};

use rustix::fs::{Access, access};
use shared::checkup::Checkup;

use super::cluster::Cluster;
use super::network_file_system;
use crate::config::NodeConfig;
use crate::spool;
use crate::store::MARKER;

/// The store's clock stamps files; further from ours than this, it misleads the sweep.
const CLOCKS_APART_MAX_S: u64 = 2;
/// Each 250 waits for several flushes.
const FLUSH_MAX_MS: u128 = 500;

/// One of the two directories all nodes share.
pub(super) fn shared(checkup: &mut Checkup, key: &str, path: &Path, cluster: &Cluster) {
    let shown = path.display();
    let metadata = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return checkup.fault(key, format!("{shown} is no directory"), "name a directory");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return checkup.fault(
                key,
                format!("{shown} is not there"),
                "mount the file store, or make a new one with `mailnode setup`",
            );
        }
        Err(error) => {
            let remedy = "let this user reach it: each directory above needs x for it";
            return checkup.fault(key, format!("{shown}: {error}"), remedy);
        }
    };
    if !has_marker(checkup, key, path, cluster) {
        return;
    }
    let place = network_file_system(path).unwrap_or("a local disk");
    if let ("a local disk", [first, ..]) = (place, cluster.elsewhere.as_slice()) {
        checkup.fault(
            key,
            format!(
                "{shown} lies on this machine's own disk, and {first} lives on another \
                     machine: they do not see the same mail"
            ),
            "mount the network file store there, on both machines",
        );
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        checkup.fault(
            key,
            format!(
                "{shown} belongs to user {} with mode {:o}: others may read mail, or this \
                     user may not write",
                metadata.uid(),
                metadata.mode() & 0o7777
            ),
            format!(
                "as root: chown -R to the user of the nodes (here {}) and chmod 700",
                rustix::process::geteuid().as_raw()
            ),
        );
    }
    match probe(path) {
        Ok(probe) => {
            checkup.good(
                key,
                format!("{shown} on {place}: written and flushed in {} ms", probe.took_ms),
            );
            judge(checkup, key, &probe);
        }
        Err(error) => checkup.fault(
            key,
            format!("{shown}: a file cannot be written and flushed there: {error}"),
            "make it writable for this user, and see that it is not full or mounted read-only",
        ),
    }
}

fn has_marker(checkup: &mut Checkup, key: &str, path: &Path, cluster: &Cluster) -> bool {
    let (shown, marker) = (path.display(), path.join(MARKER));
    match (std::fs::read_to_string(&marker), &cluster.id) {
        (Ok(found), Some(id)) if found.trim() != id => {
            let found = found.trim();
            checkup.fault(
                key,
                format!("{shown} belongs to cluster {found}, the database to {id}"),
                "mount this cluster's store there, or name its database",
            );
            false
        }
        (Ok(_), _) => true,
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            checkup.fault(
                key,
                format!(
                    "{shown} has no marker {MARKER}: the file store is not mounted, or was \
                         not set up"
                ),
                "mount it; a new one is made by `mailnode setup`",
            );
            false
        }
        (Err(error), _) => {
            let remedy = "let the user of the node read it";
            checkup.fault(key, format!("{}: {error}", marker.display()), remedy);
            false
        }
    }
}

/// What writing a file showed.
struct Probe {
    took_ms: u128,
    clocks_apart_s: u64,
}

fn judge(checkup: &mut Checkup, key: &str, probe: &Probe) {
    if probe.clocks_apart_s > CLOCKS_APART_MAX_S {
        checkup.fault(
            key,
            format!("its server's clock and this machine's are {} s apart", probe.clocks_apart_s),
            "let NTP set both clocks (chrony, systemd-timesyncd)",
        );
    }
    if probe.took_ms > FLUSH_MAX_MS {
        checkup.fault(
            key,
            format!("a flush took {} ms: each message waits for it", probe.took_ms),
            "look at the disk or network behind it",
        );
    }
}

/// Writes a file as a delivery does, and takes it away.
fn probe(directory: &Path) -> io::Result<Probe> {
    let path = directory.join(format!(".check-{}", std::process::id()));
    let began = Instant::now();
    let written = write_and_flush(directory, &path);
    let took_ms = began.elapsed().as_millis();
    let removed = std::fs::remove_file(&path);
    let stamped = written?;
    removed?;
    let now = SystemTime::now();
    let apart = now.duration_since(stamped).or_else(|_| stamped.duration_since(now));
    Ok(Probe { took_ms, clocks_apart_s: apart.unwrap_or_default().as_secs() })
}

fn write_and_flush(directory: &Path, path: &Path) -> io::Result<SystemTime> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(b"check\n")?;
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    file.metadata()?.modified()
}

/// The three must not lie within one another.
pub(super) fn apart(checkup: &mut Checkup, config: &NodeConfig) {
    let store = &config.store;
    let all = [
        ("directories.mail", &store.mail),
        ("directories.logs", &store.logs),
        ("directories.temp", &config.temp),
    ];
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (index, (key, path)) in all.iter().enumerate() {
        for (other_key, other) in &all[..index] {
            let (path, other) = (real(path), real(other));
            if path.starts_with(&other) || other.starts_with(&path) {
                checkup.fault(
                    *key,
                    format!(
                        "{} and {other_key} ({}) lie within one another",
                        path.display(),
                        other.display()
                    ),
                    "give each a directory of its own",
                );
            }
        }
    }
}

/// Temp: on this machine, this node's alone.
pub(super) fn temp(checkup: &mut Checkup, config: &NodeConfig, runs: bool) {
    let (key, temp) = ("directories.temp", &config.temp);
    let shown = temp.display();
    let there = if temp.exists() { temp } else { temp.parent().unwrap_or(temp) };
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        return checkup.fault(
            key,
            format!("{shown}: {error}"),
            "make the directory, or its parent, and let this user write there",
        );
    }
    if let Some(kind) = network_file_system(there) {
        checkup.fault(
            key,
            format!(
                "{shown} lies on a network file system ({kind}): each message passes through \
                     it"
            ),
            "put it on a local disk of this machine",
        );
    }
    match spool::user_of(temp) {
        Some(name) if !runs || name != config.node.0 => checkup.fault(
            key,
            format!(
                "{shown} is the temp of node {name}, which is running: each would sweep away \
                     the other's messages"
            ),
            "give each node a directory of its own, such as /var/spool/mailnode/${NODE}",
        ),
        _ => checkup.good(key, format!("{shown} is local and this node's")),
    }
}
