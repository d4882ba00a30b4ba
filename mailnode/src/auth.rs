//! Address and password → account, or a slow no; one for all protocols.
//! It does not know protocols. A wrong password, an unknown user and a disabled account cost the
//! same time and are told the same.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::mail::{EmailAddress, MailboxId, Secret};
use crate::store::{Store, StoreError};

/// Password checks at once: each takes 19 MiB and some 15 ms of a core.
const CHECKS_MAX: usize = 4;

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right; the account's first mailbox.
    Right(MailboxId),
    /// Wrong, whatever is wrong.
    Wrong,
}

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

/// Checks logins.
#[derive(Debug, Clone)]
pub struct Authority {
    store: Store,
    /// The hash of a password nobody has, with the same cost as any other.
    nobodys: Arc<str>,
    checks: Arc<Semaphore>,
}

impl Authority {
    /// For one store.
    ///
    /// # Errors
    /// No hash can be made on this machine.
    pub fn new(store: Store) -> Result<Self, PasswordFault> {
        let nobodys = hash(&Secret::new(format!("{:?}", std::time::Instant::now())))?;
        Ok(Self { store, nobodys: nobodys.into(), checks: Arc::new(Semaphore::new(CHECKS_MAX)) })
    }

    /// Checks a login; `user` is the whole address, as given.
    ///
    /// # Errors
    /// The database does not answer: temporary, and never a "wrong".
    pub async fn check(&self, user: &str, password: Secret) -> Result<Verdict, StoreError> {
        let login = match EmailAddress::parse(user) {
            Ok(address) => self.store.login(&address).await?,
            Err(_) => None,
        };
        let hash = login.as_ref().map_or(&*self.nobodys, |login| &login.password_hash).to_owned();
        let Ok(_turn) = self.checks.acquire().await else { return Err(StoreError::Ended) };
        let verified = tokio::task::spawn_blocking(move || verify(&password, &hash)).await;
        match (verified, login) {
            (Ok(true), Some(login)) if login.state == "active" => {
                Ok(Verdict::Right(MailboxId(login.mailbox_id)))
            }
            (Ok(_), _) => Ok(Verdict::Wrong),
            (Err(_), _) => Err(StoreError::Ended),
        }
    }
}

/// Hashes a password to be kept: argon2id with the crate's defaults (19 MiB, 2 passes), PHC string.
///
/// # Errors
/// It is empty or too long.
pub fn hash(password: &Secret) -> Result<String, PasswordFault> {
    match password.reveal().len() {
        0 => return Err(PasswordFault::Empty),
        1..=512 => {}
        _ => return Err(PasswordFault::TooLong),
    }
    let hashed = Argon2::default().hash_password(password.reveal().as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|_| PasswordFault::Hash)
}

fn verify(password: &Secret, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_argon2id_salted_and_verify() {
        let secret = Secret::new("alice-example".into());
        let (first, second) = (hash(&secret).unwrap(), hash(&secret).unwrap());
        assert!(first.starts_with("$argon2id$"), "{first}");
        assert_ne!(first, second);
        assert!(verify(&secret, &first));
        assert!(!verify(&Secret::new("alice-exampl".into()), &first));
        assert!(!verify(&secret, "plain"));
        assert_eq!(hash(&Secret::new(String::new())), Err(PasswordFault::Empty));
    }
}
