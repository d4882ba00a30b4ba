//! What a figure was measured on: processors, memory, kernel, file system, versions, date.
//!
//! It does not know the figures. Called by the scenarios and `record`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::accounting::processors;

/// The first line a program prints (on either output), or a dash where it fails or is not there.
fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().ok();
    let Some(output) = output.filter(|output| output.status.success()) else {
        return "-".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("-").trim().to_owned()
}

/// The word of a line that begins with a digit.
fn version_in(line: &str) -> String {
    let words = line.split([' ', '/']);
    let mut versions = words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    versions.next().unwrap_or("-").to_owned()
}

/// Debian's HAProxy.
pub(crate) fn haproxy_version() -> String {
    version_in(&first_line("/usr/sbin/haproxy", &["-v"]))
}

/// Debian's nginx.
pub(crate) fn nginx_version() -> String {
    version_in(&first_line("/usr/sbin/nginx", &["-v"]))
}

/// Debian's Postfix.
pub(crate) fn postfix_version() -> String {
    first_line("/usr/sbin/postconf", &["-dh", "mail_version"])
}

/// The date in UTC, as `2026-11-24 12:00 UTC`.
pub(crate) fn date() -> String {
    first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// The commit that the working tree stands on, with `-dirty` where it differs.
pub(crate) fn commit() -> String {
    first_line("git", &["describe", "--always", "--dirty", "--exclude=*"])
}

/// The line of a file in /proc that begins with `key`, without the key.
fn proc_value(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map_or("-", |(_, value)| value.trim()).to_owned()
}

/// Processors, memory and kernel in one line.
pub(crate) fn machine() -> String {
    let memory = proc_value("/proc/meminfo", "MemTotal");
    let kibibytes: u64 =
        memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{} cores ({}), {} MiB memory, Linux {}",
        processors(),
        proc_value("/proc/cpuinfo", "model name"),
        kibibytes / 1024,
        kernel.trim()
    )
}

/// Versions of all that took part, in one line.
pub(crate) fn versions() -> String {
    format!(
        "{}; HAProxy {}; nginx {}; Postfix {}; commit {}",
        first_line("rustc", &["--version"]),
        haproxy_version(),
        nginx_version(),
        postfix_version(),
        commit()
    )
}

/// Type and options of the file system that a path is on, and whether it keeps files at all.
pub(crate) struct FileSystem {
    /// `ext4`, `xfs`, `tmpfs`, ...
    pub(crate) kind: String,
    /// Mount options.
    pub(crate) options: String,
}

impl FileSystem {
    /// The file system of an existing path, from /proc/self/mounts: the longest mount point wins,
    /// of equal ones the last.
    pub(crate) fn of(path: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self::in_mounts(&mounts, path)
    }

    fn in_mounts(mounts: &str, path: &Path) -> Self {
        let mut best = (0, Self { kind: "-".to_owned(), options: "-".to_owned() });
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_device, point, kind, options, ..] = fields[..] else { continue };
            if path.starts_with(point) && point.len() >= best.0 {
                let (kind, options) = (kind.to_owned(), options.to_owned());
                best = (point.len(), Self { kind, options });
            }
        }
        best.1
    }

    /// Whether files live in memory only: an fsync there is no measure.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_wins() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw,size=1 0 0\n/dev/b /t xfs rw 0 0\n";
        let of = |path: &str| FileSystem::in_mounts(mounts, Path::new(path)).kind;
        assert_eq!([of("/tmp/x"), of("/t"), of("/tmpx")], ["tmpfs", "xfs", "ext4"]);
        assert!(FileSystem::in_mounts(mounts, Path::new("/tmp")).is_memory());
    }

    #[test]
    fn versions_are_found_in_the_lines_programs_print() {
        assert_eq!(version_in("nginx version: nginx/1.22.1"), "1.22.1");
        assert_eq!(version_in("HAProxy version 2.6.12-1+deb12u4 2026/10/17"), "2.6.12-1+deb12u4");
    }
}
