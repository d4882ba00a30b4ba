//! Which run of a program this is, so that another on the same machine can tell whether it lives.
//! It does not know nodes; the node registry keeps what it says.

use std::fs;

/// A run's identity: the machine's boot, the pid space, the pid and when the process began.
/// Two runs never share one, even when a pid is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    boot: String,
    pid_space: String,
    pid: u32,
    started: String,
}

impl ProcessIdentity {
    /// This process's own. Where /proc is not readable its parts are empty, and nobody takes such
    /// a run for dead.
    pub fn own() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid_space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            boot: boot.trim().to_owned(),
            pid_space: pid_space.to_string_lossy().into_owned(),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// As text, for keeping.
    pub fn to_text(&self) -> String {
        format!("{}/{}/{}/{}", self.boot, self.pid_space, self.pid, self.started)
    }

    /// Whether the run that `text` tells of is one of this machine, since its last start.
    pub fn is_of_this_machine(&self, text: &str) -> bool {
        !self.boot.is_empty() && text.split('/').next() == Some(&self.boot)
    }

    /// Whether the run that `text` tells of is known to have ended: it ran under this boot and in
    /// this pid space, and no process has its pid and its start any more. Elsewhere nobody knows.
    pub fn knows_dead(&self, text: &str) -> bool {
        let parts: Vec<&str> = text.split('/').collect();
        let [boot, pid_space, pid, start] = parts[..] else { return false };
        let Ok(pid) = pid.parse() else { return false };
        let comparable = !boot.is_empty() && !pid_space.is_empty() && !start.is_empty();
        comparable
            && boot == self.boot
            && pid_space == self.pid_space
            && started(pid).as_deref() != Some(start)
    }
}

/// When a process began, in clock ticks since boot; `None` if it is not there, or a zombie.
fn started(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one is fields 3 to 52.
    let fields: Vec<&str> = status.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        None
    } else {
        fields.get(19).map(|t| (*t).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_run_is_not_dead_and_an_ended_one_is() {
        let own = ProcessIdentity::own();
        assert!(!own.knows_dead(&own.to_text()), "{own:?}");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let start = started(child.id()).unwrap();
        let childs = ProcessIdentity { pid: child.id(), started: start, ..own.clone() };
        assert!(!own.knows_dead(&childs.to_text()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.knows_dead(&childs.to_text()));
        let again = ProcessIdentity { started: "1".into(), ..own.clone() };
        assert!(own.knows_dead(&again.to_text()), "the pid was given again");
        let elsewhere = ProcessIdentity { boot: "another".into(), ..childs };
        assert!(!own.knows_dead(&elsewhere.to_text()));
        assert!(!own.knows_dead(""));
    }
}
