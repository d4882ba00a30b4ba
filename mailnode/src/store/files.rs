//! The file store: messages as files beneath one root, on whatever file system that is.
//! It does not know what SQL says of them. Names are unique by construction and never changed;
//! there is no lock file, no rename, and nobody lists a directory to learn of mail.
//!
//! The root carries a marker with the cluster's id. A root that is missing, or stands there without
//! that marker (a lost mount shows the empty directory beneath it), is *lost*: nothing is read,
//! nothing written, nothing created.
//!
//! Calls are plain ones on a bounded number of threads, each with a deadline: a hung mount must not
//! stop the node from answering.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, fstat, fsync, mkdirat, open, openat2, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::error::StoreError;
use crate::spool::Spooled;

/// The marker's name in each root.
pub const MARKER: &str = ".mail-cluster";
/// Calls at once; measured: 16 to 32 saturate what disks and networks give.
const CALLS_MAX: usize = 32;
/// How long a call may wait for a thread and take: a hung mount is trouble from then on.
const CALL_PATIENCE: Duration = Duration::from_secs(20);

/// What a kept file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its path beneath the root.
    pub file: String,
    /// Its size.
    pub octets: i64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// A file to be kept: its directory beneath the root, its name, and what goes before the message.
#[derive(Debug, Clone)]
pub struct Draft {
    /// `DOMAIN/USER`, made if missing.
    pub directory: String,
    /// Unique by construction.
    pub name: String,
    /// Trace header lines, each with its CRLF.
    pub head: String,
}

/// The file store of one node.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: Arc<Root>,
    calls: Arc<Semaphore>,
}

impl FileStore {
    /// The store at `root`, of the cluster with this id. Touches nothing.
    pub fn new(root: &Path, cluster: &str) -> Self {
        let root =
            Root { path: root.to_owned(), cluster: cluster.to_owned(), known: Mutex::new(None) };
        Self { root: Arc::new(root), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// Whether the marker is there and right.
    ///
    /// # Errors
    /// [`StoreError::Lost`] says what is wrong.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.call(|root| root.verify().map(drop)).await
    }

    /// Keeps a message under each draft's name: all of them, or none.
    ///
    /// # Errors
    /// None is kept; what was begun is taken away again, or left for the sweep.
    pub async fn keep(
        &self,
        drafts: Vec<Draft>,
        mut message: Spooled,
    ) -> Result<Vec<Kept>, StoreError> {
        self.call(move |root| {
            let top = root.open()?;
            let mut kept = Vec::with_capacity(drafts.len());
            for draft in &drafts {
                match keep(&top, draft, &mut message) {
                    Ok(one) => kept.push(one),
                    Err(error) => {
                        kept.iter().for_each(|one: &Kept| take_away(&top, &one.file));
                        return Err(error);
                    }
                }
            }
            Ok(kept)
        })
        .await
    }

    /// Opens a message's file.
    ///
    /// # Errors
    /// Whatever it is: temporary trouble, never "there is no such message".
    pub async fn open(&self, file: String) -> Result<File, StoreError> {
        self.call(move |root| {
            let top = root.open()?;
            let opened = beneath(&top, &file, OFlags::RDONLY);
            opened.map(File::from).map_err(|error| StoreError::file(format!("open {file}"), error))
        })
        .await
    }

    /// Reads on in an open file: up to `bytes`, fewer only at its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self, mut file: File, bytes: usize) -> Result<(File, Vec<u8>), StoreError> {
        self.call(move |_| {
            let mut piece = Vec::with_capacity(bytes);
            let read = Read::by_ref(&mut file).take(bytes as u64).read_to_end(&mut piece);
            read.map_err(|error| StoreError::file("read a message", error))?;
            Ok((file, piece))
        })
        .await
    }

    /// Makes a directory beneath the root if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or the store is lost.
    pub async fn make_directory(&self, directory: String) -> Result<(), StoreError> {
        self.call(move |root| account_directory(&root.open()?, &directory).map(drop)).await
    }

    /// Appends to a file in a directory that is there; makes the file if it is missing.
    ///
    /// # Errors
    /// It cannot be written, or the store is lost.
    pub async fn append(&self, file: String, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.call(move |root| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
            let opened = beneath(&root.open()?, &file, flags).map_err(io::Error::from);
            let written = opened.and_then(|opened| File::from(opened).write_all(&bytes));
            written.map_err(|error| StoreError::file(format!("append to {file}"), error))
        })
        .await
    }

    /// Unlinks files; those that are gone already are fine.
    ///
    /// # Errors
    /// One could not be unlinked; those before it are gone.
    pub async fn unlink(&self, files: Vec<String>) -> Result<(), StoreError> {
        self.call(move |root| {
            let top = root.open()?;
            for file in files {
                match unlinkat(&top, &file, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(StoreError::file(format!("unlink {file}"), error)),
                }
            }
            Ok(())
        })
        .await
    }

    /// The names in an account's directory; none if there is no directory. For the sweep alone:
    /// mail is never learned of by listing.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn names(&self, directory: String) -> Result<Vec<String>, StoreError> {
        self.call(move |root| {
            let top = root.open()?;
            let fault = |error: Errno| StoreError::file(format!("list {directory}"), error);
            let opened = match beneath(&top, &directory, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => return Ok(Vec::new()),
                opened => opened.map_err(fault)?,
            };
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&opened).map_err(fault)? {
                names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
            }
            Ok(names)
        })
        .await
    }

    /// Runs a call on a thread of its own, bounded in number and time. A call that hangs keeps its
    /// place: when all places hang, every further call is late without starting.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, calls) = (self.root.clone(), self.calls.clone());
        let called = async move {
            let place = calls.acquire_owned().await.map_err(|_| StoreError::Ended)?;
            let thread = tokio::task::spawn_blocking(move || {
                let outcome = work(&root);
                drop(place);
                outcome
            });
            thread.await.unwrap_or(Err(StoreError::Ended))
        };
        let outcome = tokio::time::timeout(CALL_PATIENCE, called).await;
        outcome.unwrap_or(Err(StoreError::Late("a call on the file store")))
    }
}

