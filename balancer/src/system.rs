//! System calls and their structures that no crate wraps safely: the one file with `unsafe`.
//! It does not know what they are used for; files that touch sockets call it.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockAddr, SockAddrStorage};

/// `AF_PACKET` in `<sys/socket.h>`.
const AF_PACKET: u16 = 17;
/// `sizeof(struct sockaddr_ll)`, packet(7).
const LINK_ADDRESS_BYTES: usize = 20;

/// The address to which a packet socket is bound: one protocol on one interface (packet(7)).
#[must_use]
#[allow(unsafe_code, reason = "no crate of ours builds a sockaddr_ll")]
pub fn link_address(interface: u32, protocol: u16) -> SockAddr {
    // struct sockaddr_ll: family, protocol (in network order), index, then zeros.
    let mut bytes = [0; LINK_ADDRESS_BYTES];
    bytes[0..2].copy_from_slice(&AF_PACKET.to_ne_bytes());
    bytes[2..4].copy_from_slice(&protocol.to_be_bytes());
    bytes[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the bytes are a whole sockaddr_ll, which is plain integers; the storage is larger
    // and aligned for every kind of address, and bytes need no alignment.
    unsafe { *storage.view_as::<[u8; LINK_ADDRESS_BYTES]>() = bytes };
    // SAFETY: family and length are those of the sockaddr_ll that was just written.
    unsafe { SockAddr::new(storage, LINK_ADDRESS_BYTES as u32) }
}

/// `TIOCOUTQ` in `<asm-generic/ioctls.h>`, called `SIOCOUTQ` for sockets (tcp(7)).
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// How many bytes of a TCP connection were sent and not yet acknowledged.
///
/// # Errors
/// What the system says.
#[allow(unsafe_code, reason = "rustix has no name for SIOCOUTQ")]
pub fn outgoing_bytes(descriptor: &OwnedFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ (= TIOCOUTQ) writes one int through its argument and touches nothing else;
    // a Getter of c_int gives it the address of one.
    let bytes = unsafe {
        let getter = rustix::ioctl::Getter::<{ SIOCOUTQ }, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(descriptor, getter)
    }?;
    usize::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_address_is_one() {
        let address = link_address(7, 0x0806);
        assert_eq!(address.family(), AF_PACKET);
        assert_eq!(address.len() as usize, LINK_ADDRESS_BYTES);
        assert!(address.as_socket().is_none());
    }
}
