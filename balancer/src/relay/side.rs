//! The two ends of a connection, and the ways in which one of them can be lost.
//! It does not know sockets or bytes. `relay` says what happened; from here come the words for it.

use std::io;

use crate::outcome::End;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Node,
}

/// How a side was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It said so.
    Reset,
    /// It did not answer any more.
    Vanished,
}

impl Loss {
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
        match error.kind() {
            TimedOut | HostUnreachable | NetworkUnreachable => Self::Vanished,
            _ => Self::Reset,
        }
    }
}

impl Side {
    pub(super) fn closed(self) -> End {
        match self {
            Self::Client => End::ClientClosed,
            Self::Node => End::NodeClosed,
        }
    }

    pub(super) fn lost(self, loss: Loss) -> End {
        match (self, loss) {
            (Self::Client, Loss::Reset) => End::ClientReset,
            (Self::Client, Loss::Vanished) => End::ClientVanished,
            (Self::Node, Loss::Reset) => End::NodeReset,
            (Self::Node, Loss::Vanished) => End::NodeVanished,
        }
    }
}
