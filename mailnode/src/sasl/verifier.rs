//! What a server keeps to check a SCRAM proof (RFC 5802 §3): nothing that lets anybody log in.
//! It does not know where it is kept; `password` makes it, `auth` finds it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};

use crate::mail::Secret;

/// Octets of a SHA-256 sum.
pub(super) const SUM: usize = 32;
/// Rounds of PBKDF2 for passwords set here. RFC 7677 §4 asks for 4,096 at least; each doubles what
/// a thief of the database pays for a guess, and what the client pays for a login.
const ROUNDS: u32 = 25_000;
const SALT_OCTETS: usize = 16;
/// A client would go round for minutes.
const ROUNDS_MAX: u32 = 10_000_000;

/// Salt, rounds and two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) rounds: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; SUM],
    pub(super) server_key: [u8; SUM],
}

impl Verifier {
    /// Makes one with a new salt; `None`: this machine has no random numbers.
    pub fn make(password: &Secret) -> Option<Self> {
        let mut salt = [0; SALT_OCTETS];
        rustix::rand::getrandom(&mut salt[..], rustix::rand::GetRandomFlags::empty()).ok()?;
        Some(Self::with(password, &salt, ROUNDS))
    }

    /// Makes one with this salt.
    pub fn with(password: &Secret, salt: &[u8], rounds: u32) -> Self {
        // RFC 5802 §2.2; a password that SASLprep forbids is taken as it is, as PostgreSQL does.
        let prepared = stringprep::saslprep(password.reveal());
        let prepared = prepared.as_deref().unwrap_or_else(|_| password.reveal());
        let mut salted = [0; SUM];
        pbkdf2_hmac::<Sha256>(prepared.as_bytes(), salt, rounds, &mut salted);
        let stored_key = Sha256::digest(hmac(&salted, b"Client Key")).into();
        let server_key = hmac(&salted, b"Server Key");
        Self { rounds, salt: salt.to_vec(), stored_key, server_key }
    }

    /// One that no password fits, for a user who has none: the same for the same user at every
    /// time and on every node, so that nobody learns from it who exists.
    pub fn for_nobody(secret: &[u8], user: &str) -> Self {
        let sum = hmac(secret, user.to_ascii_lowercase().as_bytes());
        let keys = hmac(secret, &sum);
        let salt = sum[..SALT_OCTETS].to_vec();
        Self { rounds: ROUNDS, salt, stored_key: keys, server_key: keys }
    }

    /// `SCRAM-SHA-256$rounds:salt$stored key:server key`, as PostgreSQL writes it (RFC 5803).
    pub fn to_text(&self) -> String {
        let encode = |octets: &[u8]| STANDARD.encode(octets);
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.rounds,
            encode(&self.salt),
            encode(&self.stored_key),
            encode(&self.server_key)
        )
    }

    /// Reads what [`Self::to_text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (rounds, salt) = parameters.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self { rounds, salt, stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub(super) fn hmac(key: &[u8], text: &[u8]) -> [u8; SUM] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; SUM]; // A key of HMAC has any length: there is no such error.
    };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let verifier = Verifier::make(&Secret::new("pencil".into())).unwrap();
        assert_eq!(Verifier::parse(&verifier.to_text()), Some(verifier.clone()));
        for broken in ["", "SCRAM-SHA-256$4096:$a:b", "SCRAM-SHA-1$1:YQ==$a:b"] {
            assert_eq!(Verifier::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn nobodys_is_always_the_same_and_each_ones_own() {
        let of = |user| Verifier::for_nobody(b"secret", user);
        assert_eq!(of("nobody@d.test"), of("Nobody@D.test"));
        assert_ne!(of("nobody@d.test").salt, of("nobody2@d.test").salt);
        let real = Verifier::make(&Secret::new("pencil".into())).unwrap();
        assert_eq!((real.rounds, real.salt.len()), (of("a").rounds, of("a").salt.len()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "SCRAM-SHA-256\\$[0-9]{0,9}:[a-zA-Z+/=]{0,9}\\$.{0,20}") {
            let _any = Verifier::parse(&text);
        }
    }
}
