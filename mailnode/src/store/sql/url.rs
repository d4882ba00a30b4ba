//! Where the database is: one address, or several of one replicated database.
//! It does not know which of them answers; `primary` finds that out. What is shown of it has no
//! password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::dialect::Kind;

/// Group statements differ by their number of rows: keep them all prepared.
const STATEMENTS_KEPT: usize = 300;

/// The address of one database.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// As it was given: with the password.
    text: String,
    shown: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

/// How to connect.
pub(super) enum Options {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

impl DatabaseUrl {
    /// What `parse` takes.
    pub const FORMS: &'static str = "sqlite:///ABSOLUTE/PATH, postgres://USER:PASSWORD@HOST/NAME \
                                     or mysql://USER:PASSWORD@HOST/NAME";

    /// Reads `sqlite:///absolute/path`, `postgres://…` or `mysql://…` (also `postgresql://`,
    /// `mariadb://`); `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let place = match scheme {
            "sqlite" => {
                let path = PathBuf::from(rest);
                (path.is_absolute() && path.file_name().is_some()).then_some(Place::Sqlite(path))?
            }
            "postgres" | "postgresql" => {
                let options = PgConnectOptions::from_str(text).ok()?;
                options.get_database()?;
                Place::Postgres(Box::new(options))
            }
            "mysql" | "mariadb" => {
                let options = MySqlConnectOptions::from_str(text).ok()?;
                options.get_database()?;
                Place::MySql(Box::new(options))
            }
            _ => return None,
        };
        Some(Self { text: text.to_owned(), shown: without_password(scheme, rest), place })
    }

    /// Which database it is.
    pub(in crate::store) fn kind(&self) -> Kind {
        match self.place {
            Place::Sqlite(_) => Kind::Sqlite,
            Place::Postgres(_) => Kind::Postgres,
            Place::MySql(_) => Kind::MySql,
        }
    }

    /// The database's file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            _ => None,
        }
    }

    pub(super) fn options(&self) -> Options {
        match &self.place {
            Place::Sqlite(path) => Options::Sqlite(Box::new(
                SqliteConnectOptions::new()
                    .filename(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    // Writers queue by flock; this only bridges a checkpoint or a recovery.
                    .busy_timeout(Duration::from_secs(5))
                    .statement_cache_capacity(STATEMENTS_KEPT)
                    .disable_statement_logging(),
            )),
            Place::Postgres(options) => Options::Postgres(Box::new(
                (**options)
                    .clone()
                    .application_name("mailnode")
                    .statement_cache_capacity(STATEMENTS_KEPT)
                    .disable_statement_logging(),
            )),
            Place::MySql(options) => Options::MySql(Box::new(
                (**options)
                    .clone()
                    .charset("utf8mb4")
                    .collation("utf8mb4_bin")
                    .statement_cache_capacity(STATEMENTS_KEPT)
                    .disable_statement_logging(),
            )),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Eq for DatabaseUrl {}

/// The address as it may be shown: `user:…@` loses its password, and so does `?password=…`.
fn without_password(scheme: &str, rest: &str) -> String {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let place = match place.rsplit_once('@') {
        Some((who, where_)) => {
            let user = who.split(':').next().unwrap_or_default();
            format!("{user}@{where_}")
        }
        None => place.to_owned(),
    };
    let kept = query.into_iter().flat_map(|query| query.split('&'));
    let kept: Vec<&str> = kept.filter(|pair| !pair.starts_with("password=")).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    format!("{scheme}://{place}{mark}{}", kept.join("&"))
}

/// The addresses of one replicated database; the one that may be written to is used. Never empty,
/// all of one kind, and several only of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUrls(Vec<DatabaseUrl>);

impl DatabaseUrls {
    /// All of them together.
    ///
    /// # Errors
    /// What does not go together, in words.
    pub fn new(urls: Vec<DatabaseUrl>) -> Result<Self, &'static str> {
        let Some(first) = urls.first() else { return Err("has no address") };
        if urls.iter().any(|url| url.kind() != first.kind()) {
            return Err("the addresses are those of one replicated database: of one kind");
        }
        if urls.len() > 1 && first.kind() == Kind::Sqlite {
            return Err("one address only: SQLite is one file on one machine");
        }
        Ok(Self(urls))
    }

    pub(in crate::store) fn all(&self) -> &[DatabaseUrl] {
        &self.0
    }

    pub(in crate::store) fn kind(&self) -> Kind {
        self.0[0].kind()
    }

    /// As they were given, one a line, for the row that leads nodes there: never shown.
    pub(in crate::store) fn with_passwords(&self) -> String {
        self.0.iter().map(|url| url.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The database's file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        self.0[0].file()
    }
}

impl From<DatabaseUrl> for DatabaseUrls {
    fn from(url: DatabaseUrl) -> Self {
        Self(vec![url])
    }
}

impl fmt::Display for DatabaseUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.0.iter().enumerate() {
            write!(f, "{}{url}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            ("sqlite:///a/b.db", "sqlite:///a/b.db"),
            ("postgres://u:pa@ss@h:5432/n", "postgres://u@h:5432/n"),
            ("postgresql://u@h/n?host=/s&password=x", "postgresql://u@h/n?host=/s"),
            ("mysql://u:secret@h/n", "mysql://u@h/n"),
            ("mariadb://u:secret@h/n", "mariadb://u@h/n"),
        ] {
            let url = DatabaseUrl::parse(text).unwrap_or_else(|| panic!("{text} is refused"));
            assert_eq!(format!("{url} {url:?}"), format!("{shown} {shown}"));
        }
        for bad in ["mail.db", "sqlite://mail.db", "postgres://h", "mysql://u@h", "oracle://h/n"] {
            assert_eq!(DatabaseUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn several_addresses_are_of_one_server() {
        let urls = |texts: &[&str]| {
            let urls = texts.iter().map(|text| DatabaseUrl::parse(text).unwrap()).collect();
            DatabaseUrls::new(urls).is_ok()
        };
        assert!(urls(&["sqlite:///a"]) && urls(&["postgres://a/n", "postgres://b/n"]));
        assert!(!urls(&[]) && !urls(&["sqlite:///a", "sqlite:///b"]));
        assert!(!urls(&["postgres://a/n", "mysql://b/n"]));
    }
}
