//! Does the PROXY header we write come back, and is nothing else taken for one?
//! It knows no sockets; the test runner calls it. The `proxy-header` crate is the second opinion.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxyHeader};
use shared::proxy_header::{
    Parsed, Source, V2_BYTES_MAX, encode_v1, encode_v2, encode_v2_local, parse,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn assert_invalid(bytes: &[u8]) {
    let parsed = parse(bytes);
    assert!(matches!(parsed, Parsed::Invalid(_)), "{parsed:?} of {}", bytes.escape_ascii());
}

/// A whole header is read whole, each cut of it asks for more, and what follows is left alone.
fn assert_reads(header: &[u8], source: Source) {
    let complete = Parsed::Complete { source, length: header.len() };
    assert_eq!(parse(header), complete, "{}", header.escape_ascii());
    for cut in 0..header.len() {
        assert_eq!(parse(&header[..cut]), Parsed::NeedMore, "{}", header[..cut].escape_ascii());
    }
    let mut followed = header.to_vec();
    followed.extend(b"EHLO a\r\n");
    assert_eq!(parse(&followed), complete);
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short");
    [SIGNATURE, &[command, family], &length.to_be_bytes(), body].concat()
}

const PAIR_4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 0x04, 0, 25];

fn source_4() -> Source {
    Source::Proxied { client: address("192.0.2.7:56324"), server: address("198.51.100.1:25") }
}

#[test]
fn version_1_is_read() {
    assert_reads(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n", source_4());
    let client = address("[2001:db8::7]:1");
    let server = address("[2001:db8::1]:65535");
    assert_reads(
        b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n",
        Source::Proxied { client, server },
    );
    assert_reads(b"PROXY UNKNOWN\r\n", Source::Local);
    assert_reads(b"PROXY UNKNOWN whatever 1 2 3\r\n", Source::Local);
}

#[test]
fn version_1_is_strict() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r ",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 01\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 +1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 25 26\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 25\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 25\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 56324 25\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 56324 25\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 56324 25\r\n",
        "PROXY \r\n",
        "PROXX TCP4",
        "proxy TCP4",
        "EHLO a\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 5\u{e9} 25\r\n",
    ] {
        assert_invalid(line.as_bytes());
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..106]), Parsed::NeedMore);
    assert_invalid(&endless[..107]);
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat();
    assert_reads(&longest, Source::Local);
    let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat();
    assert_invalid(&too_long);
}

#[test]
fn version_2_is_read() {
    assert_reads(&v2(0x21, 0x11, &PAIR_4), source_4());
    assert_reads(&v2(0x20, 0x00, b""), Source::Local);
    assert_reads(&v2(0x20, 0x11, &PAIR_4), Source::Local);
    assert_reads(&v2(0x21, 0x00, b"anything"), Source::Local);
    // A type-length-value that we do not use, and an empty one.
    let extras = [PAIR_4.as_slice(), &[0x02, 0, 3, b'a', b'.', b'b', 0x04, 0, 0]].concat();
    assert_reads(&v2(0x21, 0x11, &extras), source_4());
    let longest = [PAIR_4.as_slice(), &[0x04, 0x01, 0xF9], &[0; 505]].concat();
    assert_eq!(v2(0x21, 0x11, &longest).len(), V2_BYTES_MAX);
    assert_reads(&v2(0x21, 0x11, &longest), source_4());
}

