//! What an administrator changes of a user.
//! It does not know passwords; `accounts` keeps them. The commands call it.

use super::Store;
use super::accounts::no_user;
use super::error::StoreError;
use super::sql::Statement;
use crate::mail::EmailAddress;

/// The columns of what it may be used for.
const PERMITS: [&str; 3] = [", may_smtp = ", ", may_pop3 = ", ", may_imap = "];

/// What is to be another; `None`: it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChanges {
    /// Display name.
    pub name: Option<String>,
    /// Whether it may log in and receive.
    pub is_active: Option<bool>,
    /// Sending mail.
    pub sending: Option<bool>,
    /// Fetching from its first mailbox.
    pub fetching: Option<bool>,
    /// All its mailboxes, from anywhere.
    pub reading: Option<bool>,
    /// Octets; 0: no limit.
    pub quota_octets: Option<i64>,
    /// Messages; 0: no limit.
    pub quota_messages: Option<i64>,
}

impl Store {
    /// Changes a user; in force on all nodes with the next question.
    ///
    /// # Errors
    /// There is no such user.
    pub async fn set_user(
        &self,
        address: EmailAddress,
        changes: UserChanges,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let mut update = Statement::new("UPDATE accounts SET changed_us = {now}");
                if let Some(name) = &changes.name {
                    update.push(", display_name = ").push_value(name);
                }
                if let Some(is_active) = changes.is_active {
                    let state = if is_active { "active" } else { "disabled" };
                    update.push(", state = ").push_value(state);
                }
                for (column, number) in [
                    (PERMITS[0], changes.sending.map(i64::from)),
                    (PERMITS[1], changes.fetching.map(i64::from)),
                    (PERMITS[2], changes.reading.map(i64::from)),
                    (", quota_octets = ", changes.quota_octets),
                    (", quota_messages = ", changes.quota_messages),
                ] {
                    if let Some(number) = number {
                        update.push(column).push_value(number);
                    }
                }
                update.push(" WHERE address = ").push_value(address.to_string());
                match connection.execute(&update).await? {
                    0 => Err(no_user(&address)),
                    _ => Ok(()),
                }
            })
        })
        .await
    }
}
