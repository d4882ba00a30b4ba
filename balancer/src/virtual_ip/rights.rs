//! May this process put addresses on interfaces and send frames? If not: what to do about it.
//! It does not know what the rights are used for; `commands::run` asks before it starts.

const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;

/// Says what is missing, with the remedy.
///
/// # Errors
/// A sentence for people, when something is missing.
pub fn check() -> Result<(), String> {
    // Where it cannot be read the kernel will say no by itself.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match missing(&status).as_slice() {
        [] => Ok(()),
        names => Err(format!(
            "virtual_ip needs the right {} and this process lacks it; remedy: \
             `AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE` in the \
             [Service] part of its systemd unit, as in configs/systemd/balancer.service, or run \
             it as root",
            names.join(" and ")
        )),
    }
}

/// Which rights a process lacks, by its `/proc/PID/status`.
fn missing(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return Vec::new();
    };
    let needed = [(NET_ADMIN, "CAP_NET_ADMIN"), (NET_RAW, "CAP_NET_RAW")];
    let lacks = |bit: u32| effective & (1 << bit) == 0;
    needed.into_iter().filter(|(bit, _)| lacks(*bit)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let status = |bits: &str| format!("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{bits}\n");
        assert_eq!(missing(&status("000001ffffffffff")), Vec::<&str>::new());
        assert_eq!(missing(&status("0000000000003000")), Vec::<&str>::new());
        assert_eq!(missing(&status("0000000000002000")), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(&status("0000000000001000")), ["CAP_NET_RAW"]);
        assert_eq!(missing(&status("0000000000000400")), ["CAP_NET_ADMIN", "CAP_NET_RAW"]);
        assert_eq!(missing("nothing of the kind"), Vec::<&str>::new());
    }
}
