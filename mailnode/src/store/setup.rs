//! Makes a cluster: its tables, its id in the database, and the same id in the markers of the file
//! store. It does not know configuration files. It never makes a marker where a cluster already
//! has one elsewhere: an empty mount point must not become an empty store.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::database::Database;
use super::error::StoreError;
use super::files::{MARKER, read_marker};
use super::sql::Statement;
use super::sql::url::DatabaseUrls;

/// What `set_up` found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUp {
    /// The cluster's id.
    pub cluster: String,
    /// Nothing had to be made.
    pub was_there: bool,
}

/// Brings the database's tables to this build's version, and gives database and file store
/// (`roots`: mail and logs) one cluster id.
///
/// `adopt`: a marker may be made for a cluster the database knows already, or a database may take
/// on the id of a store that has one. Without it either is refused, since far more often a mount
/// is missing or a path is wrong.
///
/// # Errors
/// Names what contradicts what, and the remedy.
pub async fn set_up(
    databases: &DatabaseUrls,
    roots: &[&Path],
    adopt: bool,
) -> Result<SetUp, StoreError> {
    let mut markers = Vec::new();
    for root in roots {
        markers.push(marker_of(root)?);
    }
    let known = Database::peek_cluster(databases).await?;
    let marked = markers.iter().flatten().next().cloned();
    let id = agree(databases, roots, &markers, known.as_ref(), adopt)?;
    // Only now that all agree is anything touched.
    Database::migrate(databases).await?;
    let database = Database::open(databases).await?;
    let was_there = known.is_some() && markers.iter().all(Option::is_some);
    let cluster = match id.or(marked) {
        Some(id) => id,
        None => new_id()?,
    };
    for (root, marker) in roots.iter().zip(&markers) {
        if marker.is_none() {
            make_marker(root, &cluster)?;
        }
    }
    if known.is_none() {
        name_cluster(&database, cluster.clone()).await?;
    }
    Ok(SetUp { cluster, was_there })
}

/// The cluster's id, as the database has it.
pub(super) async fn cluster(database: &Database) -> Result<Option<String>, StoreError> {
    let find = Statement::new("SELECT uuid FROM cluster");
    database.readers().row(&find).await?.map(|row| row.text(0)).transpose()
}

/// The id that database and markers agree on, if any has one yet.
fn agree(
    database: &DatabaseUrls,
    roots: &[&Path],
    markers: &[Option<String>],
    known: Option<&String>,
    adopt: bool,
) -> Result<Option<String>, StoreError> {
    for (root, marker) in roots.iter().zip(markers) {
        let root = root.display();
        match (known, marker) {
            (Some(known), Some(marker)) if known != marker => {
                return Err(StoreError::Conflict(format!(
                    "{root} belongs to cluster {marker}, the database {database} to {known}: \
                     one of the two paths is another cluster's; nothing was changed"
                )));
            }
            (Some(known), None) if !adopt => {
                return Err(StoreError::Conflict(format!(
                    "the database {database} knows cluster {known}, but {root} has no marker: is \
                     the file store mounted? If this is truly to be its new store, run `mailnode \
                     setup --adopt`"
                )));
            }
            (None, Some(marker)) if !adopt => {
                return Err(StoreError::Conflict(format!(
                    "{root} belongs to cluster {marker}, but the database {database} knows none: \
                     is it the right database? If this is truly to be its new one, run `mailnode \
                     setup --adopt`"
                )));
            }
            _ => {}
        }
    }
    let first = markers.iter().flatten().next();
    if let Some(other) = markers.iter().flatten().find(|marker| Some(*marker) != first) {
        return Err(StoreError::Conflict(format!(
            "the mail and log directories belong to different clusters: {} and {other}",
            first.map_or("", String::as_str)
        )));
    }
    Ok(known.cloned())
}

fn marker_of(root: &Path) -> Result<Option<String>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(root, flags, Mode::empty()) {
        Ok(top) => read_marker(&top).map_err(|error| StoreError::path("read", root, error)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(StoreError::path("open", root, error)),
    }
}

/// Makes a root (its parent must be there, or be one that only lacks itself) and its marker.
fn make_marker(root: &Path, cluster: &str) -> Result<(), StoreError> {
    let make = || -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(root)?;
        let path = root.join(MARKER);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(format!("{cluster}\n").as_bytes())?;
        file.sync_all()?;
        File::open(root)?.sync_all()?;
        root.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    make().map_err(|error| StoreError::path("make the marker in", root, error))
}

async fn name_cluster(database: &Database, id: String) -> Result<(), StoreError> {
    let change = database.writer().change(move |connection| {
        Box::pin(async move {
            let insert = "INSERT INTO cluster (id, uuid, created_us) VALUES (1, $1, {now})";
            connection.execute(&Statement::new(insert).bind(&id)).await.map(drop)
        })
    });
    change.await
}

/// A random UUID (RFC 9562 §5.4).
pub(super) fn new_id() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| StoreError::file("getrandom", error))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}
