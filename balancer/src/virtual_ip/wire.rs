//! The sockets of the virtual address: questions to the kernel, and frames on an interface.
//! It does not know why anything is asked or sent; the keeper (`mod.rs`) calls it.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::time::Duration;

use socket2::{Domain, SockFilter, Socket, Type};
use tokio::net::UdpSocket;

use super::netlink::{self, Answer, Assigned, Link};
use super::packets;
use crate::system::link_address;

/// `AF_NETLINK` in `<sys/socket.h>`; its protocol 0 is `NETLINK_ROUTE`.
const AF_NETLINK: i32 = 16;
/// The kernel answers at once, but for a lock that somebody else may hold.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The kernel never sends more in one piece (netlink(7)).
const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// Longer than any frame that is looked for.
pub const FRAME_BYTES: usize = 128;

/// A line to the kernel's tables of interfaces and addresses.
#[derive(Debug)]
pub struct Kernel(Socket);

impl Kernel {
    /// Opens it; everybody may.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, None)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(socket))
    }

    /// The interface of this name; `None` when there is none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn link(&self, name: &str) -> io::Result<Option<Link>> {
        const ENODEV: i32 = 19;
        match self.ask(&netlink::get_link(name)) {
            Err(error) if error.raw_os_error() == Some(ENODEV) => Ok(None),
            answers => Ok(links(answers?).next()),
        }
    }

    /// All interfaces.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn links(&self) -> io::Result<Vec<Link>> {
        Ok(links(self.ask(&netlink::get_links())?).collect())
    }

    /// Where an address stands, if it stands anywhere on this machine.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, address: IpAddr) -> io::Result<Option<Assigned>> {
        let answers = self.ask(&netlink::get_addresses(address))?;
        let mut all = answers.into_iter().filter_map(|answer| match answer {
            Answer::Address(assigned) => Some(assigned),
            _ => None,
        });
        Ok(all.find(|assigned| assigned.address == address))
    }

    /// Puts an address on an interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn put(&self, wanted: Assigned) -> io::Result<()> {
        self.ask(&netlink::put(wanted)).map(drop)
    }

    /// Takes an address off an interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_off(&self, assigned: Assigned) -> io::Result<()> {
        self.ask(&netlink::take_off(assigned)).map(drop)
    }

    fn ask(&self, message: &[u8]) -> io::Result<Vec<Answer>> {
        self.0.send(message)?;
        let (mut answers, mut bytes) = (Vec::new(), vec![0; ANSWER_BYTES_MAX]);
        loop {
            let length = (&self.0).read(&mut bytes)?;
            for answer in netlink::answers(&bytes[..length]) {
                match answer {
                    Answer::End => return Ok(answers),
                    Answer::Refused(number) => return Err(io::Error::from_raw_os_error(number)),
                    answer => answers.push(answer),
                }
            }
        }
    }
}

fn links(answers: Vec<Answer>) -> impl Iterator<Item = Link> {
    answers.into_iter().filter_map(|answer| match answer {
        Answer::Link(link) => Some(link),
        _ => None,
    })
}

/// The network at an interface, as far as frames about one address go. Tokio has no packet socket;
/// its UDP socket asks of a descriptor only that it sends and receives datagrams.
#[derive(Debug)]
pub struct Segment(UdpSocket);

impl Segment {
    /// Listens and may send; has to be called inside a runtime.
    ///
    /// # Errors
    /// What the system says: without CAP_NET_RAW that it is not permitted.
    pub fn open(interface: u32, address: IpAddr) -> io::Result<Self> {
        // Bound to protocol 0 it hears nothing until the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        let filter: Vec<_> = packets::filter(address)
            .into_iter()
            .map(|(code, yes, no, operand)| SockFilter::new(code, yes, no, operand))
            .collect();
        socket.attach_filter(&filter)?;
        socket.bind(&link_address(interface, packets::ethertype(address)))?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// What the system says: that the interface is down, most often.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).await.map(drop)
    }

    /// The next frame that passes the filter, as much of it as fits.
    ///
    /// # Errors
    /// What the system says: that the interface is down, most often.
    pub async fn receive(&self, bytes: &mut [u8; FRAME_BYTES]) -> io::Result<usize> {
        self.0.recv(bytes).await
    }
}
