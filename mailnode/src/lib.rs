//! A mail node.
pub mod mail;
pub mod pop3;
pub mod smtp;
pub mod wire;
