//! Is everything as it has to be around a node's good settings file? Database, directories, ports,
//! certificate, clocks. It does not know how a node runs or how findings are shown;
//! `commands::check` calls it. Nothing is changed but a file in each directory, gone at once.

mod certificate;
mod cluster;
mod directories;
mod machine;

use std::path::Path;

use rustix::fs::statfs;
use shared::checkup::Checkup;

use crate::config::NodeConfig;

/// Looks at all that a node with these settings needs. Every fault is found, not the first one.
pub(crate) async fn look(file: &Path, config: &NodeConfig) -> Checkup {
    let mut checkup = Checkup::of(file);
    let cluster = cluster::look(&mut checkup, config).await;
    let store = &config.store;
    directories::shared(&mut checkup, "directories.mail", &store.mail, &cluster);
    directories::shared(&mut checkup, "directories.logs", &store.logs, &cluster);
    directories::apart(&mut checkup, config);
    directories::temp(&mut checkup, config, cluster.runs);
    certificate::look(&mut checkup, config);
    machine::descriptors(&mut checkup, config);
    machine::ports(&mut checkup, config, cluster.runs);
    checkup
}

/// File system types (`statfs`) that lie on other machines, or may.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 7] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x6573_5546, "FUSE: GlusterFS or its like"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x0102_1997, "9P"),
];

/// What kind of network file system a path lies on, or the directory it would be made in; `None`:
/// a local disk, or nobody can tell.
fn network_file_system(path: &Path) -> Option<&'static str> {
    let there = path.ancestors().find(|there| there.exists())?;
    let status = statfs(there).ok()?;
    #[allow(clippy::cast_sign_loss, reason = "a type is a bit pattern")]
    let kind = status.f_type as u64 & 0xffff_ffff;
    NETWORK_FILE_SYSTEMS.iter().find(|(of, _)| *of == kind).map(|(_, name)| *name)
}
