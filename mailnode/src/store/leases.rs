//! What one session holds for itself, over all nodes: a row says who, and a token that goes up with
//! every holder. It does not know what is held, nor what the holder does.
//!
//! A lease is void as soon as the epoch of its node is over (another start of it, or silence), and
//! whoever had it can change nothing under it any more: each change asks for the token again, in
//! its own transaction. A row that nobody holds is kept, so that tokens never repeat; `until_us`
//! is when it was last taken.

use super::Store;
use super::error::StoreError;
use super::sql::{Connection, Statement};
use crate::mail::MailboxId;
use crate::process::ProcessIdentity;

/// A node's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The node's name.
    pub node: String,
    /// Its start.
    pub epoch: i64,
}

/// A lease that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    name: String,
    token: i64,
    session: String,
}

/// What came of asking for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Here it is.
    Given(Lease),
    /// Another session has it, on a node that lives for all we know.
    Held,
    /// It is free, but was taken less than so many microseconds ago.
    TooSoon,
}

impl Store {
    /// Asks for a mailbox's lease, for one session of one node. `apart_us`: the least time since it
    /// was last given; 0: any.
    ///
    /// # Errors
    /// The database does not answer, or the epoch of the node that asks is over.
    pub async fn hold_mailbox(
        &self,
        mailbox: MailboxId,
        holder: &Holder,
        session: &str,
        apart_us: i64,
    ) -> Result<Asked, StoreError> {
        let name = format!("mailbox/{}", mailbox.0);
        let find = Statement::new(
            "SELECT node, epoch, token, session, {now} - until_us FROM leases WHERE name = $1",
        );
        let row = self.database.readers().row(&find.bind(&name)).await?;
        let mut before = None;
        if let Some(row) = row {
            let (node, epoch, held) = (row.text(0)?, row.int(1)?, !row.text(3)?.is_empty());
            if held && self.may_live(&node, epoch, holder).await? {
                return Ok(Asked::Held);
            }
            if row.int(4)? < apart_us {
                return Ok(Asked::TooSoon);
            }
            before = Some(row.int(2)?);
        }
        let lease = Lease { name, token: before.unwrap_or(0) + 1, session: session.to_owned() };
        let (asked, holder) = (lease.clone(), holder.clone());
        let given = self.change(move |connection| {
            Box::pin(async move { take(connection, &asked, before, &holder).await })
        });
        Ok(if given.await? { Asked::Given(lease) } else { Asked::Held })
    }

    /// Whether the node of a lease lives for all we know, in the same run.
    async fn may_live(&self, node: &str, epoch: i64, own: &Holder) -> Result<bool, StoreError> {
        if (node, epoch) == (&own.node, own.epoch) {
            return Ok(true);
        }
        let row = self.node(node).await?;
        Ok(row.is_some_and(|row| row.epoch == epoch && row.may_live(&ProcessIdentity::own())))
    }

    /// Gives a lease back. Of one that is void already nothing is changed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.change(move |connection| {
            Box::pin(async move { free(connection, &lease).await.map(drop) })
        })
        .await
    }
}

/// Writes the new holder, unless another was faster. False: one was.
async fn take(
    connection: &mut Connection,
    lease: &Lease,
    before: Option<i64>,
    holder: &Holder,
) -> Result<bool, StoreError> {
    // A node whose epoch is over takes nothing.
    let own = "SELECT count(*) FROM nodes WHERE name = $1 AND epoch = $2";
    let own = Statement::new(own).bind(&holder.node).bind(holder.epoch);
    if connection.number(&own).await? == 0 {
        return Err(StoreError::Conflict(format!(
            "another run has taken the name {} since",
            holder.node
        )));
    }
    let put = match before {
        Some(_) => {
            "UPDATE leases SET node = $1, epoch = $2, token = $3, session = $4, until_us = {now} \
             WHERE name = $5 AND token = $6"
        }
        None => {
            "INSERT INTO leases (node, epoch, token, session, name, until_us) \
             VALUES ($1, $2, $3, $4, $5, {now})"
        }
    };
    let mut put = Statement::new(put).bind(&holder.node).bind(holder.epoch).bind(lease.token);
    put = put.bind(&lease.session).bind(&lease.name);
    if let Some(before) = before {
        put = put.bind(before);
    }
    match connection.execute(&put).await {
        Ok(rows) => Ok(rows == 1),
        Err(error) if error.is_there_already() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Nobody's again. False: it was somebody else's, or void.
pub(super) async fn free(connection: &mut Connection, lease: &Lease) -> Result<bool, StoreError> {
    let free = "UPDATE leases SET session = '' WHERE name = $1 AND token = $2 AND session = $3";
    let free = Statement::new(free).bind(&lease.name).bind(lease.token).bind(&lease.session);
    Ok(connection.execute(&free).await? == 1)
}