#[test]
fn version_2_is_strict() {
    for (command, family, body) in [
        (0x11, 0x11, PAIR_4.as_slice()),
        (0x22, 0x11, &PAIR_4),
        (0x21, 0x12, &PAIR_4),
        (0x21, 0x31, &[0; 216]),
        (0x21, 0x11, &PAIR_4[..11]),
        (0x21, 0x21, &[0; 35]),
        (0x21, 0x11, &[0; 521]),
        (0x21, 0x11, &[PAIR_4.as_slice(), &[0x04]].concat()),
        (0x21, 0x11, &[PAIR_4.as_slice(), &[0x04, 0, 5, 1]].concat()),
        (0x21, 0x11, &[PAIR_4.as_slice(), &[0x03, 0, 4, 1, 2, 3, 4]].concat()),
        (0x21, 0x11, &[PAIR_4.as_slice(), &[0x03, 0, 1, 1]].concat()),
    ] {
        assert_invalid(&v2(command, family, body));
    }
    // An endless header is refused when its length shows, not when it has arrived.
    assert_invalid(&[SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat());
}

#[test]
fn a_right_checksum_is_taken() {
    // CRC32C of the whole header with the four bytes blank, computed another way.
    let body = [PAIR_4.as_slice(), &[0x03, 0, 4, 0, 0, 0, 0]].concat();
    let mut header = v2(0x21, 0x11, &body);
    let sum = reference_crc32c(&header);
    let start = header.len() - 4;
    header[start..].copy_from_slice(&sum.to_be_bytes());
    assert_reads(&header, source_4());
    assert_eq!(reference_crc32c(b"123456789"), 0xE306_9283, "the known check value");
}

fn reference_crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256)
        .map(|index| {
            let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82F6_3B78 } else { sum >> 1 };
            (0..8).fold(index, step)
        })
        .collect();
    let step = |sum: u32, byte: &u8| table[((sum ^ u32::from(*byte)) & 0xFF) as usize] ^ (sum >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn what_is_written_is_exact() {
    let client = address("192.0.2.7:56324");
    let server = address("198.51.100.1:25");
    assert_eq!(encode_v1(client, server), b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n");
    assert_eq!(encode_v2(client, server), v2(0x21, 0x11, &PAIR_4));
    assert_eq!(encode_v2_local(), v2(0x20, 0x00, b""));
    // Two families become one.
    let mixed = encode_v1(client, address("[2001:db8::1]:25"));
    assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 56324 25\r\n");
    assert_eq!(encode_v1(address("[::ffff:192.0.2.7]:56324"), server), encode_v1(client, server));
}

prop_compose! {
    fn pair()(
        v4: bool, a: u32, b: u32, c: u128, d: u128, from: u16, to: u16,
    ) -> (SocketAddr, SocketAddr) {
        let v6 = |bits: u128| Ipv6Addr::from_bits(bits | 1 << 127);
        if v4 {
            ((Ipv4Addr::from(a), from).into(), (Ipv4Addr::from(b), to).into())
        } else {
            ((v6(c), from).into(), (v6(d), to).into())
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((client, server) in pair()) {
        let source = Source::Proxied { client, server };
        for header in [encode_v1(client, server), encode_v2(client, server)] {
            assert_reads(&header, source);
            let (theirs, length) = ProxyHeader::parse(&header, ParseConfig::default())
                .expect("another parser takes it too");
            let theirs = theirs.proxied_address().expect("it has an address");
            prop_assert_eq!((theirs.source, theirs.destination), (client, server));
            prop_assert_eq!(length, header.len());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE]),
        rest in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [start, rest.as_slice()].concat();
        match parse(&bytes) {
            Parsed::Complete { length, .. } => prop_assert!(length <= bytes.len()),
            Parsed::NeedMore => prop_assert!(bytes.len() < V2_BYTES_MAX),
            Parsed::Invalid(_) => {}
        }
    }

    /// Whatever we take, the other parser takes, with the same addresses.
    #[test]
    fn we_are_never_laxer(
        mut header in pair().prop_flat_map(|(client, server)| {
            prop_oneof![Just(encode_v1(client, server)), Just(encode_v2(client, server))]
        }),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let at = at.index(header.len());
        header[at] = byte;
        let parsed = parse(&header);
        if let Parsed::Complete { source: Source::Proxied { client, server }, .. } = parsed {
            let theirs = ProxyHeader::parse(&header, ParseConfig::default());
            let (theirs, _) = theirs.expect("they take what we take");
            let theirs = theirs.proxied_address().expect("it has an address");
            prop_assert_eq!((theirs.source, theirs.destination), (client, server));
        }
    }
}
