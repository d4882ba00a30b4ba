//! Which of a replicated database's servers may be written to, and whether it may be believed.
//! It does not know what is written; `readers` and the writer ask for connections.
//!
//! Each server that was ever written to has a row of its own, a generation, in the database. One
//! that is promoted finds another's row to be the newest and adds its own. A server whose newest
//! row is older than what this process has seen was demoted meanwhile: it is never used, however
//! writable it says it is. Wherever a connection is opened for writing all servers are asked.
//!
//! A database that `mailnode switch` left says where everything went: it is followed there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::connection::Connection;
use super::standing::{SWITCH, Standing};
use super::statement::Statement;
use super::url::{DatabaseUrl, DatabaseUrls};
use crate::store::error::StoreError;

/// How long one server may take to connect and to say what it is.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// How long the others may still take when one was found.
const OTHERS_PATIENCE: Duration = Duration::from_millis(150);
/// How often the others are asked whether they were promoted, while a write gets no answer.
const SUPERSEDED_INTERVAL: Duration = Duration::from_secs(1);

/// How many databases that were left may lead on, one to the next.
const SWITCHES_MAX: usize = 8;

/// The servers of one database.
#[derive(Debug, Clone)]
pub(in crate::store) struct Primary(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// One search at a time among those that read.
    searching: tokio::sync::Mutex<()>,
}

/// The server that is used now.
#[derive(Debug, Clone)]
struct Known {
    urls: DatabaseUrls,
    /// The id of the switch that led to these addresses; empty: the settings name them.
    followed: String,
    index: usize,
    server: String,
    generation: i64,
    /// Goes up with each change: connections opened before it are those of another server.
    turn: u64,
}

/// What a server says of itself.
#[derive(Debug)]
struct Look {
    writable: bool,
    server: String,
    cluster: Option<String>,
    newest: i64,
    newest_server: String,
    standing: Standing,
}

impl Look {
    /// The generation that a write there belongs to: a server that was just promoted has not
    /// added its row yet.
    fn generation(&self) -> i64 {
        if self.server == self.newest_server { self.newest } else { self.newest + 1 }
    }
}

/// A server that may be used, and the connection to it.
struct Found {
    index: usize,
    connection: Connection,
    look: Look,
}

impl Primary {
    pub(in crate::store) fn of(urls: DatabaseUrls) -> Self {
        let (followed, server) = (String::new(), String::new());
        let known = Known { urls, followed, index: 0, server, generation: 0, turn: 0 };
        let known = Mutex::new(known);
        Self(Arc::new(Shared { known, searching: tokio::sync::Mutex::default() }))
    }

    /// The addresses that are used now: those of the settings, or where a switch led.
    pub(in crate::store) fn urls(&self) -> DatabaseUrls {
        self.known().urls
    }

    /// Changes when another server is used from now on.
    pub(in crate::store) fn turn(&self) -> u64 {
        self.known().turn
    }

    /// A connection to read with, and the turn it belongs to.
    ///
    /// # Errors
    /// [`StoreError::Away`]: no server may be used now.
    pub(in crate::store) async fn reader(&self) -> Result<(Connection, u64), StoreError> {
        let known = self.known();
        if let Ok(connection) = self.reader_of_known(&known).await {
            return Ok((connection, known.turn));
        }
        let _searching = self.0.searching.lock().await;
        let mut now = self.known();
        let mut connection = if now.turn == known.turn {
            let found = self.search().await?;
            now = self.known();
            found.connection
        } else {
            self.reader_of_known(&now).await?
        };
        connection.script(connection.kind().reader_session().to_owned()).await?;
        Ok((connection, now.turn))
    }

    async fn reader_of_known(&self, known: &Known) -> Result<Connection, StoreError> {
        let url = &known.urls.all()[known.index];
        let found = look_in_time(known.index, url.clone()).await?;
        self.admit(url, &found.look)?;
        if leads_on(&found.look.standing, &known.followed).is_some() {
            return Err(StoreError::Away(format!("{url}: it was left")));
        }
        self.note(&found, &known.followed);
        let mut connection = found.connection;
        connection.script(connection.kind().reader_session().to_owned()).await?;
        Ok(connection)
    }

