//! Nodes that do wrong at a sign, clients that come every millisecond meanwhile, and the private
//! network they all live in: what `bench failover` is made of.
//!
//! It does not know who stands between clients and nodes. Called by `scenario::failover`.

pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod visits;

use clap::ValueEnum;

/// What befalls a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL: its kernel refuses connections from then on.
    Killed,
    /// SIGSTOP: its kernel goes on accepting, the process does nothing.
    Frozen,
    /// It greets three seconds late.
    Slow,
    /// It accepts and closes without a word.
    Closes,
    /// It greets with a refusal: 421, -ERR [SYS/TEMP], * BYE.
    Refuses,
    /// It accepts and says nothing.
    Silent,
    /// All packets to it and from it are dropped.
    Dropped,
    /// It resets all its sessions at once, and each later one at the client's second line.
    Resets,
    /// It was dead and starts.
    Returns,
}

impl Fault {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Killed,
        Self::Frozen,
        Self::Slow,
        Self::Closes,
        Self::Refuses,
        Self::Silent,
        Self::Dropped,
        Self::Resets,
        Self::Returns,
    ];

    /// The word for it, in figures and on the command line of a node.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Slow => "slow",
            Self::Closes => "closes",
            Self::Refuses => "refuses",
            Self::Silent => "silent",
            Self::Dropped => "dropped",
            Self::Resets => "resets",
            Self::Returns => "returns",
        }
    }

    /// The longest wait of a client that is aimed at, in milliseconds.
    pub(crate) fn goal_ms(self) -> u32 {
        match self {
            Self::Killed | Self::Closes | Self::Refuses | Self::Resets | Self::Returns => 25,
            Self::Frozen | Self::Slow | Self::Silent | Self::Dropped => 80,
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Voice {
    /// The node greets first.
    Smtp,
    /// The node greets first.
    Pop3,
    /// The node greets first.
    Imap,
    /// The client's hello comes first. Records have the right outside and nothing true inside.
    Tls,
}

impl Voice {
    /// The word for it, which is also our balancer's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Imap => "imap",
            Self::Tls => "tls",
        }
    }

    /// What the client says before anything else.
    pub(crate) fn hello(self) -> &'static [u8] {
        match self {
            Self::Tls => HELLO,
            Self::Smtp | Self::Pop3 | Self::Imap => b"",
        }
    }

    /// The node's first words.
    pub(crate) fn greeting(self) -> &'static [u8] {
        match self {
            Self::Smtp => b"220 node.bench.test ESMTP\r\n",
            Self::Pop3 => b"+OK node.bench.test ready\r\n",
            Self::Imap => b"* OK node.bench.test ready\r\n",
            Self::Tls => b"\x16\x03\x03\x00\x08\x02\x00\x00\x04node",
        }
    }

    /// The first words of a node that will not serve.
    pub(crate) fn refusal(self) -> &'static [u8] {
        match self {
            Self::Smtp => b"421 4.3.2 node.bench.test is shutting down\r\n",
            Self::Pop3 => b"-ERR [SYS/TEMP] node.bench.test is shutting down\r\n",
            Self::Imap => b"* BYE [UNAVAILABLE] node.bench.test is shutting down\r\n",
            // A fatal alert: internal_error.
            Self::Tls => b"\x15\x03\x03\x00\x02\x02\x50",
        }
    }

    /// A client's line in the middle of a session; it ends with LF.
    pub(crate) fn line(self) -> &'static [u8] {
        match self {
            Self::Smtp | Self::Pop3 => b"NOOP\r\n",
            Self::Imap => b"a NOOP\r\n",
            Self::Tls => b"\x17\x03\x03\x00\x04sec\n",
        }
    }

    /// The node's answer to it.
    pub(crate) fn answer(self) -> &'static [u8] {
        match self {
            Self::Smtp => b"250 ok\r\n",
            Self::Pop3 => b"+OK\r\n",
            Self::Imap => b"a OK done\r\n",
            Self::Tls => b"\x17\x03\x03\x00\x04ret\n",
        }
    }
}

/// A record of a handshake, as a balancer sees one; it ends with LF, as all lines here.
const HELLO: &[u8] = b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03\
    0123456789012345678901234567890123456789\n";
