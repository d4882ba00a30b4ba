//! Ports that nobody else takes while a test runs.
//! It does not know who will listen there; `cluster` and the test of `configs/local/up` ask.
//!
//! They lie below the range from which the kernel gives ports to outgoing connections: a dead
//! node's port can then neither be stolen by a client nor connect to itself. A UDP socket on the
//! same number keeps it claimed among all test processes, for as long as the [`Port`] lives.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// First and last of the numbers given out (Linux gives outgoing connections 32768 and above).
const FIRST: u16 = 10_240;
const LAST: u16 = 32_000;

/// A TCP port on 127.0.0.1, free when it was given and claimed until dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Claims one port.
    ///
    /// # Panics
    /// When all of them are taken.
    pub fn claim() -> Self {
        Self::claim_row(1).remove(0)
    }

    /// Claims `count` ports with numbers in a row, lowest first.
    ///
    /// # Panics
    /// When there is no such row left.
    pub fn claim_row(count: u16) -> Vec<Self> {
        let room = LAST - FIRST - count;
        let random = RandomState::new().hash_one(std::process::id());
        let start = u16::try_from(random % u64::from(room)).expect("less than a u16");
        for step in 0..room {
            let lowest = FIRST + (u32::from(start) + u32::from(step)) as u16 % room;
            let row: Vec<_> = (lowest..lowest + count).map_while(Self::claim_this).collect();
            if row.len() == usize::from(count) {
                return row;
            }
        }
        panic!("no {count} free ports in a row between {FIRST} and {LAST}")
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn claim_this(number: u16) -> Option<Self> {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        // Everybody's address: whoever listens on any address of this machine is in the way.
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).ok()?;
        Some(Self { number, _claim: claim })
    }
}
