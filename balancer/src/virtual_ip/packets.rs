//! The frames that ask who has an address and say who has it: ARP (RFC 826, 5227) and neighbor
//! discovery (RFC 4861). It does not know sockets; the keeper (`mod.rs`) sends and judges them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The hardware address of an Ethernet interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    const BROADCAST: Self = Self([0xff; 6]);
    /// RFC 2464 §7: the group of all nodes, ff02::1.
    const ALL_NODES: Self = Self([0x33, 0x33, 0, 0, 0, 1]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What another machine says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It has it.
    Has(Mac),
    /// It is about to take it, and asks whether anybody has it.
    Wants(Mac),
}

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 4861 §4.4: the sender's answer goes over what a neighbor has noted.
const OVERRIDE: u8 = 0x20;
/// RFC 4861 §7.1: a packet with less has been through a router and is not believed.
const HOPS: u8 = 255;
const OPTION_TARGET_MAC: u8 = 2;

/// The Ethernet type under which frames about this address travel.
#[must_use]
pub fn ethertype(address: IpAddr) -> u16 {
    if address.is_ipv4() { ETHERTYPE_ARP } else { ETHERTYPE_IPV6 }
}

/// "Who has it? I do not yet": an ARP probe (RFC 5227 §2.1.1), or the solicitation of duplicate
/// address detection (RFC 4862 §5.4.2). Nobody notes its sender's address.
#[must_use]
pub fn probe(address: IpAddr, own: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let unknown = Mac([0; 6]);
            arp(own, ARP_REQUEST, Ipv4Addr::UNSPECIFIED, (unknown, address))
        }
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            let group = Mac([0x33, 0x33, 0xff, a, b, c]);
            let low = [0xff00 | u16::from(a), u16::from_be_bytes([b, c])];
            let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, low[0], low[1]);
            let mut message = vec![NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            message.extend(address.octets());
            icmpv6((own, Ipv6Addr::UNSPECIFIED), (group, to), message)
        }
    }
}

/// "It is mine now", to everybody. For IPv4 it is said in both forms, since some machines note
/// only one of them.
#[must_use]
pub fn announcements(address: IpAddr, own: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![
            // RFC 5227 §2.3.
            arp(own, ARP_REQUEST, address, (Mac([0; 6]), address)),
            // RFC 5944 §4.6.
            arp(own, ARP_REPLY, address, (Mac::BROADCAST, address)),
        ],
        IpAddr::V6(address) => {
            // RFC 4861 §7.2.6.
            let mut message = vec![NEIGHBOR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
            message.extend(address.octets());
            message.extend([OPTION_TARGET_MAC, 1]);
            message.extend(own.0);
            vec![icmpv6((own, address), (Mac::ALL_NODES, ALL_NODES), message)]
        }
    }
}

fn ethernet(from: Mac, to: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend(from.0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn arp(own: Mac, operation: u16, sender: Ipv4Addr, target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(own, Mac::BROADCAST, ETHERTYPE_ARP);
    // Ethernet, IPv4, and the lengths of their addresses.
    frame.extend([0, 1, 8, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(own.0);
    frame.extend(sender.octets());
    frame.extend(target.0.0);
    frame.extend(target.1.octets());
    frame
}

fn icmpv6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let sum = checksum(from.1, to.1, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet(from.0, to.0, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length);
    frame.extend([ICMPV6, HOPS]);
    frame.extend(from.1.octets());
    frame.extend(to.1.octets());
    frame.extend(message);
    frame
}

/// RFC 8200 §8.1, over the message with its own field zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let pairs = bytes.chunks(2);
        pairs.map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b))).sum()
    };
    let length = u32::try_from(message.len()).unwrap_or_default();
    let mut sum = words(&from.octets()) + words(&to.octets()) + length + u32::from(ICMPV6);
    sum += words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// What a frame from another machine says of `address`; `None` when it says nothing of it. `own`
