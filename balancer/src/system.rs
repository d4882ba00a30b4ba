//! System calls and their structures that no crate wraps safely: the one file with `unsafe`.
//! It does not know what they are used for; files that touch sockets call it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

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

/// Octets that a socket has sent and its peer has not acknowledged (tcp(7), `SIOCOUTQ`).
///
/// # Errors
/// It is no TCP socket.
#[allow(unsafe_code, reason = "rustix has no name for this call")]
pub fn outgoing_bytes(socket: &impl AsFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ (= TIOCOUTQ) writes one int through its argument and touches nothing else;
    // a Getter of c_int gives it the address of one.
    let bytes = unsafe {
        let getter = rustix::ioctl::Getter::<{ SIOCOUTQ }, std::ffi::c_int>::new();
        rustix::ioctl::ioctl(socket, getter)
    }?;
    usize::try_from(bytes).map_err(io::Error::other)
}

/// A bind to port 0 that follows chooses the address alone (ip(7), `IP_BIND_ADDRESS_NO_PORT`):
/// the connect chooses the port, which need be free for its destination only.
///
/// # Errors
/// What the system says.
#[allow(unsafe_code, reason = "neither rustix nor socket2 has this option")]
pub fn choose_port_late(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads `size` bytes from
    // the address of `on`, which is that large and lives until the call has returned.
    let result = unsafe {
        let option = libc::IP_BIND_ADDRESS_NO_PORT;
        libc::setsockopt(descriptor, libc::SOL_IP, option, (&raw const on).cast(), size)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a TCP socket is as it was before its first connection (tcp(7), `TCP_INFO`): its end was
/// acknowledged, nothing of it is on its way any more.
///
/// # Errors
/// It is no TCP socket.
#[allow(unsafe_code, reason = "neither rustix nor socket2 has this option")]
pub fn is_at_rest(socket: &impl AsFd) -> io::Result<bool> {
    /// `TCP_CLOSE` in `<netinet/tcp.h>`.
    const CLOSED: u8 = 7;
    let mut state = 0_u8;
    let mut size = 1;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `size`
    // bytes, which is one, to the address of `state`: the first of struct tcp_info, tcpi_state.
    let result = unsafe {
        let option = libc::TCP_INFO;
        let into = (&raw mut state).cast();
        libc::getsockopt(descriptor, libc::IPPROTO_TCP, option, into, &raw mut size)
    };
    if result == 0 { Ok(state == CLOSED) } else { Err(io::Error::last_os_error()) }
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
