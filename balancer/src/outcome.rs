//! How a connection can end, and why a node can be of no use to it: the words of logs and metrics.
//! It does not know when that is so. `connection`, `relay` and `probe` say it, `metrics` counts it.

/// Why a node could not be used for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens there.
    Refused,
    /// No answer within `timeouts.connect`.
    Timeout,
    /// No way to it: the network says so.
    Unreachable,
    /// It reset the connection before its first byte.
    Reset,
    /// It closed the connection before its first byte.
    Closed,
    /// No first byte within `timeouts.greeting`.
    Silent,
    /// It greeted with a refusal of its own.
    Busy,
    /// It greeted with nothing its protocol has.
    Strange,
    /// Another node, dialed later, answered sooner.
    Overtaken,
    /// Our own trouble (no port, no descriptor, no memory): never held against the node.
    Local,
}

impl Cause {
    /// All of them, each at its own place.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Timeout,
        Self::Unreachable,
        Self::Reset,
        Self::Closed,
        Self::Silent,
        Self::Busy,
        Self::Strange,
        Self::Overtaken,
        Self::Local,
    ];

    /// The value of the label `cause`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Busy => "refused_service",
            Self::Strange => "not_a_greeting",
            Self::Overtaken => "overtaken",
            Self::Local => "local",
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client ended first, and both ends came through.
    ClientClosed,
    /// The node ended first, and both ends came through.
    NodeClosed,
    /// The client reset the connection.
    ClientReset,
    /// The node did.
    NodeReset,
    /// The client's machine has not answered for `timeouts.vanished`.
    ClientVanished,
    /// The node's has not.
    NodeVanished,
    /// No byte for `timeouts.idle`.
    Idle,
    /// The node was taken away, or the balancer stops, and the time to drain was over.
    Drain,
    /// The client left before a node had greeted.
    ClientLeft,
    /// No node could be used.
    NoNode,
    /// `limits.connections_max` was reached.
    RefusedLimit,
    /// `limits.connections_per_address_max` was reached.
    RefusedAddress,
    /// `limits.connections_per_address_per_minute_max` was.
    RefusedRate,
    /// `limits.connections_max` of the service was.
    RefusedService,
    /// Every node that could be used has `limits.connections_per_node_max` of the service.
    RefusedNodes,
}

impl End {
    /// All of them, each at its own place.
    pub const ALL: [Self; 15] = [
        Self::ClientClosed,
        Self::NodeClosed,
        Self::ClientReset,
        Self::NodeReset,
        Self::ClientVanished,
        Self::NodeVanished,
        Self::Idle,
        Self::Drain,
        Self::ClientLeft,
        Self::NoNode,
        Self::RefusedLimit,
        Self::RefusedAddress,
        Self::RefusedRate,
        Self::RefusedService,
        Self::RefusedNodes,
    ];

    /// Whether strangers can make as many of these as they like: not each of them is worth a line.
    #[must_use]
    pub fn is_cheap(self) -> bool {
        let refused =
            [Self::RefusedLimit, Self::RefusedAddress, Self::RefusedRate, Self::RefusedService];
        refused.contains(&self) || matches!(self, Self::RefusedNodes | Self::ClientLeft)
    }

    /// The value of the label `end`, and of the log's field of that name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::NodeClosed => "node_closed",
            Self::ClientReset => "client_reset",
            Self::NodeReset => "node_reset",
            Self::ClientVanished => "client_vanished",
            Self::NodeVanished => "node_vanished",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::ClientLeft => "client_left",
            Self::NoNode => "no_node",
            Self::RefusedLimit => "refused_limit",
            Self::RefusedAddress => "refused_address",
            Self::RefusedRate => "refused_rate",
            Self::RefusedService => "refused_service",
            Self::RefusedNodes => "refused_nodes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_arrays_are_those_of_the_enums() {
        assert!(Cause::ALL.iter().enumerate().all(|(place, cause)| *cause as usize == place));
        assert!(End::ALL.iter().enumerate().all(|(place, end)| *end as usize == place));
    }
}
