//! `mailnode check`: everything that has to be right for a node to run, every fault at once, each
//! with its remedy. It does not know how a node runs; it looks at what one will need.

use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Access, access, statfs};

use shared::listener::Listener;

use super::CommandError;
use crate::config::NodeConfig;
use crate::process::ProcessIdentity;
use crate::store::{FileStore, Store};

/// File system types (`statfs`) that lie on other machines: NFS, SMB, CIFS, FUSE (GlusterFS),
/// Ceph, AFS, 9P.
const NETWORK_FILE_SYSTEMS: [u64; 7] =
    [0x6969, 0x517b, 0xff53_4d42, 0x6573_5546, 0x00c3_6400, 0x5346_414f, 0x0102_1997];

/// Descriptors a node needs besides those of its clients.
const DESCRIPTORS_RESERVED: u64 = 200;

pub(super) async fn check(file: &Path) -> Result<(), CommandError> {
    let config = NodeConfig::read(file)?;
    let mut report = Report::default();
    let opened =
        Store::open(&config.store.database, &config.store.mail, config.store.sweep.orphan_age);
    let mut alive = false;
    match opened.await {
        Err(error) => report.fault(format!("{error}")),
        Ok(store) => {
            report.good(format!("database: cluster {}", store.cluster()));
            alive = check_name(&mut report, &store, &config.node.0).await;
            let logs = FileStore::new(&config.store.logs, store.cluster());
            for (what, files) in [("mail", store.files()), ("logs", &logs)] {
                match files.check().await {
                    Ok(()) => report.good(format!("{what}: the marker is there")),
                    Err(error) => report.fault(format!("directories.{what}: {error}")),
                }
            }
        }
    }
    check_temp(&mut report, &config.temp);
    super::certificate::check(&mut report, &config);
    check_descriptors(&mut report, config.limits.connections_max as u64);
    let ports = config.smtp.iter().chain(&config.pop3).chain(&config.pop3s);
    let ports = ports.chain([&config.admin]);
    for address in ports {
        check_port(&mut report, *address, alive);
    }
    if config.smtp.is_empty() && config.pop3.is_empty() && config.pop3s.is_empty() {
        report.fault("listen: none of smtp, pop3 and pop3s has an address; give one".to_owned());
    }
    report.print(file)
}

/// True: this node's own run is alive, so its ports are rightly taken.
async fn check_name(report: &mut Report, store: &Store, name: &str) -> bool {
    match store.node(name).await {
        Err(error) => report.fault(format!("node: {error}")),
        Ok(Some(row)) if row.may_live(&ProcessIdentity::own()) => {
            report.good(format!(
                "node: {name} is running (epoch {}): its log directory is taken",
                row.epoch
            ));
            return true;
        }
        Ok(_) => report.good(format!("node: the name {name} and its log directory are free")),
    }
    false
}

/// Temp must be on this machine: each message passes through it, and none may be seen by others.
fn check_temp(report: &mut Report, temp: &Path) {
    let there = if temp.exists() { temp } else { temp.parent().unwrap_or(temp) };
    let shown = temp.display();
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        report.fault(format!(
            "directories.temp: {shown}: {error}: make the directory, or its parent, writable"
        ));
        return;
    }
    match statfs(there) {
        #[allow(clippy::cast_sign_loss, reason = "a type is a bit pattern")]
        Ok(status) if NETWORK_FILE_SYSTEMS.contains(&(status.f_type as u64 & 0xffff_ffff)) => {
            report.fault(format!(
                "directories.temp: {shown} lies on a network file system: put it on a local disk"
            ));
        }
        Ok(_) => report.good(format!("temp: {shown} is local")),
        Err(error) => report.fault(format!("directories.temp: {shown}: {error}")),
    }
}

fn check_descriptors(report: &mut Report, connections_max: u64) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match limit {
        Some(limit) if connections_max + DESCRIPTORS_RESERVED > limit => report.fault(format!(
            "limits.connections_max: {connections_max} connections need more than the {limit} open \
             files this machine allows: raise that limit (LimitNOFILE), or lower this one"
        )),
        _ => report.good(format!("open files: enough for {connections_max} connections")),
    }
}

fn check_port(report: &mut Report, address: SocketAddr, alive: bool) {
    match Listener::bind(address) {
        Ok(_) => report.good(format!("port: {address} is free")),
        Err(error) if alive && error.kind() == std::io::ErrorKind::AddrInUse => {
            report.good(format!("port: {address} is taken, by the running node as it seems"));
        }
        Err(error) => report.fault(format!(
            "port: {address}: {error}: another program has it, or this machine has no such address"
        )),
    }
}

/// What was found, in order.
#[derive(Default)]
pub(super) struct Report {
    good: Vec<String>,
    faults: Vec<String>,
}

impl Report {
    pub(super) fn good(&mut self, line: String) {
        self.good.push(line);
    }

    pub(super) fn fault(&mut self, line: String) {
        self.faults.push(line);
    }

    fn print(self, file: &Path) -> Result<(), CommandError> {
        for line in &self.good {
            println!("ok     {line}");
        }
        for line in &self.faults {
            println!("FAULT  {line}");
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(CommandError::Failed(format!("{}: {} faults", file.display(), self.faults.len())))
    }
}
