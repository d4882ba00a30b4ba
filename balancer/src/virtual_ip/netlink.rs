//! What is said to the kernel about interfaces and addresses, and what it answers (rtnetlink(7)).
//! It does not know sockets; `wire` carries these messages, in the byte order of this machine.

use std::net::{IpAddr, Ipv4Addr};

use super::packets::Mac;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const ALL: u16 = 0x300;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
/// The kernel need not look for duplicates: the keeper has, and faster.
const IFA_F_NODAD: u8 = 2;
const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;

/// The head of a message, struct nlmsghdr.
const HEAD: usize = 16;
/// The length of struct ifinfomsg.
const LINK_HEAD: usize = 16;
/// The length of struct ifaddrmsg.
const ADDRESS_HEAD: usize = 8;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, where it speaks Ethernet and resolves addresses.
    pub mac: Option<Mac>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether there is a cable, and somebody at its other end.
    pub running: bool,
}

/// An address that an interface has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The number of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits name its network.
    pub prefix: u8,
}

/// One message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The last one of several, or "it is done".
    End,
    /// It is not done: the number of the error.
    Refused(i32),
    /// An interface.
    Link(Link),
    /// An address.
    Address(Assigned),
    /// Something else.
    Other,
}

/// Asks for an interface by its name.
#[must_use]
pub fn get_link(name: &str) -> Vec<u8> {
    let mut body = vec![0; LINK_HEAD];
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    attribute(&mut body, IFLA_IFNAME, &text);
    attribute(&mut body, IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
    message(RTM_GETLINK, REQUEST | ACKNOWLEDGE, &body)
}

/// Asks for all interfaces.
#[must_use]
pub fn get_links() -> Vec<u8> {
    let mut body = vec![0; LINK_HEAD];
    attribute(&mut body, IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes());
    message(RTM_GETLINK, REQUEST | ALL, &body)
}

/// Asks for all addresses of a family, on all interfaces.
#[must_use]
pub fn get_addresses(of: IpAddr) -> Vec<u8> {
    let mut body = vec![0; ADDRESS_HEAD];
    body[0] = family(of);
    message(RTM_GETADDR, REQUEST | ALL, &body)
}

/// Puts an address on an interface.
#[must_use]
pub fn put(wanted: Assigned) -> Vec<u8> {
    let mut body = address_body(wanted);
    match wanted.address {
        IpAddr::V4(address) if wanted.prefix < 31 => {
            let hosts = u32::MAX.checked_shr(wanted.prefix.into()).unwrap_or_default();
            let broadcast = Ipv4Addr::from(u32::from(address) | hosts);
            attribute(&mut body, IFA_BROADCAST, &broadcast.octets());
        }
        IpAddr::V4(_) => {}
        IpAddr::V6(_) => {
            body[2] = IFA_F_NODAD;
            // Valid for ever, preferred never: what we begin ourselves, such as connections to
            // nodes, comes from the machine's own address (RFC 6724 §5, rule 3). IPv4 keeps the
            // second address of a network out of that by itself.
            let mut lifetimes = [0; 16];
            lifetimes[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
            attribute(&mut body, IFA_CACHEINFO, &lifetimes);
        }
    }
    message(RTM_NEWADDR, REQUEST | ACKNOWLEDGE | CREATE | REPLACE, &body)
}

/// Takes an address off an interface.
#[must_use]
pub fn take_off(assigned: Assigned) -> Vec<u8> {
    message(RTM_DELADDR, REQUEST | ACKNOWLEDGE, &address_body(assigned))
}

fn address_body(assigned: Assigned) -> Vec<u8> {
    let mut body = vec![family(assigned.address), assigned.prefix, 0, 0];
    body.extend(assigned.interface.to_ne_bytes());
    let octets = match assigned.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    attribute(&mut body, IFA_LOCAL, &octets);
    attribute(&mut body, IFA_ADDRESS, &octets);
    body
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Number and port: one question at a time is asked of the kernel on one socket.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The messages in what came in one read; what is cut off is left out.
pub fn answers(bytes: &[u8]) -> impl Iterator<Item = Answer> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let body = rest.get(HEAD..length)?;
        let kind = u16_at(rest, 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(answer(kind, body).unwrap_or(Answer::Other))
    })
}

fn answer(kind: u16, body: &[u8]) -> Option<Answer> {
    Some(match kind {
        NLMSG_DONE => Answer::End,
        NLMSG_ERROR => match i32::from_ne_bytes(body.get(..4)?.try_into().ok()?) {
            0 => Answer::End,
            number => Answer::Refused(number.saturating_neg()),
        },
        RTM_NEWLINK => Answer::Link(link(body)?),
        RTM_NEWADDR => Answer::Address(assigned(body)?),
        _ => Answer::Other,
    })
}

fn link(body: &[u8]) -> Option<Link> {
    let (kind, index, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    let resolves = kind == ARPHRD_ETHER && flags & IFF_NOARP == 0;
    let (mut name, mut mac) = (String::new(), None);
    for (kind, value) in attributes(body.get(LINK_HEAD..)?) {
        match kind {
            IFLA_IFNAME => {
                let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
                name = String::from_utf8_lossy(text).into_owned();
            }
            IFLA_ADDRESS if resolves => mac = value.try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some(Link { index, name, mac, up: flags & IFF_UP != 0, running: flags & IFF_RUNNING != 0 })
}

fn assigned(body: &[u8]) -> Option<Assigned> {
    let (prefix, interface) = (*body.get(1)?, u32_at(body, 4)?);
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_HEAD..)?) {
        match kind {
            // On a line between two, IFA_ADDRESS is the other end's.
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            _ => {}
        }
    }
    Some(Assigned { interface, address: local.or(other)?, prefix })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let (kind, value) = (u16_at(rest, 2)?, rest.get(4..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
