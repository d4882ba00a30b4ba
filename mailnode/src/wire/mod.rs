//! wire
pub mod dot;
pub mod line;