    /// A connection to write with, and the generation its writes belong to.
    ///
    /// # Errors
    /// [`StoreError::Away`]: no server may be written to now.
    pub(in crate::store) async fn writer(&self) -> Result<(Connection, i64), StoreError> {
        let Found { mut connection, look, .. } = self.search().await?;
        match &look.standing {
            Standing::Frozen => return Err(StoreError::Frozen),
            // The first that writes where a switch led makes it a database like any other.
            Standing::Copy { id, urls } => {
                let said = Statement::new("DELETE FROM settings WHERE name = $1 AND value = $2");
                let said = said.bind(SWITCH).bind(Standing::copy(id, urls));
                connection.commit_at_once(&said).await?;
            }
            _ => {}
        }
        connection.script(connection.kind().writer_session().to_owned()).await?;
        let generation = look.generation();
        if generation != look.newest && look.cluster.is_some() {
            // Of several nodes that find a promoted server one adds the row.
            let add = Statement::new(
                "INSERT INTO generations (generation, server, began_us) VALUES ($1, $2, {now})",
            );
            match connection.commit_at_once(&add.bind(generation).bind(&look.server)).await {
                Ok(_) => tracing::warn!(generation, server = look.server, "a server is written to"),
                Err(error) if error.is_there_already() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((connection, generation))
    }

    /// Returns when another server than the one that is used was promoted; else never.
    pub(in crate::store) async fn superseded(&self) {
        loop {
            tokio::time::sleep(SUPERSEDED_INTERVAL).await;
            let before = self.known();
            if before.urls.all().len() < 2 {
                continue;
            }
            if self.search().await.is_ok() && self.turn() != before.turn {
                return;
            }
        }
    }

    /// Whether the database that is used was left meanwhile; if so it is followed.
    ///
    /// # Errors
    /// The row is none that this program knows.
    pub(in crate::store) fn hear(&self, value: &str) -> Result<(), StoreError> {
        if let Standing::Left { id, urls } = Standing::read(value, false)? {
            self.follow(id, urls);
        }
        Ok(())
    }

    fn follow(&self, id: String, urls: DatabaseUrls) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.followed == id {
            return;
        }
        tracing::warn!(
            left = %known.urls, to = %urls,
            "the database was left with `mailnode switch`: change `database` in the YAML file"
        );
        let (server, turn) = (String::new(), known.turn + 1);
        *known = Known { urls, followed: id, index: 0, server, generation: -1, turn };
    }

    /// Asks all servers and takes the one of the newest generation; follows where it leads.
    async fn search(&self) -> Result<Found, StoreError> {
        for _ in 0..SWITCHES_MAX {
            let followed = self.known().followed;
            let found = self.search_once().await;
            if self.known().followed != followed {
                continue; // Another task followed meanwhile: what was found is of the old one.
            }
            let found = found?;
            match leads_on(&found.look.standing, &followed) {
                None => {
                    self.note(&found, &followed);
                    return Ok(found);
                }
                Some((id, urls)) => self.follow(id, urls),
            }
        }
        Err(StoreError::Away("databases that were left lead to one another".to_owned()))
    }

    async fn search_once(&self) -> Result<Found, StoreError> {
        let urls = self.urls();
        let urls = urls.all();
        let mut looks = JoinSet::new();
        for (index, url) in urls.iter().enumerate() {
            looks.spawn(look_in_time(index, url.clone()));
        }
        let mut best: Option<Found> = None;
        let mut told = Vec::new();
        loop {
            let next = match best {
                None => looks.join_next().await,
                Some(_) => {
                    let next = tokio::time::timeout(OTHERS_PATIENCE, looks.join_next()).await;
                    next.unwrap_or(None)
                }
            };
            match next {
                None => break,
                Some(Err(error)) => told.push(error.to_string()),
                Some(Ok(Err(error))) => told.push(error.to_string()),
                Some(Ok(Ok(found))) => match self.admit(&urls[found.index], &found.look) {
                    Err(error) => told.push(error.to_string()),
                    Ok(()) => {
                        let newest = best.as_ref().map_or(-1, |best| best.look.generation());
                        if found.look.generation() > newest {
                            best = Some(found);
                        }
                    }
                },
            }
        }
        best.ok_or_else(|| StoreError::Away(told.join("; ")))
    }

    /// Whether a server may be used, after what it says of itself.
    fn admit(&self, url: &DatabaseUrl, look: &Look) -> Result<(), StoreError> {
        let known = self.known();
        let generation = look.generation();
        if !look.writable {
            return Err(StoreError::Away(format!("{url}: it is read-only, a standby as it seems")));
        }
        if generation < known.generation {
            return Err(StoreError::Away(format!(
                "{url}: it was demoted: its generation is {generation}, the newest {}",
                known.generation
            )));
        }
        if generation == known.generation && look.server != known.server && known.turn > 0 {
            return Err(StoreError::Away(format!(
                "{url}: it was promoted beside another server of the same generation, {}",
                known.server
            )));
        }
        Ok(())
    }

    /// Notes what was found at the addresses that a switch of this id led to.
    fn note(&self, found: &Found, followed: &str) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.followed != followed {
            return;
        }
        let Found { index, look, .. } = found;
        let same = known.index == *index && known.server == look.server;
        if look.generation() < known.generation || (same && known.turn > 0) {
            return;
        }
        if known.turn > 0
            && let Some(url) = known.urls.all().get(*index)
        {
            let server = &look.server;
            tracing::warn!(%url, server, "another database server is used from now on");
        }
        known.index = *index;
        known.server.clone_from(&look.server);
        known.generation = look.generation();
        known.turn += 1;
    }

    fn known(&self) -> Known {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where to go instead, and the name of that step. A copy is in force for whom the database it was
/// made from sent here; everybody else asks that one.
fn leads_on(standing: &Standing, followed: &str) -> Option<(String, DatabaseUrls)> {
    match standing {
        Standing::Left { id, urls } => Some((id.clone(), urls.clone())),
        Standing::Copy { id, urls } if id != followed => {
            Some((format!("what {id} is made from"), urls.clone()))
        }
        _ => None,
    }
}

/// Connects and asks what the server is.
async fn look_in_time(index: usize, url: DatabaseUrl) -> Result<Found, StoreError> {
    let looked = tokio::time::timeout(LOOK_PATIENCE, look(index, &url)).await;
    let looked = looked.unwrap_or(Err(StoreError::Late("connecting")));
    looked.map_err(|error| StoreError::Away(format!("{url}: {}", error.reason())))
}

async fn look(index: usize, url: &DatabaseUrl) -> Result<Found, StoreError> {
    let mut connection = Connection::open(url).await?;
    let said = connection.row(&Statement::new(connection.kind().look())).await?;
    let said = said.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?;
    let look = Look {
        writable: said.int(0)? == 1,
        server: said.text(1)?,
        cluster: said.maybe_text(2)?,
        newest: said.int(3)?,
        newest_server: said.text(4)?,
        standing: Standing::read(&said.text(5)?, said.int(6)? == 1)?,
    };
    Ok(Found { index, connection, look })
}
