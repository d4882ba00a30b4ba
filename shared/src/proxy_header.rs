//! The PROXY protocol, versions 1 and 2: who the client is, told before its first byte. Pure.
//! It does not know sockets or who may be trusted to send one; `balancer` writes, `mailnode` reads.
//!
//! The text followed is the "PROXY protocol" specification of HAProxy, sections 2.1 and 2.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest version 1 header, CRLF included (section 2.1).
pub const V1_BYTES_MAX: usize = 107;
/// The longest version 2 header we take: it fits into the smallest TCP segment (section 2.2).
pub const V2_BYTES_MAX: usize = 536;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
const V1_START: &[u8] = b"PROXY ";
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;
const TLV_CRC32C: u8 = 0x03;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client, as the proxy saw it.
    Proxied {
        /// The client's own address.
        client: SocketAddr,
        /// The address it connected to.
        server: SocketAddr,
    },
    /// The proxy itself (a health check), or a client it cannot name.
    Local,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header; the client's own bytes begin after `length`.
    Complete {
        /// Who is at the other end.
        source: Source,
        /// Bytes of the header.
        length: usize,
    },
    /// So far this can become a header. It never asks for more than [`V2_BYTES_MAX`] bytes.
    NeedMore,
    /// This is not a header, for this reason: hang up.
    Invalid(&'static str),
}

/// Reads a header of either version from the first bytes of a connection.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins_like(bytes, &SIGNATURE) {
        parse_v2(bytes)
    } else if begins_like(bytes, V1_START) {
        parse_v1(bytes)
    } else {
        Parsed::Invalid("not a PROXY header")
    }
}

/// Whether as much of `start` as there is stands at the beginning.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        let full = window.len() == V1_BYTES_MAX;
        return if full { Parsed::Invalid("longer than 107 bytes") } else { Parsed::NeedMore };
    };
    match (window[end], window.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if window.len() < V1_BYTES_MAX => return Parsed::NeedMore,
        _ => return Parsed::Invalid("the line does not end with CRLF"),
    }
    let line = std::str::from_utf8(&window[..end]).unwrap_or_default();
    let length = end + 2;
    match v1_source(line) {
        Ok(source) => Parsed::Complete { source, length },
        Err(reason) => Parsed::Invalid(reason),
    }
}

/// `PROXY TCP4 192.0.2.7 198.51.100.1 56324 25`: single spaces, nothing more.
fn v1_source(line: &str) -> Result<Source, &'static str> {
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Section 2.1: whatever follows is ignored.
        return Ok(Source::Local);
    }
    let mut next = || words.next().ok_or("fewer than six words");
    let (client, server) = (next()?, next()?);
    let (client_port, server_port) = (v1_port(next()?)?, v1_port(next()?)?);
    if words.next().is_some() {
        return Err("more than six words");
    }
    let (client, server) = match family {
        "TCP4" => (v1_address::<Ipv4Addr>(client)?, v1_address::<Ipv4Addr>(server)?),
        "TCP6" => (v1_address::<Ipv6Addr>(client)?, v1_address::<Ipv6Addr>(server)?),
        _ => return Err("the family is none of TCP4, TCP6, UNKNOWN"),
    };
    let client = SocketAddr::new(client, client_port);
    Ok(Source::Proxied { client, server: SocketAddr::new(server, server_port) })
}

fn v1_address<A: std::str::FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, &'static str> {
    word.parse::<A>().map(Into::into).map_err(|_| "not an address of its family")
}

/// Section 2.1: a decimal number without leading zeroes.
fn v1_port(word: &str) -> Result<u16, &'static str> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let padded = word.len() > 1 && word.starts_with('0');
    let port = word.parse().ok().filter(|_| plain && !padded);
    port.ok_or("not a port")
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    // What cannot become a header is refused as early as it shows.
    if bytes.get(12).is_some_and(|byte| !matches!(*byte, VERSION_2_LOCAL | VERSION_2_PROXY)) {
        return Parsed::Invalid("neither LOCAL nor PROXY of version 2");
    }
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED) else { return Parsed::NeedMore };
    let body_length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let length = V2_FIXED + body_length;
    if length > V2_BYTES_MAX {
        return Parsed::Invalid("longer than 536 bytes");
    }
    let Some(body) = rest.get(..body_length) else { return Parsed::NeedMore };
    match v2_source(fixed[12], fixed[13], body).and_then(|(source, extras)| {
        check_extras(&bytes[..length], extras)?;
        Ok(source)
    }) {
        Ok(source) => Parsed::Complete { source, length },
        Err(reason) => Parsed::Invalid(reason),
    }
}

