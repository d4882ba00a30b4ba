//! A settings file in YAML becomes a checked type, or a list of every fault it has.
//! It does not know what a setting means. Each binary's `config` file calls it.
//!
//! Reading is done by taking keys out of a [`Map`]. Take *every* key of a map before the first
//! `?`: what has not been taken when the map is dropped is reported as an unknown key.

mod edit;
mod expand;
mod fault;
mod map;
#[cfg(test)]
mod oracle;
mod places;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::io::Read;
use std::path::Path;

pub use edit::Edit;
pub use fault::{Fault, Faults, Place};
pub use map::Map;
pub use places::Places;
pub use value::Value;

use fault::Gathered;
use map::Source;
use tree::Kind;

/// A longer file is not read.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file of settings; `${NAME}` is taken from the process's environment.
///
/// # Errors
/// Every fault of the file at once; a file that cannot be read or is longer than
/// [`FILE_BYTES_MAX`] is one fault.
pub fn read_file<T>(
    path: &Path,
    read: impl FnOnce(&mut Map<'_>) -> Option<T>,
) -> Result<T, Faults> {
    let file = path.display().to_string();
    let text = file_text(path).map_err(|message| Faults::whole(&file, message))?;
    read_text(&file, &text, &|name| std::env::var(name).ok(), read)
}

fn file_text(path: &Path) -> Result<String, String> {
    let open = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    let read = open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is longer than {FILE_BYTES_MAX} bytes, the most that is allowed"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        format!("is not UTF-8 text: byte {place} cannot be part of it")
    })
}

/// Reads settings from `text`; `file` is the name used in faults, `env` answers for `${NAME}`.
///
/// # Errors
/// Every fault of the text at once. A fault of YAML's own syntax ends the reading and stands alone.
pub fn read_text<T>(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: impl FnOnce(&mut Map<'_>) -> Option<T>,
) -> Result<T, Faults> {
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("is longer than {FILE_BYTES_MAX} bytes, the most that is allowed");
        return Err(Faults::whole(file, message));
    }
    // A byte order mark is not part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source { env, faults: Gathered::default() };
    let root = tree::parse(text, &source.faults);
    let value = match root {
        Some(node) if node.is_null() => return Err(empty(file, text, source.faults)),
        Some(tree::Node { kind: Kind::Map(entries), position }) => {
            let mut map = Map::new(&source, String::new(), position, entries);
            read(&mut map)
        }
        Some(node) => {
            source.faults.add(tree::place(node.position, ""), "has to be `key: value` lines");
            None
        }
        None => return Err(empty(file, text, source.faults)),
    };
    let faults = within(text, source.faults.into_vec());
    match value {
        Some(value) if faults.is_empty() => Ok(value),
        None if faults.is_empty() => Err(Faults::whole(file, "cannot be used".to_owned())),
        _ => Err(Faults::new(file, faults)),
    }
}

/// No tree: either a fault of syntax says why, or there was nothing but comments.
fn empty(file: &str, text: &str, faults: Gathered) -> Faults {
    let faults = within(text, faults.into_vec());
    if faults.is_empty() {
        Faults::whole(file, "is empty; it needs at least one setting".to_owned())
    } else {
        Faults::new(file, faults)
    }
}

/// The parser counts a line after a last one that has no end: what it says of the end of the file
/// is said of the last line there is.
fn within(text: &str, mut faults: Vec<Fault>) -> Vec<Fault> {
    // YAML ends lines by CR too.
    let lines = text.replace("\r\n", "\n");
    let lines: Vec<_> = lines.split(['\r', '\n']).collect();
    for fault in &mut faults {
        fault.keep_within(lines.len(), lines.last().map_or(0, |line| line.chars().count()));
    }
    faults
}
