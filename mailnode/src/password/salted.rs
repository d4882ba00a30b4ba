//! Salted digests and PBKDF2 as LDAP servers, passlib and Dovecot write them.
//! It does not know which scheme a text was under; `foreign` says so.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Base64, with or without its padding.
const LAX: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A digest's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    /// 20 octets.
    Sha1,
    /// 32 octets.
    Sha256,
    /// 64 octets.
    Sha512,
}

impl Digest {
    fn octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A digest over password and salt, and the salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salted {
    digest: Digest,
    sum: Vec<u8>,
    salt: Vec<u8>,
}

impl Salted {
    /// Sum and salt in one, in base64 or hexadecimal.
    pub(super) fn parse(digest: Digest, text: &str, encoding: &str) -> Option<Self> {
        let mut sum = match encoding {
            "HEX" => hexadecimal(text)?,
            _ => LAX.decode(text).ok()?,
        };
        if sum.len() <= digest.octets() {
            return None;
        }
        let salt = sum.split_off(digest.octets());
        Some(Self { digest, sum, salt })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let parts = [password, &self.salt].concat();
        let made = match self.digest {
            Digest::Sha1 => Sha1::digest(parts).to_vec(),
            Digest::Sha256 => Sha256::digest(parts).to_vec(),
            Digest::Sha512 => Sha512::digest(parts).to_vec(),
        };
        made.ct_eq(&self.sum).into()
    }
}

/// PBKDF2 (RFC 8018 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pbkdf2 {
    digest: Digest,
    pub(super) rounds: u32,
    salt: Vec<u8>,
    sum: Vec<u8>,
}

impl Pbkdf2 {
    /// passlib's `rounds$salt$sum`, base64 with `.` for `+` and no padding.
    pub(super) fn parse(digest: Digest, text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let (rounds, salt, sum) = (parts.next()?, parts.next()?, parts.next()?);
        let decode = |text: &str| LAX.decode(text.replace('.', "+")).ok();
        let sum = decode(sum)?;
        let fit = parts.next().is_none() && sum.len() == digest.octets();
        let rounds = rounds.parse().ok()?;
        fit.then_some(Self { digest, rounds, salt: decode(salt)?, sum })
    }

    /// Dovecot's `$1$salt$rounds$sum`: SHA-1, the salt as it stands, the sum hexadecimal.
    pub(super) fn dovecot(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$1$")?.split('$');
        let (salt, rounds, sum) = (parts.next()?, parts.next()?, parts.next()?);
        let sum = hexadecimal(sum)?;
        let fit = parts.next().is_none() && sum.len() == Digest::Sha1.octets();
        let (digest, rounds) = (Digest::Sha1, rounds.parse().ok()?);
        fit.then(|| Self { digest, rounds, salt: salt.as_bytes().to_vec(), sum })
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let mut made = vec![0; self.sum.len()];
        let (salt, rounds) = (&self.salt, self.rounds);
        match self.digest {
            Digest::Sha1 => pbkdf2_hmac::<Sha1>(password, salt, rounds, &mut made),
            Digest::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, rounds, &mut made),
            Digest::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut made),
        }
        made.ct_eq(&self.sum).into()
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| match pair {
            [_, _] => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        })
        .collect()
}
