//! What can be wrong with a file of users: each fault with its line, and the remedy in its words.
//! It does not know how it is found; `table` and `import` tell.

use std::fmt;

use crate::mail::{AddressFault, EmailAddress};

/// A fault and the line it is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) problem: Problem,
}

/// What is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("this is no CSV: {0}")]
    NotCsv(String),
    #[error("this is no JSON object: {0}")]
    NotJson(String),
    #[error("this is not UTF-8: save the file as UTF-8")]
    NotUtf8,
    #[error("`{0}` is neither text nor a number")]
    NotText(String),
    #[error("the row has {found} cells, the first line names {wanted} columns")]
    Cells { found: usize, wanted: usize },
    #[error(
        "there is no column `{0}`; there are address, password, password_hash, quota, \
         quota_messages, name"
    )]
    UnknownColumn(String),
    #[error("the column `{0}` is named twice")]
    ColumnTwice(String),
    #[error("the first line names no column {0}")]
    NoColumn(&'static str),
    #[error("there is no address")]
    NoAddress,
    #[error("`{0}`: {1}")]
    Address(String, AddressFault),
    #[error("{0} stands in line {1} already: leave one of the two")]
    Twice(EmailAddress, u64),
    #[error("there is neither password nor password_hash: give one of them")]
    NoKey,
    #[error("there are both password and password_hash: give one of them")]
    TwoKeys,
    #[error("the password is longer than 512 octets")]
    PasswordLength,
    #[error("password_hash: {0}")]
    Hash(String),
    #[error("quota: `{0}` is not a size such as 512 MiB, 2 GiB; 0 is none")]
    Quota(String),
    #[error("quota_messages: `{0}` is not a number of messages; 0 is none")]
    QuotaMessages(String),
    #[error("name: it is longer than 255 octets, or has control characters")]
    Name,
    #[error(
        "the domain {0} is not served here: `mailnode domain add {0}`, or import with \
         --create-domains"
    )]
    Domain(String),
    #[error("{0} is an alias, a list or a further address of a user: remove that first")]
    OtherAddress(EmailAddress),
    #[error(
        "{address} is there already with another {what}: take the line out, or change the user \
         with `mailnode user {verb} {address}`"
    )]
    Differs { address: EmailAddress, what: &'static str, verb: &'static str },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}
