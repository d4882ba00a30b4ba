//! `balancer weight` and `balancer mode`: other than the file says, until somebody says otherwise;
//! with `--save` the file says it too. It does not know how a file is changed (`save` does).

use serde_json::json;

use super::ask::{Balancer, Where};
use super::save::{self, Change};
use super::{CommandError, name, print};
use crate::api::{NODES_PATH, SERVICES_PATH};
use crate::settings::{Mode, ServiceName};

/// A setting said at run time, or the word `file`: as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish<T> {
    /// This.
    This(T),
    /// As the file says.
    File,
}

/// A weight from the command line.
///
/// # Errors
/// What is allowed.
pub(super) fn weight_of(text: &str) -> Result<Wish<u32>, String> {
    let weight = text.parse().ok().filter(|weight| (1..=256).contains(weight)).map(Wish::This);
    let wish = weight.or_else(|| (text == "file").then_some(Wish::File));
    wish.ok_or_else(|| "allowed: 1 to 256, file".to_owned())
}

/// A mode from the command line.
///
/// # Errors
/// What is allowed.
pub(super) fn mode_of(text: &str) -> Result<Wish<Mode>, String> {
    let mode = <Mode as shared::config::Value>::parse(text).map(Wish::This);
    let wish = mode.or_else(|| (text == "file").then_some(Wish::File));
    wish.ok_or_else(|| "allowed: least-connections, round-robin, failover, file".to_owned())
}

/// Another share for a node.
///
/// # Errors
/// Bad settings, no answer, no such node, or a file that cannot be changed.
pub(super) fn weight(
    place: &Where,
    node: &str,
    wish: Wish<u32>,
    save: bool,
) -> Result<(), CommandError> {
    let (weight, path) = (wish.this(), format!("{NODES_PATH}/{}/weight", name(node)?));
    let change = weight.map(|weight| Change::Weight(node.to_owned(), weight));
    let shown = weight.map_or_else(|| "as the file says".to_owned(), |weight| weight.to_string());
    say(place, &path, json!({"weight": weight}), change.filter(|_| save))?;
    print(&format!("{node}: weight {shown}\n")).map(drop)
}

/// Another mode for a service.
///
/// # Errors
/// Bad settings, no answer, no such service, or a file that cannot be changed.
pub(super) fn mode(
    place: &Where,
    service: &str,
    wish: Wish<Mode>,
    save: bool,
) -> Result<(), CommandError> {
    let (mode, path) = (wish.this(), format!("{SERVICES_PATH}/{}/mode", name(service)?));
    let change = mode.map(|mode| Change::Mode(ServiceName(service.into()), mode));
    let word = mode.map(Mode::name);
    say(place, &path, json!({"mode": word}), change.filter(|_| save))?;
    print(&format!("{service}: mode {}\n", word.unwrap_or("as the file says"))).map(drop)
}

fn say(
    place: &Where,
    path: &str,
    body: serde_json::Value,
    change: Option<Change>,
) -> Result<(), CommandError> {
    // Whether the file can be changed is found out before anything is said.
    let edit = match (change, &place.config) {
        (None, _) => None,
        (Some(change), Some(file)) => Some(save::prepare(file, &change)?),
        (Some(_), None) => {
            return Err(CommandError::Failed("--save needs --config FILE".to_owned()));
        }
    };
    Balancer::find(place)?.post(path, body)?;
    let Some(edit) = edit else { return Ok(()) };
    edit.write().map_err(|error| {
        let message = format!("it is in force, but the file was not changed: {error}");
        CommandError::Failed(message)
    })
}

impl<T> Wish<T> {
    fn this(self) -> Option<T> {
        match self {
            Self::This(wish) => Some(wish),
            Self::File => None,
        }
    }
}
