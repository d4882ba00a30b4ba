//! The hold a session has on its maildrop, over all nodes (RFC 1939 §4: one session at a time).
//! It does not know commands; `serve` has one, and whatever ends the session gives it back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::mail::{MailboxId, Uid};
use crate::node::Node;
use crate::pulse::Stretch;
use crate::store::{Asked, Lease, Store, StoreError};

/// How long a client waits for the way back of its hold; it is given back all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often, and how many times, it is tried where the database is away.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 600;

/// Sessions of this process, for their names.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A hold, or none yet.
#[derive(Debug)]
pub(super) struct Hold {
    store: Store,
    held: Option<(Lease, Stretch)>,
}

/// What came of asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is this session's.
    Yes,
    /// Another session has it.
    InUse,
    /// It was taken too short a while ago.
    TooSoon,
}

impl Hold {
    pub(super) fn new(node: &Node) -> Self {
        Self { store: node.store.clone(), held: None }
    }

    /// Asks for a mailbox.
    pub(super) async fn take(
        &mut self,
        mailbox: MailboxId,
        node: &Node,
    ) -> Result<Taken, StoreError> {
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed).to_string();
        let stretch = node.pulse.stretch();
        let apart_us = i64::try_from(node.pop3.login_delay_s * 1_000_000).unwrap_or(i64::MAX);
        let asked = self.store.hold_mailbox(mailbox, &node.holder, &session, apart_us).await?;
        Ok(match asked {
            Asked::Given(lease) => {
                self.held = Some((lease, stretch));
                Taken::Yes
            }
            Asked::Held => Taken::InUse,
            Asked::TooSoon => Taken::TooSoon,
        })
    }

    /// Removes messages and gives the hold back, at once or not at all: a session whose node may
    /// have been given up meanwhile removes nothing.
    pub(super) async fn remove(
        &mut self,
        mailbox: MailboxId,
        uids: Vec<Uid>,
        node: &Node,
    ) -> Result<u64, StoreError> {
        let Some((lease, stretch)) = self.held.clone() else {
            return Err(StoreError::Conflict("the session holds no mailbox".to_owned()));
        };
        if !node.pulse.same(stretch) {
            return Err(StoreError::Conflict(
                "this node was silent for so long that others may have given it up".to_owned(),
            ));
        }
        let removed = self.store.remove_held(mailbox, uids, lease).await?;
        self.held = None;
        Ok(removed)
    }

    /// Gives it back before the client is told goodbye: it may come again at once.
    pub(super) async fn release(&mut self) {
        if let Some((lease, _)) = self.held.take() {
            let back = give_back(self.store.clone(), lease);
            drop(tokio::time::timeout(PATIENCE, back).await);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((lease, _)) = self.held.take() {
            drop(give_back(self.store.clone(), lease));
        }
    }
}

/// Tries until the database has heard of it: as long as this node lives nobody else can.
fn give_back(store: Store, lease: Lease) -> JoinHandle<()> {
    tokio::spawn(async move {
        for attempt in 0..TRIES_MAX {
            match store.release(lease.clone()).await {
                Ok(()) => return,
                Err(error) if attempt == 0 => {
                    tracing::warn!(%error, "a maildrop could not be given back yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
}
