//! What every test stands on: real processes, real sockets, and two small mail clients.
//! It does not know how balancer and mailnode work inside; the files of `tests/` call it.
//!
//! - [`Cluster`] starts N nodes and a balancer in a directory of their own, gone on drop.
//! - [`Balancer`] starts a balancer alone, before a [`FakeNode`] or three.
//! - [`Database`] is the database under a test, of the chosen kind.
//! - [`Callers`] connect again and again meanwhile and say who was not served.
//! - [`Loopback::enter`] gives a test a loopback of its own, in which packets can be lost.
//! - [`SmtpClient`] and [`Pop3Client`] speak as a client does and say what they saw.
//! - [`ledger`] holds what senders saw against what is read afterwards.
//! - [`network`] is a network of namespaces, for what has to do with addresses.
//! - [`script`] plays dialogues written as `C:` and `S:` lines.
//! - [`wait_until`] is the only place that waits for something to become true.

pub mod balancer;
pub mod callers;
pub mod cluster;
pub mod database;
pub mod fake_node;
pub mod http;
pub mod ledger;
pub mod line;
pub mod loopback;
pub mod message;
pub mod metrics;
pub mod network;
pub mod node;
pub mod pop3_client;
pub mod ports;
pub mod process;
pub mod program;
pub mod proxy_header;
pub mod read_some;
pub mod script;
pub mod smtp_client;
pub mod source;
pub mod tls;
pub mod user;
pub mod wait;
pub mod yaml;

pub use balancer::Balancer;
pub use callers::Callers;
pub use cluster::{Cluster, Plan};
pub use database::Database;
pub use fake_node::FakeNode;
pub use loopback::Loopback;
pub use message::{message, of_size, stored_as};
pub use metrics::Metrics;
pub use pop3_client::Pop3Client;
pub use program::{Finished, run};
pub use read_some::ReadSome;
pub use smtp_client::{Reply, SmtpClient};
pub use user::{ALICE, BOB, User};
pub use wait::{MOMENT, hold_for, wait_until};
