//! The header of the PROXY protocol, version 2, as a load balancer sends it.
//! It does not know our own encoder, on purpose; tests that talk to a node directly send it.

use std::net::Ipv4Addr;

/// The twelve bytes every header of version 2 begins with.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header that says: the client is `client` on IPv4 TCP.
pub fn v2(client: Ipv4Addr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[0x21, 0x11, 0, 12]);
    header.extend_from_slice(&client.octets());
    header.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
    header.extend_from_slice(&40_000_u16.to_be_bytes());
    header.extend_from_slice(&25_u16.to_be_bytes());
    header
}
