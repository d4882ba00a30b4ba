//! One connection to one database, of whichever kind: runs statements, reads rows.
//! It does not know what they mean, nor which server is the right one. Never under a timeout or a
//! `select!` unless it is dropped with the future: an answer that was not read makes it useless.

use sqlx::mysql::{MySqlArguments, MySqlConnection};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, MySql, Postgres, Sqlite};

use super::dialect::Kind;
use super::notice::Notices;
use super::row::Row;
use super::statement::{Statement, Value};
use super::url::{DatabaseUrl, Options};
use crate::store::error::StoreError;

/// What was asked lately, for the test that has it explained.
#[cfg(test)]
pub(in crate::store) static SPOKEN: std::sync::Mutex<Vec<Statement>> =
    std::sync::Mutex::new(Vec::new());

#[cfg(test)]
fn note(statement: &Statement) {
    SPOKEN.lock().expect("no test panicked").push(statement.clone());
}

#[cfg(not(test))]
fn note(_: &Statement) {}

/// An open connection.
pub(in crate::store) enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>, Notices),
    MySql(Box<MySqlConnection>),
}

/// A query of one kind with its values; a kind that has no arrays refuses them.
macro_rules! query {
    ($name:ident, $database:ty, $arguments:ty, $value:ident, $query:ident => $arrays:expr) => {
        fn $name(
            text: String,
            values: &[&Value],
        ) -> Result<Query<'static, $database, $arguments>, StoreError> {
            let mut $query = sqlx::query(AssertSqlSafe(text));
            for $value in values {
                $query = match $value {
                    Value::Int(number) => $query.bind(*number),
                    Value::Text(text) => $query.bind(text.clone()),
                    _ => $arrays,
                };
            }
            Ok($query)
        }
    };
}

query!(sqlite, Sqlite, SqliteArguments, value, query => return Err(no_arrays()));
query!(mysql, MySql, MySqlArguments, value, query => return Err(no_arrays()));
query!(postgres, Postgres, PgArguments, value, query => match value {
    Value::Ints(numbers) => query.bind(numbers.clone()),
    Value::Texts(texts) => query.bind(texts.clone()),
    _ => query,
});

fn no_arrays() -> StoreError {
    StoreError::Schema("a statement brings an array where there are none".to_owned())
}

impl Connection {
    /// Connects. Nothing is created; a server says itself whether its database is there.
    ///
    /// # Errors
    /// What the database or the network says.
    pub(in crate::store) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Ok(match url.options() {
            Options::Sqlite(options) => Self::Sqlite(Box::new(options.connect().await?)),
            Options::Postgres(options) => {
                Self::Postgres(Box::new(options.connect().await?), Notices::new())
            }
            Options::MySql(options) => Self::MySql(Box::new(options.connect().await?)),
        })
    }

    /// As [`Self::open`], but a SQLite file that is missing is made.
    ///
    /// # Errors
    /// What the database or the network says.
    pub(in crate::store) async fn open_or_create(url: &DatabaseUrl) -> Result<Self, StoreError> {
        match url.options() {
            Options::Sqlite(options) => {
                let options = options.create_if_missing(true);
                Ok(Self::Sqlite(Box::new(options.connect().await?)))
            }
            _ => Self::open(url).await,
        }
    }

    pub(in crate::store) fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(..) => Kind::Postgres,
            Self::MySql(_) => Kind::MySql,
        }
    }

    /// Runs a statement; how many rows it changed (or matched, on MariaDB and MySQL).
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::store) async fn execute(
        &mut self,
        statement: &Statement,
    ) -> Result<u64, StoreError> {
        note(statement);
        let (text, values) = statement.spelled(self.kind());
        let text = text.into_owned();
        Ok(match self {
            Self::Sqlite(connection) => {
                sqlite(text, &values)?.execute(&mut **connection).await?.rows_affected()
            }
            Self::Postgres(connection, _) => {
                postgres(text, &values)?.execute(&mut **connection).await?.rows_affected()
            }
            Self::MySql(connection) => {
                mysql(text, &values)?.execute(&mut **connection).await?.rows_affected()
            }
        })
    }

    /// Runs a statement that is a transaction of its own.
    ///
    /// # Errors
    /// As [`Self::execute`]; [`StoreError::Unknown`]: perhaps it was committed.
    pub(in crate::store) async fn commit_at_once(
        &mut self,
        statement: &Statement,
    ) -> Result<u64, StoreError> {
        let Self::Postgres(_, notices) = self else { return self.execute(statement).await };
        let notices = notices.clone();
        let (outcome, warning) = notices.during(self.execute(statement)).await;
        match warning {
            Some(warning) if outcome.is_ok() => Err(StoreError::Unknown(warning)),
            _ => outcome,
        }
    }

    /// All rows of an answer.
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::store) async fn rows(
        &mut self,
        statement: &Statement,
    ) -> Result<Vec<Row>, StoreError> {
        note(statement);
        let (text, values) = statement.spelled(self.kind());
        let text = text.into_owned();
        Ok(match self {
            Self::Sqlite(connection) => {
                let rows = sqlite(text, &values)?.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection, _) => {
                let rows = postgres(text, &values)?.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::MySql(connection) => {
                let rows = mysql(text, &values)?.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::MySql).collect()
            }
        })
    }

    /// The first row of an answer, if there is one.
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::store) async fn row(
        &mut self,
        statement: &Statement,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// The number in the only row of an answer that cannot be empty.
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::store) async fn number(
        &mut self,
        statement: &Statement,
    ) -> Result<i64, StoreError> {
        let row = self.row(statement).await?;
        row.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?.int(0)
    }

    /// Runs a text of one or several statements as it is, in one round trip; the rows of all.
    ///
    /// # Errors
    /// What the database says; those before the failing one were run.
    pub(in crate::store) async fn script(&mut self, text: String) -> Result<Vec<Row>, StoreError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        #[cfg(test)]
        note(&Statement::new(text.clone()));
        let script = sqlx::raw_sql(AssertSqlSafe(text));
        Ok(match self {
            Self::Sqlite(connection) => {
                let rows = script.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection, _) => {
                let rows = script.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::MySql(connection) => {
                let rows = script.fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::MySql).collect()
            }
        })
    }

    /// Begins a transaction that writes. Not sqlx's own: one that is given up half-way goes away
    /// with its connection, so nothing has to remember it.
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::store) async fn begin(&mut self) -> Result<(), StoreError> {
        self.command(self.kind().begin()).await
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]: perhaps it was committed.
    pub(in crate::store) async fn commit(&mut self) -> Result<(), StoreError> {
        let (outcome, warning) = match self {
            Self::Postgres(_, notices) => {
                let notices = notices.clone();
                notices.during(self.command("COMMIT")).await
            }
            _ => (self.command("COMMIT").await, None),
        };
        match (outcome, warning) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(warning)) => Err(StoreError::Unknown(warning)),
            (Err(error), _) => Err(StoreError::Unknown(error.to_string())),
        }
    }

    /// Undoes what was begun.
    ///
    /// # Errors
    /// What the database says; the connection is of no use then.
    pub(in crate::store) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.command("ROLLBACK").await
    }

    async fn command(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            // Prepared and kept, like all others there.
            Self::Sqlite(connection) => {
                sqlx::query(text).execute(&mut **connection).await?;
            }
            Self::Postgres(connection, _) => {
                sqlx::raw_sql(text).execute(&mut **connection).await?;
            }
            Self::MySql(connection) => {
                sqlx::raw_sql(text).execute(&mut **connection).await?;
            }
        }
        Ok(())
    }
}
