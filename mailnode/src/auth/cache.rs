//! Logins that were right a moment ago, so that a client which logs in every few seconds costs a
//! hash a minute. It does not know accounts: an entry counts only while what is kept of the user's
//! password is still what it was checked against, which every login reads anew. So a change of a
//! password is in force at once, on every node.
//!
//! The key is a keyed hash of the whole login: no password is kept, and two users with one password
//! have nothing in common.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::mail::Secret;

/// How long a right login is remembered.
const LIFE: Duration = Duration::from_secs(60);
/// More are not remembered: some 6 MB.
const LOGINS_MAX: usize = 50_000;

/// A login and what it was right for, not to be turned back into either.
pub(super) type Key = [u8; 32];

#[derive(Debug)]
pub(super) struct Cache {
    secret: String,
    right: Mutex<HashMap<Key, Instant>>,
}

impl Cache {
    /// An empty one; `secret` is this process's own.
    pub(super) fn new(secret: String) -> Self {
        Self { secret, right: Mutex::default() }
    }

    /// The key of a login that is held against this kept hash.
    pub(super) fn key(&self, user: &str, password: &Secret, kept: &str) -> Key {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else {
            return [0; 32]; // A key of HMAC has any length: there is no such error.
        };
        for part in [user, password.reveal(), kept] {
            // The length keeps apart what runs together.
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether this login was right a moment ago.
    pub(super) fn knows(&self, key: &Key) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(key).is_some_and(|since| since.elapsed() < LIFE)
    }

    /// Remembers a right login.
    pub(super) fn remember(&self, key: Key) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= LOGINS_MAX {
            right.retain(|_, since| since.elapsed() < LIFE);
        }
        if right.len() < LOGINS_MAX {
            right.insert(key, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_login_counts_and_what_is_kept() {
        let cache = Cache::new("secret".into());
        let key = |user: &str, password: &str, kept: &str| {
            cache.key(user, &Secret::new(password.into()), kept)
        };
        let mine = key("a@d.test", "p", "hash");
        cache.remember(mine);
        assert!(cache.knows(&mine));
        for (user, password, kept) in [
            ("b@d.test", "p", "hash"),
            ("a@d.test", "q", "hash"),
            ("a@d.tes", "tp", "hash"),
            ("a@d.test", "p", "new hash"),
            ("a@d.test", "phas", "h"),
        ] {
            assert!(!cache.knows(&key(user, password, kept)), "{user} {password} {kept}");
        }
        let elsewhere = Cache::new("another".into());
        assert_ne!(mine, elsewhere.key("a@d.test", &Secret::new("p".into()), "hash"));
    }
}
