//! What mail *is*: values that are checked once and trusted afterwards.
//! It knows no protocol's session, no store and no socket; every other room of this crate uses it.

pub mod address;
pub mod canonical;
pub mod date;
pub mod envelope;
pub mod ids;
pub mod secret;

pub use address::{AddressFault, EmailAddress};
pub use envelope::{Destination, Envelope, Greeting, MailboxId, Origin, Recipient, ReversePath};
pub use ids::{DeliveryId, Guid, Identities, Uid};
pub use secret::Secret;

/// The mailbox every account has, where mail arrives (RFC 9051 §5.1).
pub const INBOX: &str = "INBOX";