/// The store's root and how it looked when its marker was last seen.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    cluster: String,
    /// Device and inode of the root whose marker was right.
    known: Mutex<Option<(u64, u64)>>,
}

impl Root {
    /// Opens the root. It is opened anew for each call, by its path: what a descriptor kept for
    /// long would reach after an unmount is not what the administrator sees there.
    fn open(&self) -> Result<OwnedFd, StoreError> {
        let top = self.descriptor()?;
        let seen = identity(&top)?;
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known == Some(seen) { Ok(top) } else { self.verify() }
    }

    /// Opens the root and reads its marker.
    fn verify(&self) -> Result<OwnedFd, StoreError> {
        let top = self.descriptor()?;
        let marker = read_marker(&top);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = None;
        let path = self.path.display();
        match marker {
            Ok(Some(cluster)) if cluster == self.cluster => *known = Some(identity(&top)?),
            Ok(Some(other)) => {
                return Err(StoreError::Lost(format!(
                    "{path} belongs to cluster {other}, this database to {}",
                    self.cluster
                )));
            }
            Ok(None) => {
                return Err(StoreError::Lost(format!(
                    "{path} has no marker {MARKER}: is the file store mounted?"
                )));
            }
            Err(error) => return Err(StoreError::path("read the marker in", &self.path, error)),
        }
        drop(known);
        Ok(top)
    }

    fn descriptor(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(&self.path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => StoreError::Lost(format!(
                "{} is not there: is the file store mounted?",
                self.path.display()
            )),
            error => StoreError::path("open", &self.path, error),
        })
    }
}

/// The cluster's id in the marker beneath `top`; `None` without a marker.
pub(super) fn read_marker(top: &OwnedFd) -> io::Result<Option<String>> {
    let mut text = String::new();
    match beneath(top, MARKER, OFlags::RDONLY) {
        Ok(marker) => File::from(marker).take(200).read_to_string(&mut text)?,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(text.trim_end().to_owned()))
}

fn identity(top: &OwnedFd) -> Result<(u64, u64), StoreError> {
    let status = fstat(top).map_err(|error| StoreError::file("stat of the root", error))?;
    Ok((status.st_dev, status.st_ino))
}

/// Opens beneath the root: no `..`, no symbolic link, whatever a row may say.
fn beneath(top: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    openat2(top, path, flags | OFlags::CLOEXEC, mode, resolve)
}

/// One file: created under its final name, written, its size checked, it and its name fsynced.
/// fsync of the file alone kept a new name on every file system tried; POSIX promises it of none.
fn keep(top: &OwnedFd, draft: &Draft, message: &mut Spooled) -> Result<Kept, StoreError> {
    let directory = account_directory(top, &draft.directory)?;
    let file = format!("{}/{}", draft.directory, draft.name);
    let fault = |what: &str, error: io::Error| StoreError::file(format!("{what} {file}"), error);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let created = beneath(&directory, &draft.name, flags);
    let mut created = File::from(created.map_err(|error| fault("create", error.into()))?);
    let kept = fill(&mut created, draft, message).and_then(|(octets, sha256)| {
        // A failed fsync is never tried again: the system may have dropped what it could not write.
        fsync(&created)?;
        fsync(&directory)?;
        Ok(Kept { file: file.clone(), octets, sha256 })
    });
    kept.map_err(|error| {
        take_away(top, &file);
        fault("write", error)
    })
}

fn fill(file: &mut File, draft: &Draft, message: &mut Spooled) -> io::Result<(i64, String)> {
    let mut digest = Sha256::new();
    let mut octets = 0;
    let mut put = |piece: &[u8]| {
        digest.update(piece);
        octets += piece.len() as u64;
        file.write_all(piece)
    };
    if message.is_small() {
        // One write for what is small: header and message together.
        let mut whole = draft.head.clone().into_bytes();
        message.read(|piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        put(&whole)?;
    } else {
        put(draft.head.as_bytes())?;
        message.read(&mut put)?;
    }
    let size = file.metadata()?.len();
    if size != octets {
        return Err(io::Error::other(format!("{octets} octets written, {size} there")));
    }
    let octets = i64::try_from(octets).map_err(io::Error::other)?;
    Ok((octets, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Opens an account's directory; makes it, and its domain's, the first time.
fn account_directory(top: &OwnedFd, directory: &str) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let fault = |error: Errno| StoreError::file(format!("open or make {directory}"), error);
    match beneath(top, directory, flags) {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(fault),
    }
    let mut at = top.try_clone().map_err(|error| StoreError::file("dup of the root", error))?;
    for name in directory.split('/') {
        match mkdirat(&at, name, Mode::RWXU) {
            // Another delivery, here or on another node, may make it at the same time; whoever
            // goes on beneath it makes sure himself that it is on disk.
            Ok(()) | Err(Errno::EXIST) => fsync(&at).map_err(fault)?,
            Err(error) => return Err(fault(error)),
        }
        at = beneath(&at, name, flags).map_err(fault)?;
    }
    Ok(at)
}

/// Takes away what must not stay; what cannot be taken away is an orphan, and the sweep's.
fn take_away(top: &OwnedFd, file: &str) {
    if let Err(error) = unlinkat(top, file, AtFlags::empty()) {
        tracing::warn!(file, %error, "a file that was not kept stays until the sweep");
    }
}
