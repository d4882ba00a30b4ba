//! What is kept of an account's password. It does not know how it is made or checked.

use super::Store;
use super::error::StoreError;
use super::sql::Statement;

impl Store {
    /// Puts better forms of the same password in the place of `before`. False: it has been changed
    /// meanwhile, and stays as it is.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn keep_hashes(
        &self,
        account_id: i64,
        before: String,
        hash: String,
        scram: String,
    ) -> Result<bool, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                let update = Statement::new(
                    "UPDATE accounts SET password_hash = $1, scram = $2, changed_us = {now} \
                     WHERE id = $3 AND password_hash = $4",
                );
                let update = update.bind(&hash).bind(&scram).bind(account_id).bind(&before);
                Ok(connection.execute(&update).await? == 1)
            })
        })
        .await
    }
}
