//! Changes that only the holder of a lease may make. It does not know who asks, nor why.

use super::Store;
use super::error::StoreError;
use super::leases::{Lease, free};
use super::messages;
use crate::mail::{MailboxId, Uid};

impl Store {
    /// Removes messages for good and gives the mailbox's lease back, in one transaction that asks
    /// for the lease first: whoever has lost it removes nothing. Messages that are gone already
    /// are passed over.
    ///
    /// # Errors
    /// None was removed, or, where the outcome of the commit is not known, perhaps all.
    pub async fn remove_held(
        &self,
        mailbox: MailboxId,
        uids: Vec<Uid>,
        lease: Lease,
    ) -> Result<u64, StoreError> {
        self.change(move |connection| {
            Box::pin(async move {
                // Its row is locked from here on: nobody takes it before this is committed.
                if free(connection, &lease).await? {
                    messages::remove(connection, mailbox, uids).await
                } else {
                    Err(StoreError::Conflict(
                        "the session's hold on the mailbox was given to another: nothing removed"
                            .to_owned(),
                    ))
                }
            })
        })
        .await
    }
}
