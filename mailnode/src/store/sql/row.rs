//! A row of an answer, read column by column: numbers and text, nothing else.
//! It does not know what was asked; whoever wrote the statement knows its columns.

use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, MySql, Postgres, Row as _, Sqlite, Type};

use crate::store::error::StoreError;

/// One row, whosever.
pub(in crate::store) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

impl Row {
    /// The number in a column, counted from 0.
    ///
    /// # Errors
    /// There is no number.
    pub(in crate::store) fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.get(column)
    }

    /// The text in a column.
    ///
    /// # Errors
    /// There is no text.
    pub(in crate::store) fn text(&self, column: usize) -> Result<String, StoreError> {
        self.get(column)
    }

    /// The number in a column that may be NULL.
    ///
    /// # Errors
    /// There is something else.
    pub(in crate::store) fn maybe_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        self.get(column)
    }

    /// The text in a column that may be NULL.
    ///
    /// # Errors
    /// There is something else.
    pub(in crate::store) fn maybe_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    fn get<'r, T>(&'r self, column: usize) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        T: Decode<'r, Postgres> + Type<Postgres>,
        T: Decode<'r, MySql> + Type<MySql>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
        };
        Ok(value?)
    }
}
