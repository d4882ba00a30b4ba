//! Passwords as they are kept: made here with argon2id and for SCRAM, and checked in every form
//! that other servers leave behind. It does not know accounts or clients; `auth` and the commands
//! call it, from a thread that may be busy for a while.

mod foreign;
mod salted;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};

pub use self::foreign::{Form, Unfit};
use crate::mail::Secret;
use crate::sasl::Verifier;

/// Longest password, in octets.
const OCTETS_MAX: usize = 512;
/// What one check of our own hashes takes, in MiB.
pub const OWN_MIB: u32 = Params::DEFAULT_M_COST.div_ceil(1024);

/// Why a password cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Nothing in it.
    #[error("the password is empty")]
    Empty,
    /// Longer than a login line may be.
    #[error("the password is longer than 512 octets")]
    TooLong,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Hash,
}

/// What is kept of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// For passwords that are said: argon2id, a PHC string.
    pub hash: String,
    /// For those that are proved: see [`Verifier`].
    pub scram: String,
}

/// Hashes a password to be kept in both forms.
///
/// # Errors
/// It is empty or too long.
pub fn hashes(password: &Secret) -> Result<Hashes, PasswordFault> {
    let hash = hash(password)?;
    let verifier = Verifier::make(password).ok_or(PasswordFault::Hash)?;
    Ok(Hashes { hash, scram: verifier.to_text() })
}

/// Argon2id with the crate's defaults (19 MiB, 2 passes), PHC string.
///
/// # Errors
/// It is empty or too long.
pub fn hash(password: &Secret) -> Result<String, PasswordFault> {
    match password.reveal().len() {
        0 => return Err(PasswordFault::Empty),
        1..=OCTETS_MAX => {}
        _ => return Err(PasswordFault::TooLong),
    }
    let hashed = Argon2::default().hash_password(password.reveal().as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|_| PasswordFault::Hash)
}

/// Whether a password is the one a kept text was made of. A text of no known form fits none.
/// Takes from a millisecond to a second of a core, and the form's own memory.
pub fn verify(password: &Secret, kept: &str) -> bool {
    let octets = password.reveal().as_bytes();
    if octets.is_empty() || octets.len() > OCTETS_MAX {
        return false;
    }
    Form::of(kept).is_ok_and(|form| form.verify(octets))
}

/// Whether a kept text is in our own form and strength, so that nothing better can be made of it.
pub fn is_own(kept: &str) -> bool {
    let Ok(hash) = PasswordHash::new(kept) else { return false };
    let ours = Params::default();
    let found = Params::try_from(&hash);
    hash.algorithm.as_str() == "argon2id"
        && found.is_ok_and(|found| {
            found.m_cost() >= ours.m_cost()
                && found.t_cost() >= ours.t_cost()
                && found.p_cost() == ours.p_cost()
        })
}

/// Memory one check of a kept text takes, in MiB.
pub fn mib(kept: &str) -> u32 {
    Form::of(kept).map_or(OWN_MIB, |form| form.mib()).max(1)
}

fn verify_phc(password: &[u8], kept: &str) -> bool {
    PasswordHash::new(kept)
        .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_are_argon2id_salted_and_verify() {
        let secret = Secret::new("alice-example".into());
        let (first, second) = (hashes(&secret).unwrap(), hashes(&secret).unwrap());
        assert!(first.hash.starts_with("$argon2id$"), "{first:?}");
        assert!(is_own(&first.hash));
        assert_ne!(first.hash, second.hash);
        assert_ne!(first.scram, second.scram);
        assert!(verify(&secret, &first.hash));
        assert!(!verify(&Secret::new("alice-exampl".into()), &first.hash));
        assert!(!verify(&secret, "alice-example"));
        assert_eq!(hash(&Secret::new(String::new())), Err(PasswordFault::Empty));
        assert_eq!(hash(&Secret::new("x".repeat(513))), Err(PasswordFault::TooLong));
    }
}
