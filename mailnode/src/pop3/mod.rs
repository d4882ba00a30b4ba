//! POP3
pub mod command;
pub mod reply;
pub mod session;
