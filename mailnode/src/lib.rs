//! A mail node: one of N equal servers over one SQL database and one file store.
//! It knows nothing of balancing but the PROXY header that tells who the client is.
//!
//! | room | what it is |
//! | --- | --- |
//! | [`mail`] | what mail *is*: addresses, envelopes, ids; values only |
//! | [`smtp`], [`pop3`] | a protocol each: `command`, `session` and `reply` are pure, `mod` lives |
//! | [`wire`] | the only place that touches a client's socket |
//! | [`tls`] | the certificate, and its change without a restart |
//! | [`password`], [`sasl`] | pure: what is kept of a password; how one logs in |
//! | [`auth`], [`delivery`] | logins; the promise behind 250 |
//! | [`spool`], [`journal`] | local temp; the event log |
//! | [`store`] | the only door to what is kept |
//! | [`node`], [`condition`] | the door for connections; how the node is |
//! | `checkup` | is all around a node's settings as it has to be? |
//! | [`commands`] | what the command line does, a file per verb |

pub mod auth;
mod checkup;
pub mod clock;
pub mod commands;
pub mod condition;
pub mod config;
mod crash;
pub mod delivery;
pub mod journal;
pub mod mail;
pub mod metrics;
pub mod node;
pub mod password;
pub mod pop3;
pub mod process;
pub mod pulse;
pub mod sasl;
pub mod smtp;
pub mod spool;
pub mod store;
pub mod tls;
pub mod wire;
