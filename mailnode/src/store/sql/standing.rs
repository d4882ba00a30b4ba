//! Whether a database is the one in force: one row of it says so, written by `mailnode switch`.
//! It does not know how a switch goes; `primary` reads it wherever a connection is opened.
//!
//! The row is the setting `.switch`, so no table has to be there for it. Its value is empty (in
//! force; writes are held up until `changed_us`, by the database's clock), `to ID` and one address
//! a line (left for these), or `copy ID` and the addresses it is made from (in force for whom a row
//! `to ID` sent here; everybody else asks there).

use super::url::{DatabaseUrl, DatabaseUrls};
use crate::store::error::StoreError;

/// The name of the row.
pub(in crate::store) const SWITCH: &str = ".switch";

/// Counts the row if writes are held up now, or for ever.
pub(in crate::store) const SWITCHING: &str = "SELECT count(*) FROM settings \
     WHERE name = '.switch' AND (value <> '' OR changed_us > {now})";

/// What the row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Standing {
    /// Read and written.
    InForce,
    /// Read; writes are held up for seconds.
    Frozen,
    /// Left: all of it is there now.
    Left { id: String, urls: DatabaseUrls },
    /// A copy of what is there; it may not be whole.
    Copy { id: String, urls: DatabaseUrls },
}

impl Standing {
    /// From the row's value, and whether `changed_us` is still to come.
    ///
    /// # Errors
    /// The value is none that this program knows.
    pub(in crate::store) fn read(value: &str, frozen: bool) -> Result<Self, StoreError> {
        let unknown = || StoreError::Schema(format!("the setting {SWITCH} is of a newer program"));
        if value.is_empty() {
            return Ok(if frozen { Self::Frozen } else { Self::InForce });
        }
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        let (word, id) = first.split_once(' ').ok_or_else(unknown)?;
        let id = id.to_owned();
        let urls = lines.map(DatabaseUrl::parse).collect::<Option<Vec<_>>>();
        let urls = urls.and_then(|urls| DatabaseUrls::new(urls).ok()).ok_or_else(unknown)?;
        match word {
            "to" => Ok(Self::Left { id, urls }),
            "copy" => Ok(Self::Copy { id, urls }),
            _ => Err(unknown()),
        }
    }

    /// The value for a database that is left; the addresses with their passwords.
    pub(in crate::store) fn left(id: &str, urls: &DatabaseUrls) -> String {
        format!("to {id}\n{}", urls.with_passwords())
    }

    /// The value for a copy of what is at these addresses.
    pub(in crate::store) fn copy(id: &str, urls: &DatabaseUrls) -> String {
        format!("copy {id}\n{}", urls.with_passwords())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let urls = ["postgres://u:p@a/n", "postgres://u:p@b/n"].map(DatabaseUrl::parse);
        let urls = DatabaseUrls::new(urls.into_iter().flatten().collect()).expect("one database");
        let value = Standing::left("7", &urls);
        assert_eq!(value, "to 7\npostgres://u:p@a/n\npostgres://u:p@b/n");
        let left = Standing::Left { id: "7".to_owned(), urls: urls.clone() };
        assert_eq!(Standing::read(&value, false).expect("it is ours"), left);
        let copy = Standing::Copy { id: "7".to_owned(), urls: urls.clone() };
        assert_eq!(Standing::read(&Standing::copy("7", &urls), true).expect("it is ours"), copy);
        assert_eq!(Standing::read("", true).expect("empty"), Standing::Frozen);
        assert_eq!(Standing::read("", false).expect("empty"), Standing::InForce);
        for unknown in ["from 7\nsqlite:///a", "to 7", "to 7\nnowhere", "x"] {
            assert!(Standing::read(unknown, false).is_err(), "{unknown}");
        }
    }
}
