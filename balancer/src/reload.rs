//! Watches the settings file, and reads it when it has changed and come to rest.
//! It does not know what is done with settings. `commands::run` listens to it.
//!
//! A look is one `stat`, a few microseconds: it works on every file system, sees a rename, a
//! symlink swapped for another (Kubernetes) and a file written in place, and needs no kernel watch.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::config::Faults;
use tokio::sync::mpsc;

use crate::config::{self, Config};

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(15);
/// Another file in the old one's place is whole already: it only has to be seen twice.
const LOOKS_REPLACED: u32 = 2;
/// A file written in place may be half-written: it has to rest a little longer.
const LOOKS_IN_PLACE: u32 = 3;
/// An empty or missing file is most likely one that is being written.
const LOOKS_NOTHING: u32 = 67;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Follows symlinks: what counts is the file that would be read.
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Decides from looks alone when the file is to be read. `None` is a file that is not there.
#[derive(Debug)]
struct Watch {
    taken: Option<Stamp>,
    seen: Option<Stamp>,
    times: u32,
}

impl Watch {
    fn new(taken: Option<Stamp>) -> Self {
        Self { taken, seen: taken, times: 0 }
    }

    /// Hears of one look; says whether to read.
    fn look(&mut self, now: Option<Stamp>) -> bool {
        if now == self.taken {
            self.seen = now;
            self.times = 0;
            return false;
        }
        self.times = if now == self.seen { self.times.saturating_add(1) } else { 1 };
        self.seen = now;
        self.times >= self.looks_needed(now)
    }

    fn looks_needed(&self, now: Option<Stamp>) -> u32 {
        match (now, self.taken) {
            (None | Some(Stamp { size: 0, .. }), _) => LOOKS_NOTHING,
            (Some(now), Some(taken)) if (now.device, now.inode) == (taken.device, taken.inode) => {
                LOOKS_IN_PLACE
            }
            (Some(_), _) => LOOKS_REPLACED,
        }
    }

    fn take(&mut self, stamp: Option<Stamp>) {
        *self = Self::new(stamp);
    }
}

/// What a change of the file came to.
#[derive(Debug)]
pub struct Reading {
    /// The settings, or every fault of them.
    pub config: Result<Config, Faults>,
    /// Whether somebody asked for it (SIGHUP, or the admin port).
    pub asked_for: bool,
}

/// Asks for the file to be read now, changed or not.
#[derive(Debug, Clone)]
pub struct Bell(Arc<AtomicBool>);

impl Bell {
    /// Asks.
    pub fn ring(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A file that is being watched.
#[derive(Debug)]
pub struct Watched {
    readings: mpsc::Receiver<Reading>,
    asked: Arc<AtomicBool>,
}

impl Watched {
    /// Watches from now on. Take it before the file is read for the first time, so that no change
    /// in between is missed.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(path: PathBuf) -> std::io::Result<Self> {
        let (sender, readings) = mpsc::channel(1);
        let asked = Arc::new(AtomicBool::new(false));
        let ask = asked.clone();
        let watch = Watch::new(Stamp::of(&path));
        // A thread of its own: a look at a file system that hangs must stop nobody.
        let thread = std::thread::Builder::new().name("settings".to_owned());
        thread.spawn(move || run(&path, watch, &ask, &sender))?;
        Ok(Self { readings, asked })
    }

    /// What asks for the file to be read now, changed or not.
    #[must_use]
    pub fn bell(&self) -> Bell {
        Bell(self.asked.clone())
    }

    /// The next reading of the file.
    pub async fn reading(&mut self) -> Reading {
        match self.readings.recv().await {
            Some(reading) => reading,
            None => std::future::pending().await,
        }
    }
}

fn run(path: &Path, mut watch: Watch, asked: &AtomicBool, sender: &mpsc::Sender<Reading>) {
    while !sender.is_closed() {
        std::thread::sleep(LOOK_INTERVAL);
        let asked_for = asked.swap(false, Ordering::AcqRel);
        let before = Stamp::of(path);
        if !watch.look(before) && !asked_for {
            continue;
        }
        let config = config::read(path);
        if Stamp::of(path) != before {
            // It changed while it was read; it will come to rest. Who asked is answered then.
            asked.fetch_or(asked_for, Ordering::AcqRel);
            continue;
        }
        watch.take(before);
        if sender.blocking_send(Reading { config, asked_for }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64, size: u64, modified: i64) -> Option<Stamp> {
        let time = (modified, 0);
        Some(Stamp { device: 1, inode, size, modified: time, changed: time })
    }

    /// How many looks at this state it takes until the file is read.
    fn looks(watch: &mut Watch, now: Option<Stamp>) -> u32 {
        let count = (1..1000).find(|_| watch.look(now)).expect("it is read at some time");
        watch.take(now);
        count
    }

    #[test]
    fn a_file_is_read_when_it_has_come_to_rest() {
        let mut watch = Watch::new(stamp(1, 100, 0));
        assert!(!watch.look(stamp(1, 100, 0)), "nothing has changed");
        assert_eq!(looks(&mut watch, stamp(2, 100, 0)), LOOKS_REPLACED, "a rename");
        assert_eq!(looks(&mut watch, stamp(2, 90, 5)), LOOKS_IN_PLACE, "written in place");
        assert_eq!(looks(&mut watch, stamp(2, 0, 6)), LOOKS_NOTHING, "emptied");
        assert_eq!(looks(&mut watch, None), LOOKS_NOTHING, "removed");
        assert_eq!(looks(&mut watch, stamp(2, 90, 5)), LOOKS_REPLACED, "there again");
    }

    #[test]
    fn a_file_that_grows_is_waited_for() {
        let mut watch = Watch::new(stamp(1, 100, 0));
        for size in 0..50 {
            assert!(!watch.look(stamp(1, size, 1)), "read half-written, at {size}");
            assert!(!watch.look(stamp(1, size, 1)), "read half-written, at {size}");
        }
        assert_eq!(looks(&mut watch, stamp(1, 100, 2)), LOOKS_IN_PLACE);
    }

    #[test]
    fn a_change_and_back_is_no_change() {
        let mut watch = Watch::new(stamp(1, 100, 0));
        assert!(!watch.look(stamp(2, 100, 1)));
        assert!(!watch.look(stamp(1, 100, 0)));
        assert!(!watch.look(stamp(2, 100, 1)), "what was seen before does not count");
    }

    #[test]
    fn each_way_of_replacing_a_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("balancer.yaml");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("it is written");
            path
        };
        write("balancer.yaml", "a");
        let first = Stamp::of(&path);
        std::fs::rename(write("new", "b"), &path).expect("a rename");
        let renamed = Stamp::of(&path);
        assert_ne!(first, renamed);
        write("balancer.yaml", "bc");
        let written = Stamp::of(&path);
        assert_ne!(renamed, written);
        let (one, two) = (write("one", "bc"), write("two", "bc"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&one, &link).expect("a link");
        let linked = Stamp::of(&link);
        std::fs::remove_file(&link).expect("it is removed");
        std::os::unix::fs::symlink(&two, &link).expect("another link");
        assert_ne!(linked, Stamp::of(&link));
    }
}
