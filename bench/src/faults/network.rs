//! A network of this bench's own: loopback and nothing else, in which packets can be dropped.
//!
//! It does not know who is in it. Called by `main` (to enter it) and `scenario::failover`.
//!
//! The namespace has no name and no holder but the processes in it: when the last of them ends,
//! the kernel takes it away with all its rules.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::process::{Failure, Step, output_of};

/// Set for the process that has been started inside.
const INSIDE: &str = "BENCH_PRIVATE_NETWORK";

/// Starts this very program again in a network of its own; returns when that has happened.
pub(crate) fn enter() -> Step<()> {
    if env::var_os(INSIDE).is_none() {
        let mut program = Command::new("unshare");
        program.arg("--net").arg("--").arg(env::current_exe()?).args(env::args_os().skip(1));
        let error = program.env(INSIDE, "yes").exec();
        return Err(Failure(format!("cannot start unshare (util-linux): {error}")));
    }
    must_be_private()?;
    output_of(Command::new("ip").args(["link", "set", "lo", "up"]), "").map(drop)
}

/// Fails in any network that has more than loopback: nobody else's packets are ever dropped.
fn must_be_private() -> Step<()> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = devices.lines().skip(2).filter_map(|line| line.split_once(':'));
    let strange: Vec<_> = names.map(|(name, _)| name.trim()).filter(|name| *name != "lo").collect();
    if strange.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("this is no network of its own: it has {}", strange.join(", "))))
}

/// Packets to and from these ports vanish, as if their machine had lost its power; ends on drop.
pub(crate) struct Drops;

impl Drops {
    /// Begins. Dropped at the receiver: a sender whose own rule drops would be told so.
    pub(crate) fn begin(ports: &[u16]) -> Step<Self> {
        must_be_private()?;
        let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let list = list.join(", ");
        let rules = format!(
            "table inet faults {{\n chain arriving {{\n  type filter hook input priority 0;\n  \
             tcp dport {{ {list} }} drop\n  tcp sport {{ {list} }} drop\n }}\n}}\n"
        );
        output_of(Command::new("nft").args(["-f", "-"]), &rules)?;
        Ok(Self)
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        // The namespace takes it away at the latest.
        let _ = output_of(Command::new("nft").args(["delete", "table", "inet", "faults"]), "");
    }
}
