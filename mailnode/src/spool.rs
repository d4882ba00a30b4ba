//! A message on its way, on this node alone: in memory while it is small, in local temp beyond.
//! It does not know what a message is; the wire fills it, delivery empties it. Nothing here was
//! promised to anybody, so nothing is fsynced, and a start sweeps what a crash left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

/// Up to here a message stays in memory: a temp file of 4 KiB would cost more than all the rest.
pub const MEMORY_BYTES_MAX: usize = 64 * 1024;

/// End of the names of temp files.
const ENDING: &str = ".spool";
/// In it the name of the node whose temp it is; locked for as long as that runs.
const USER: &str = ".node";

/// Local temp: where spooled messages lie, mode 0600, gone when dropped.
#[derive(Debug)]
pub struct Temp {
    directory: PathBuf,
    count: AtomicU64,
    #[expect(dead_code, reason = "its lock is held by it")]
    user: File,
}

impl Temp {
    /// Opens the directory, makes it (0700) if only it is missing, locks it for this node, and
    /// sweeps what an earlier run of it left there.
    ///
    /// # Errors
    /// It cannot be made, listed or written to, or another node that runs has it.
    pub fn open(directory: &Path, node: &str) -> io::Result<Self> {
        if !directory.exists() {
            let mut builder = fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(directory)?;
        }
        let user = take_for(directory, node)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(ENDING) {
                tracing::info!(file = %path.display(), "swept from temp");
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { directory: directory.to_owned(), count: AtomicU64::new(0), user })
    }

    /// A new, empty spool.
    pub fn spool(&self) -> Spool<'_> {
        Spool { temp: self, memory: Vec::new(), file: None, length: 0 }
    }

    fn create(&self) -> io::Result<TempFile> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{}-{number}{ENDING}", std::process::id()));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(TempFile { file, path })
    }
}

/// Locks a directory for a node, whose name it writes there.
fn take_for(directory: &Path, node: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(directory.join(USER))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut other = String::new();
        file.read_to_string(&mut other)?;
        let text = format!("node {other} runs with it; give each node a directory of its own");
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    file.set_len(0)?;
    file.write_all(node.as_bytes())?;
    Ok(file)
}

/// The node that runs with this directory as its temp; `None`: none does.
pub fn user_of(directory: &Path) -> Option<String> {
    let mut file = File::open(directory.join(USER)).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).is_err().then(|| {
        let mut name = String::new();
        // Whoever it is, it is not free.
        let _ = file.read_to_string(&mut name);
        name
    })
}

/// A message being taken.
#[derive(Debug)]
pub struct Spool<'t> {
    temp: &'t Temp,
    memory: Vec<u8>,
    file: Option<TempFile>,
    length: u64,
}

impl Spool<'_> {
    /// Octets so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends. What does not fit into memory goes to a file, written by plain calls: local temp
    /// takes them into its cache.
    ///
    /// # Errors
    /// Temp is full or broken.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.file.write_all(bytes),
            None if self.memory.len() + bytes.len() <= MEMORY_BYTES_MAX => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
            None => {
                let file = self.file.insert(self.temp.create()?);
                file.file.write_all(&std::mem::take(&mut self.memory))?;
                file.file.write_all(bytes)
            }
        }
    }

    /// The whole message, ready to be read.
    pub fn finish(self) -> Spooled {
        Spooled { memory: self.memory, file: self.file, length: self.length }
    }
}

/// A message that was taken whole.
#[derive(Debug)]
pub struct Spooled {
    memory: Vec<u8>,
    file: Option<TempFile>,
    length: u64,
}

impl Spooled {
    /// Its octets.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it comes in one piece, from memory.
    pub fn is_small(&self) -> bool {
        self.file.is_none()
    }

    /// Reads it from the start, handing out pieces.
    ///
    /// # Errors
    /// Temp cannot be read, or `each` fails.
    pub fn read(&mut self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return each(&self.memory) };
        file.file.rewind()?;
        let mut piece = vec![0; MEMORY_BYTES_MAX];
        loop {
            match file.file.read(&mut piece)? {
                0 => return Ok(()),
                length => each(&piece[..length])?,
            }
        }
    }
}

/// A file of temp, removed when dropped.
#[derive(Debug)]
struct TempFile {
    file: File,
    path: PathBuf,
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a temp file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(pieces: &[&[u8]]) -> (usize, usize) {
        let directory = tempfile::tempdir().unwrap();
        let temp = Temp::open(directory.path(), "a").unwrap();
        let mut spool = temp.spool();
        for piece in pieces {
            spool.write(piece).unwrap();
        }
        let mut spooled = spool.finish();
        let files = names(directory.path()).len();
        for _ in 0..2 {
            let mut back = Vec::new();
            spooled
                .read(|piece| {
                    back.extend_from_slice(piece);
                    Ok(())
                })
                .unwrap();
            assert_eq!(back, pieces.concat());
        }
        assert_eq!(spooled.length(), pieces.concat().len() as u64);
        drop(spooled);
        (files, names(directory.path()).len())
    }

    /// What lies there but the mark of whose it is.
    fn names(directory: &Path) -> Vec<String> {
        let all = fs::read_dir(directory).unwrap();
        let all = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.filter(|name| name != USER).collect()
    }

    #[test]
    fn two_nodes_do_not_share_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(user_of(directory.path()), None);
        let mine = Temp::open(directory.path(), "a").unwrap();
        assert_eq!(user_of(directory.path()).as_deref(), Some("a"));
        let refused = Temp::open(directory.path(), "b").unwrap_err().to_string();
        assert!(refused.contains("node a runs with it"), "{refused}");
        drop(mine);
        assert_eq!(user_of(directory.path()), None);
        Temp::open(directory.path(), "b").unwrap();
    }

    #[test]
    fn small_ones_stay_in_memory_large_ones_leave_no_file_behind() {
        assert_eq!(round_trip(&[]), (0, 0));
        assert_eq!(round_trip(&[b"a", &[b'x'; MEMORY_BYTES_MAX - 1]]), (0, 0));
        assert_eq!(round_trip(&[b"ab", &[b'x'; MEMORY_BYTES_MAX - 1], b"z"]), (1, 0));
        assert_eq!(round_trip(&[&[b'y'; 3 * MEMORY_BYTES_MAX]]), (1, 0));
    }

    #[test]
    fn a_start_sweeps_what_a_crash_left_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("1-2.spool"), "left").unwrap();
        fs::write(directory.path().join("another"), "stays").unwrap();
        Temp::open(directory.path(), "a").unwrap();
        assert_eq!(names(directory.path()), ["another"]);
    }
}