/// The addresses, and the type-length-values behind them.
fn v2_source(command: u8, family: u8, body: &[u8]) -> Result<(Source, &[u8]), &'static str> {
    if command == VERSION_2_LOCAL {
        // Section 2.2: the receiver discards the address block of LOCAL, whatever it is.
        return Ok((Source::Local, &[]));
    }
    match family {
        UNSPECIFIED => Ok((Source::Local, &[])),
        TCP_4 => {
            let (block, extras) = body.split_first_chunk::<12>().ok_or("too short for TCP4")?;
            let ip = |at: usize| <[u8; 4]>::try_from(&block[at..at + 4]).map(Ipv4Addr::from);
            v2_pair(ip(0).ok(), ip(4).ok(), &block[8..]).map(|source| (source, extras))
        }
        TCP_6 => {
            let (block, extras) = body.split_first_chunk::<36>().ok_or("too short for TCP6")?;
            let ip = |at: usize| <[u8; 16]>::try_from(&block[at..at + 16]).map(Ipv6Addr::from);
            v2_pair(ip(0).ok(), ip(16).ok(), &block[32..]).map(|source| (source, extras))
        }
        _ => Err("neither TCP over IPv4 nor over IPv6"),
    }
}

fn v2_pair<A: Into<IpAddr>>(
    client: Option<A>,
    server: Option<A>,
    ports: &[u8],
) -> Result<Source, &'static str> {
    let (Some(client), Some(server), &[a, b, c, d]) = (client, server, ports) else {
        return Err("a cut address block");
    };
    let client = SocketAddr::new(client.into(), u16::from_be_bytes([a, b]));
    let server = SocketAddr::new(server.into(), u16::from_be_bytes([c, d]));
    Ok(Source::Proxied { client, server })
}

/// Walks over the type-length-values (section 2.2.1 and on): each has to end within the header,
/// and a checksum has to be right where there is one (section 2.2.3). None is used.
fn check_extras(header: &[u8], extras: &[u8]) -> Result<(), &'static str> {
    let mut rest = extras;
    while !rest.is_empty() {
        let [kind, high, low, value @ ..] = rest else { return Err("a cut type-length-value") };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, after)) = value.split_at_checked(length) else {
            return Err("a type-length-value reaches beyond the header");
        };
        if *kind == TLV_CRC32C {
            let sum: [u8; 4] = value.try_into().map_err(|_| "a checksum is four bytes")?;
            let start = header.len() - after.len() - 4;
            let mut blank = header.to_vec();
            blank[start..start + 4].fill(0);
            if crc32c(&blank) != u32::from_be_bytes(sum) {
                return Err("the checksum is wrong");
            }
        }
        rest = after;
    }
    Ok(())
}

/// RFC 4960 appendix B; a header is short, so bit by bit will do.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// A version 1 header.
#[must_use]
pub fn encode_v1(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (family, client, server) = match one_family(client, server) {
        (client @ SocketAddr::V4(_), server) => ("TCP4", client, server),
        (client, server) => ("TCP6", client, server),
    };
    let (client_port, server_port) = (client.port(), server.port());
    let (client, server) = (client.ip(), server.ip());
    format!("PROXY {family} {client} {server} {client_port} {server_port}\r\n").into_bytes()
}

/// A version 2 header without extras.
#[must_use]
pub fn encode_v2(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (client, server) = one_family(client, server);
    let mut block = Vec::with_capacity(36);
    let mut family = TCP_4;
    for ip in [client.ip(), server.ip()] {
        match ip {
            IpAddr::V4(ip) => block.extend(ip.octets()),
            IpAddr::V6(ip) => {
                family = TCP_6;
                block.extend(ip.octets());
            }
        }
    }
    block.extend(client.port().to_be_bytes());
    block.extend(server.port().to_be_bytes());
    v2(VERSION_2_PROXY, family, &block)
}

/// A version 2 header that says: this is the proxy itself, looking whether you live.
#[must_use]
pub fn encode_v2_local() -> Vec<u8> {
    v2(VERSION_2_LOCAL, UNSPECIFIED, &[])
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap_or_default();
    let mut header = Vec::with_capacity(V2_FIXED + block.len());
    header.extend(SIGNATURE);
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(block);
    header
}

/// A header has one family: where the two differ, the IPv4 one is written as IPv6.
fn one_family(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    match (canonical(client), canonical(server)) {
        ((IpAddr::V4(client), from), (IpAddr::V6(server), to)) => {
            ((client.to_ipv6_mapped(), from).into(), (server, to).into())
        }
        ((IpAddr::V6(client), from), (IpAddr::V4(server), to)) => {
            ((client, from).into(), (server.to_ipv6_mapped(), to).into())
        }
        (client, server) => (client.into(), server.into()),
    }
}
