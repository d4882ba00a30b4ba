//! The programs that are held beside each other: how each is set up and started on loopback.
//!
//! It does not know what is measured. Called by the scenarios. One file per program; each says
//! how it is set, in words that stand beside its figures.

pub(crate) mod balancer;
pub(crate) mod front;
pub(crate) mod haproxy;
pub(crate) mod mailnode;
pub(crate) mod nginx;
pub(crate) mod postfix;

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Pid;

use crate::process::{Daemon, Failure, Sign, Step, free_address};

/// A program of ours, beside this very binary: `bench/run` builds all three into one folder.
pub(crate) fn our_program(name: &str) -> Step<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure(format!("{} is not built: start this by bench/run", path.display())))
}

/// A program that listens.
pub(crate) struct Peer {
    daemon: Daemon,
    address: SocketAddr,
}

impl Peer {
    /// Starts a program that listens at `address` and waits for its sign.
    pub(crate) async fn start(
        name: &str,
        dir: &Path,
        program: &Command,
        address: SocketAddr,
        sign: Sign,
    ) -> Step<Self> {
        let mut daemon = Daemon::start(name, dir, program)?;
        daemon.ready(sign).await?;
        Ok(Self { daemon, address })
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process group.
    pub(crate) fn group(&self) -> Pid {
        self.daemon.group()
    }
}

/// The three greeting nodes behind every balancer: one process of this binary.
pub(crate) struct Nodes {
    _daemon: Daemon,
    group: Pid,
    /// Where they listen.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Nodes {
    /// Starts three; `proxied`: each connection to them begins with a PROXY v2 header.
    pub(crate) async fn start(dir: &Path, proxied: bool) -> Step<Self> {
        let addresses = vec![free_address()?, free_address()?, free_address()?];
        let mut program = Command::new(env::current_exe()?);
        program.arg("nodes").args(addresses.iter().map(ToString::to_string));
        if proxied {
            program.arg("--proxied");
        }
        let name = if proxied { "nodes-proxied" } else { "nodes" };
        let mut daemon = Daemon::start(name, dir, &program)?;
        for address in &addresses {
            let sign = if proxied { Sign::Door(*address) } else { Sign::Greeting(*address) };
            daemon.ready(sign).await?;
        }
        let group = daemon.group();
        Ok(Self { _daemon: daemon, group, addresses })
    }

    /// Their process group.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }
}
