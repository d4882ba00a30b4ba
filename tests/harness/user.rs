//! The two people who are there in every test's cluster.
//! It does not know what they get or read; `cluster` gives them their mailboxes.

/// Somebody with a mailbox.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// The whole address, which is also the login.
    pub address: &'static str,
    /// In the clear.
    pub password: &'static str,
}

/// The first user of every cluster.
pub const ALICE: User = User { address: "alice@example.test", password: "alice-example" };
/// The second one.
pub const BOB: User = User { address: "bob@example.test", password: "bob-example" };
