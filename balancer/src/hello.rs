//! What a visit says first where clients speak TLS: a hello that any server of today answers.
//! It does not know TLS beyond that (nobody shakes hands to the end), or sockets. `interview` says
//! it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

/// "I close" (RFC 8446 §6.1), said in place of the rest of the handshake.
pub(crate) const CLOSE_NOTIFY: &[u8] = &[21, 3, 3, 0, 2, 1, 0];

/// TLS 1.3's, then those of 1.2 with and without forward secrecy (RFC 8446 §B.4, RFC 5289).
const SUITES: [u16; 15] = [
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
    0x009d, 0x002f, 0x0035,
];
/// X25519, P-256, P-384 (RFC 8446 §4.2.7).
const GROUPS: [u16; 3] = [29, 23, 24];
/// ECDSA, RSA-PSS and RSA with SHA-256, -384, -512, and Ed25519 (RFC 8446 §4.2.3).
const SIGNATURES: [u16; 10] =
    [0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0807];

/// A record with a client's hello for TLS 1.2 and 1.3 (RFC 8446 §4.1.2, §5.1).
pub(crate) fn client_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend(dice());
    hello.extend(with_length::<1>(&dice()));
    hello.extend(with_length::<2>(&numbers(&SUITES)));
    // No compression.
    hello.extend([1, 0]);
    hello.extend(with_length::<2>(&extensions()));
    let message = [&[1][..], &with_length::<3>(&hello)].concat();
    [&[22, 3, 1][..], &with_length::<2>(&message)].concat()
}

fn extensions() -> Vec<u8> {
    // Any 32 octets are a key of X25519: nobody will use what comes of it.
    let key = [&numbers(&GROUPS[..1])[..], &with_length::<2>(&dice())].concat();
    let all: [(u16, Vec<u8>); 8] = [
        (10, with_length::<2>(&numbers(&GROUPS))),
        // Points are not compressed (RFC 8422 §5.1.2).
        (11, with_length::<1>(&[0])),
        (13, with_length::<2>(&numbers(&SIGNATURES))),
        // Extended master secret (RFC 7627), and no renegotiation (RFC 5746).
        (23, Vec::new()),
        (0xff01, vec![0]),
        (43, with_length::<1>(&numbers(&[0x0304, 0x0303]))),
        (45, with_length::<1>(&[1])),
        (51, with_length::<2>(&key)),
    ];
    let written = all.map(|(kind, body)| [numbers(&[kind]), with_length::<2>(&body)].concat());
    written.concat()
}

fn numbers(all: &[u16]) -> Vec<u8> {
    all.iter().flat_map(|one| one.to_be_bytes()).collect()
}

/// A body after its length in so many octets.
fn with_length<const OCTETS: usize>(body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    [&length[length.len() - OCTETS..], body].concat()
}

/// Octets that nobody can foretell; no secret stands behind them.
fn dice() -> [u8; 32] {
    let state = RandomState::new();
    let mut all = [0; 32];
    for (number, piece) in all.chunks_mut(8).enumerate() {
        piece.copy_from_slice(&state.hash_one(number).to_be_bytes());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::Flight;

    #[test]
    fn a_hello_is_one_whole_record() {
        let hello = client_hello();
        let whole = Flight { said: hello.clone(), ..Flight::default() };
        let cut = Flight { said: hello[..hello.len() - 1].to_vec(), ..Flight::default() };
        assert!(whole.is_due() && !cut.is_due());
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_ne!(hello, client_hello(), "each has its own octets");
    }
}