/// are all of this machine: with two on one network the kernel may speak through either.
#[must_use]
pub fn claim(frame: &[u8], address: IpAddr, own: &[Mac]) -> Option<Claim> {
    let from = Mac(frame.get(6..12)?.try_into().ok()?);
    let ethertype = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let claim = match (address, ethertype) {
        (IpAddr::V4(address), ETHERTYPE_ARP) => arp_claim(frame.get(14..)?, address)?,
        (IpAddr::V6(address), ETHERTYPE_IPV6) => neighbor_claim(frame.get(14..)?, address, from)?,
        _ => return None,
    };
    let (Claim::Has(mac) | Claim::Wants(mac)) = claim;
    (!own.contains(&mac) && !own.contains(&from)).then_some(claim)
}

fn arp_claim(packet: &[u8], address: Ipv4Addr) -> Option<Claim> {
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac = Mac(packet.get(8..14)?.try_into().ok()?);
    let ip = |bytes: &[u8]| -> Option<Ipv4Addr> {
        let octets: [u8; 4] = bytes.try_into().ok()?;
        Some(octets.into())
    };
    let (sender, target) = (ip(packet.get(14..18)?)?, ip(packet.get(24..28)?)?);
    if sender == address {
        Some(Claim::Has(mac))
    } else if sender.is_unspecified() && target == address {
        Some(Claim::Wants(mac))
    } else {
        None
    }
}

fn neighbor_claim(packet: &[u8], address: Ipv6Addr, from: Mac) -> Option<Claim> {
    let (head, message) = (packet.get(..40)?, packet.get(40..)?);
    if (head[6], head[7]) != (ICMPV6, HOPS) || message.get(8..24)? != address.octets() {
        return None;
    }
    let sender = head.get(8..24)?;
    match message[0] {
        NEIGHBOR_ADVERTISEMENT => {
            let option = message.get(24..32).filter(|option| option[0] == OPTION_TARGET_MAC);
            let named = option.and_then(|option| option[2..].try_into().ok());
            Some(Claim::Has(named.map_or(from, Mac)))
        }
        NEIGHBOR_SOLICITATION if sender.iter().all(|byte| *byte == 0) => Some(Claim::Wants(from)),
        _ => None,
    }
}

/// One instruction of a socket's filter: code, jump if true, jump if false, operand (bpf(4)).
pub type Instruction = (u16, u8, u8, u32);

/// A filter that lets frames through which may be a [`claim`] on this address and spares us the
/// rest of the network's traffic.
#[must_use]
pub fn filter(address: IpAddr) -> Vec<Instruction> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let (take, leave) = ((RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0));
    match address {
        IpAddr::V4(address) => {
            let address = u32::from(address);
            vec![
                (LOAD_WORD, 0, 0, 28), // the sender
                (JUMP_EQUAL, 3, 0, address),
                (JUMP_EQUAL, 0, 3, 0),
                (LOAD_WORD, 0, 0, 38), // the target
                (JUMP_EQUAL, 0, 1, address),
                take,
                leave,
            ]
        }
        IpAddr::V6(address) => {
            let words = address.octets();
            let words = words
                .chunks(4)
                .map(|word| word.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)));
            let mut filter = vec![
                (LOAD_BYTE, 0, 0, 20), // what IPv6 carries
                (JUMP_EQUAL, 0, 12, u32::from(ICMPV6)),
                (LOAD_BYTE, 0, 0, 54), // the message's type
                (JUMP_EQUAL, 1, 0, u32::from(NEIGHBOR_ADVERTISEMENT)),
                (JUMP_EQUAL, 0, 9, u32::from(NEIGHBOR_SOLICITATION)),
            ];
            for (offset, word) in [62, 66, 70, 74].into_iter().zip(words) {
                let to_leave = 12 - u8::try_from(filter.len()).unwrap_or_default();
                filter.extend([(LOAD_WORD, 0, 0, offset), (JUMP_EQUAL, 0, to_leave, word)]);
            }
            filter.extend([take, leave]);
            filter
        }
    }
}
