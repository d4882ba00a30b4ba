//! Address and password (or a proof that one knows it) → account, or a slow no; one for all
//! protocols. It does not know protocols. A wrong password, an unknown user and a disabled account
//! cost the same and are told the same.

mod cache;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::cache::Cache;
use crate::mail::{EmailAddress, MailboxId, Secret};
use crate::password::{self, PasswordFault};
use crate::sasl::{self, Verifier};
use crate::store::{Login, Store, StoreError};

/// Memory of all password checks at once. Our own take 19 MiB each.
const CHECKS_MIB_MAX: u32 = 256;
/// How long a login waits for its turn to be checked; then it is told to come again.
const TURN_PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a nonce, before base64.
const NONCE_OCTETS: usize = 18;

/// What became of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right; the account's first mailbox.
    Right(MailboxId),
    /// Wrong, whatever is wrong.
    Wrong,
}

/// What an account is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Fetching from its first mailbox.
    Fetching,
}

/// Checks logins.
#[derive(Debug, Clone)]
pub struct Authority {
    store: Store,
    /// The hash of a password nobody has, with the same cost as any other.
    nobodys: Arc<str>,
    /// What the verifiers of users who do not exist are made of: the same on every node.
    cluster_secret: [u8; 32],
    checks: Arc<Semaphore>,
    cache: Arc<Cache>,
}

impl Authority {
    /// For one store.
    ///
    /// # Errors
    /// No hash can be made on this machine.
    pub fn new(store: Store) -> Result<Self, PasswordFault> {
        let nobodys = password::hash(&Secret::new(random_text().ok_or(PasswordFault::Hash)?))?;
        // Known to whoever may read the database or the store's marker, and to nobody else.
        let secret = Sha256::digest(format!("verifiers of nobody: {}", store.cluster()));
        let cache = Cache::new(random_text().ok_or(PasswordFault::Hash)?);
        Ok(Self {
            store,
            nobodys: nobodys.into(),
            cluster_secret: secret.into(),
            checks: Arc::new(Semaphore::new(CHECKS_MIB_MAX as usize)),
            cache: Arc::new(cache),
        })
    }

    /// Checks a login; `user` is the whole address, as given.
    ///
    /// # Errors
    /// The database does not answer, or too many logins wait: temporary, and never a "wrong".
    pub async fn check(
        &self,
        user: &str,
        password: Secret,
        purpose: Purpose,
    ) -> Result<Verdict, StoreError> {
        let login = self.login(user).await?;
        let kept = login.as_ref().map_or(&*self.nobodys, |login| &login.password_hash).to_owned();
        let key = self.cache.key(user, &password, &kept);
        let is_known = login.is_some() && self.cache.knows(&key);
        if !is_known && !self.verify(password.clone(), kept).await? {
            return Ok(Verdict::Wrong);
        }
        match login.filter(|login| may_log_in(login, purpose)) {
            Some(login) => {
                if !is_known {
                    self.cache.remember(key);
                    self.better(&login, password);
                }
                Ok(Verdict::Right(MailboxId(login.mailbox_id)))
            }
            None => Ok(Verdict::Wrong),
        }
    }

    /// Whether a password is the one `kept` was made of, in its turn and off the runtime.
    async fn verify(&self, secret: Secret, kept: String) -> Result<bool, StoreError> {
        let turn = self.turn(password::mib(&kept)).await?;
        let nobodys = self.nobodys.clone();
        let checked = blocking(turn, move || {
            let right = password::verify(&secret, &kept);
            // A hash that was taken over may cost next to nothing: a wrong password must not be
            // told from an unknown user by it.
            if !right && !password::is_own(&kept) {
                let _cost_alone = password::verify(&secret, &nobodys);
            }
            right
        });
        checked.await
    }

    /// What a proof of this user is checked with, and a nonce never used before. Whoever has no
    /// verifier gets one that fits nobody.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn verifier(&self, user: &str) -> Result<(Verifier, String), StoreError> {
        let login = self.login(user).await?;
        let kept = login.as_ref().and_then(|login| Verifier::parse(&login.scram));
        let verifier = kept.unwrap_or_else(|| Verifier::for_nobody(&self.cluster_secret, user));
        Ok((verifier, random_text().ok_or(StoreError::Ended)?))
    }

    /// A user has proved to know the password.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn proven(&self, user: &str, purpose: Purpose) -> Result<Verdict, StoreError> {
        let login = self.login(user).await?.filter(|login| may_log_in(login, purpose));
        Ok(login.map_or(Verdict::Wrong, |login| Verdict::Right(MailboxId(login.mailbox_id))))
    }

    /// The password was right, and what is kept of it is not the best that can be: it is made
    /// anew, beside the session, when no login waits for that turn.
    fn better(&self, login: &Login, password: Secret) {
        let is_own = password::is_own(&login.password_hash);
        if is_own && Verifier::parse(&login.scram).is_some() {
            return;
        }
        let Ok(turn) = self.checks.clone().try_acquire_many_owned(password::OWN_MIB) else {
            return;
        };
        let (store, account, before) =
            (self.store.clone(), login.account_id, login.password_hash.clone());
        tokio::spawn(async move {
            let kept = before.clone();
            let made = blocking(turn, move || {
                let hash = if is_own { Ok(kept) } else { password::hash(&password) };
                hash.ok().zip(Verifier::make(&password))
            });
            let Ok(Some((hash, verifier))) = made.await else { return };
            let kept = store.keep_hashes(account, before, hash, verifier.to_text()).await;
            if let Err(error) = kept {
                tracing::warn!(%error, "a password's better hash could not be kept");
            }
        });
    }

    async fn login(&self, user: &str) -> Result<Option<Login>, StoreError> {
        match EmailAddress::parse(user) {
            Ok(address) => self.store.login(&address).await,
            Err(_) => Ok(None),
        }
    }

    /// Room for a check of so many MiB.
    async fn turn(&self, mib: u32) -> Result<OwnedSemaphorePermit, StoreError> {
        let turn = self.checks.clone().acquire_many_owned(mib.min(CHECKS_MIB_MAX));
        match tokio::time::timeout(TURN_PATIENCE, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Err(StoreError::Late("the check of passwords")),
        }
    }
}

/// Does what keeps a core busy where it keeps no connection waiting; the turn ends with it, not
/// with whoever waits for it.
async fn blocking<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(move || {
        let outcome = work();
        drop(turn);
        outcome
    });
    done.await.map_err(|_| StoreError::Ended)
}

fn may_log_in(login: &Login, purpose: Purpose) -> bool {
    let permitted = match purpose {
        Purpose::Fetching => login.permits.fetching,
    };
    login.state == "active" && permitted
}

/// Some 144 bits nobody can guess, as printable text without a comma.
fn random_text() -> Option<String> {
    let mut octets = [0; NONCE_OCTETS];
    rustix::rand::getrandom(&mut octets[..], rustix::rand::GetRandomFlags::empty()).ok()?;
    Some(sasl::encode(&octets))
}
