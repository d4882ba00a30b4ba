//! Carries connections to mail nodes: which node, how to reach it, what if it fails.
//! It knows nothing of mail beyond what a greeting and a refusal look like. `main` and the tests
//! call it.
//!
//! `settings` what it is told · `config` the file that says so · `backends` which node? (pure) ·
//! `connection` the whole life of one client · `metrics` what is counted.

pub mod backends;
pub mod config;
pub mod metrics;
pub mod settings;
