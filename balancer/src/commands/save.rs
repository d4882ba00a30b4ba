//! What was said at run time, written into the settings file: one word is changed, everything else
//! stays as it is, byte for byte. It does not know YAML (`shared::config` finds the place) or the
//! running balancer, which sees the new file by itself. `tell` calls it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use shared::config::{Edit, read_text};

use super::CommandError;
use crate::config::{Config, from_map};
use crate::settings::{Mode, ServiceName};

/// What is to stand in the file.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A node's share, in every service that has it.
    Weight(String, u32),
    /// How a service chooses.
    Mode(ServiceName, Mode),
}

/// A file as it will be.
#[derive(Debug)]
pub(super) struct Edited {
    /// Not a link to it.
    path: PathBuf,
    before: String,
    after: String,
}

/// Finds out what the file will be. Nothing is written yet.
///
/// # Errors
/// The file has faults, or the place cannot be found in it.
pub(super) fn prepare(path: &Path, change: &Change) -> Result<Edited, CommandError> {
    let failed = |error| CommandError::Failed(format!("{}: {error}", path.display()));
    let path = fs::canonicalize(path).map_err(|error| failed(error.to_string()))?;
    let before = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let mut wanted = read(&path, &before)?;
    let mut after = before.clone();
    let env = |name: &str| std::env::var(name).ok();
    let mut set = |service: &ServiceName, node: Option<&str>, key, value: &str| {
        let edit = Edit::new(&after, &env).and_then(|edit| {
            let service = edit.named("services", &service.0)?;
            match node {
                None => service.set(key, value),
                Some(node) => service.named("nodes", node)?.set(key, value),
            }
        });
        edit.map(|edited| after = edited).map_err(failed)
    };
    for service in &mut wanted.services {
        match change {
            Change::Mode(name, mode) if *name == service.name && service.mode != *mode => {
                set(name, None, "mode", mode.name())?;
                service.mode = *mode;
            }
            Change::Mode(..) => {}
            Change::Weight(name, weight) => {
                for node in &mut service.nodes {
                    if *node.name == **name && node.weight != *weight {
                        set(&service.name, Some(name), "weight", &weight.to_string())?;
                        node.weight = *weight;
                    }
                }
            }
        }
    }
    if read(&path, &after)? != wanted {
        return Err(failed("it would not mean what it should; change it by hand".to_owned()));
    }
    Ok(Edited { path, before, after })
}

fn read(path: &Path, text: &str) -> Result<Config, CommandError> {
    let env = |name: &str| std::env::var(name).ok();
    Ok(read_text(&path.display().to_string(), text, &env, from_map)?)
}

impl Edited {
    /// Puts it in the file's place, whole or not at all.
    ///
    /// # Errors
    /// What the system says, or that somebody else has changed the file since it was read.
    pub(super) fn write(self) -> io::Result<()> {
        if self.before == self.after {
            return Ok(());
        }
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::Error::other("it is no file"));
        };
        let name = format!(".{}.{}.new", name.to_string_lossy(), std::process::id());
        let new = Unfinished(folder.join(name));
        let old = File::open(&self.path)?.metadata()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new.0)?;
        file.write_all(self.after.as_bytes())?;
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        file.sync_all()?;
        if fs::read_to_string(&self.path)? != self.before {
            return Err(io::Error::other("somebody else has changed it in the meantime"));
        }
        fs::rename(&new.0, &self.path)?;
        std::mem::forget(new);
        File::open(folder)?.sync_all()
    }
}

/// A file that is removed when it does not come to anything.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It may not be there yet.
        let _ = fs::remove_file(&self.0);
    }
}
