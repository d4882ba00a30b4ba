//! The database under a test: SQLite, or a real server that the whole test program shares, with a
//! database of its own for each test. `./tests/run --on postgresql|mariadb|sqlite` chooses.
//! It does not know what is kept there; `cluster` and the tests of mailnode's store ask for one.

mod pair;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::program::run;
pub use pair::Pair;
pub use server::Server;

/// The environment variable that chooses.
const CHOICE: &str = "TEST_DATABASE";

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of the test's own.
    Sqlite,
    /// A PostgreSQL server.
    Postgresql,
    /// A MariaDB server.
    Mariadb,
}

impl Kind {
    /// The one this run of the tests is on; without a choice SQLite.
    ///
    /// # Panics
    /// When the choice is another word.
    pub fn chosen() -> Self {
        match std::env::var(CHOICE).as_deref() {
            Err(_) | Ok("sqlite") => Self::Sqlite,
            Ok("postgresql") => Self::Postgresql,
            Ok("mariadb") => Self::Mariadb,
            Ok(other) => panic!("{CHOICE}={other}: it is sqlite, postgresql or mariadb"),
        }
    }
}

/// A database that nobody else uses.
#[derive(Debug, Clone)]
pub struct Database {
    place: Place,
    urls: Vec<String>,
}

#[derive(Debug, Clone)]
enum Place {
    File(PathBuf),
    Server(Arc<Server>, String),
}

impl Database {
    /// An empty one; SQLite's file lies in `directory`.
    ///
    /// # Panics
    /// When the server does not start.
    pub fn make(kind: Kind, directory: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(server) = Server::shared(kind) else {
            let file = directory.join("mail.db");
            let url = format!("sqlite://{}", file.display());
            return Self { place: Place::File(file), urls: vec![url] };
        };
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self::on(server, &name)
    }

    /// An empty one of this name on a server.
    ///
    /// # Panics
    /// When it is there already.
    pub fn on(server: Arc<Server>, name: &str) -> Self {
        server.create_database(name);
        let urls = vec![server.url(name)];
        Self { place: Place::Server(server, name.to_owned()), urls }
    }

    /// The same database, which another server has too.
    #[must_use]
    pub fn and_on(mut self, server: &Server) -> Self {
        if let Place::Server(_, name) = &self.place {
            self.urls.push(server.url(name));
        }
        self
    }

    /// Its address, with the password; the first, if it has several.
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// All its addresses.
    pub fn urls(&self) -> Vec<&str> {
        self.urls.iter().map(String::as_str).collect()
    }

    /// Asks it, by its own command line program: a line for each row, columns parted by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> Vec<String> {
        match &self.place {
            Place::Server(server, name) => server.sql(name, statement),
            Place::File(file) => {
                let mut command = Command::new("sqlite3");
                command.args(["-cmd", ".timeout 10000"]).arg(file).arg(statement);
                lines(&mut command)
            }
        }
    }
}

#[track_caller]
fn lines(command: &mut Command) -> Vec<String> {
    run(command, b"").exits(0).text().lines().map(str::to_owned).collect()
}
