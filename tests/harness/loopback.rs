//! A network of a test's own that is loopback and nothing else, in which packets can be lost.
//! It does not know who is in it; tests of dead and lossy networks enter one.
//!
//! The thread that enters takes with it the processes and threads it starts from then on. The
//! namespace has no name: the kernel takes it away, rules and all, when the last of them is gone.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::program::run;

/// That this thread is in a network of its own.
#[derive(Debug)]
pub struct Loopback(());

impl Loopback {
    /// Moves this thread into a fresh one, its loopback up.
    ///
    /// # Panics
    /// When that is not allowed: it takes root.
    pub fn enter() -> Self {
        // Holds the namespace until this thread is in it; ends with its standard input.
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux)");
        let mut up = [0; 3];
        let said = holder.stdout.as_mut().expect("piped above").read_exact(&mut up);
        said.expect("a network of its own: these tests run as root");
        let path = format!("/proc/{}/ns/net", holder.id());
        let namespace = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter it");
        drop(holder.stdin.take());
        holder.wait().expect("it ends with its input");
        Self(())
    }

    /// Every packet that arrives is judged by these rules of `nft`, e.g. `tcp dport 25 drop`, in
    /// place of those before. A packet is lost where it arrives: where it is sent, the sender
    /// would be told.
    ///
    /// # Panics
    /// When nft does not take them.
    pub fn rules(&self, rules: &[String]) {
        let rules: String = rules.iter().map(|rule| format!("  {rule}\n")).collect();
        let text = format!(
            "flush ruleset\ntable inet test {{\n chain arriving {{\n  \
             type filter hook input priority 0;\n{rules} }}\n}}\n"
        );
        run(Command::new("nft").args(["-f", "-"]), text.as_bytes()).exits(0);
    }
}
