//! One way to speak to three databases: SQLite, PostgreSQL, MariaDB or MySQL.
//! It does not know what is kept there; the store's files bring statements and read rows. What the
//! three spell differently stands side by side in `dialect`.

pub(in crate::store) mod connection;
pub(in crate::store) mod dialect;
pub(in crate::store) mod group;
pub(in crate::store) mod notice;
pub(in crate::store) mod primary;
mod quota;
pub(in crate::store) mod readers;
pub(in crate::store) mod row;
pub(in crate::store) mod standing;
pub(in crate::store) mod statement;
pub(in crate::store) mod turn;
pub(in crate::store) mod url;

pub(in crate::store) use connection::Connection;
pub(in crate::store) use dialect::Kind;
pub(in crate::store) use row::Row;
pub(in crate::store) use statement::Statement;
