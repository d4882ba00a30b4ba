//! Passwords and hashes of a file of users: judged, compared, made, on all cores.
//! It does not know where they are kept; `import` brings them in batches.

use std::num::NonZeroUsize;
use std::thread;

use super::{CommandError, Key, Row, kept};
use crate::mail::{EmailAddress, Secret};
use crate::password::{self, Form, Hashes};
use crate::store::{Taken, UserData};

/// Hashes made at once: each takes 19 MiB.
const THREADS_MAX: usize = 32;

/// Whether a text is a hash that logins can be checked against.
pub(super) fn judge(hash: &str) -> Result<(), String> {
    Form::of(hash).map(drop).map_err(|unfit| unfit.to_string())
}

/// Whether the users of a batch who are there already have the key that the file gives them;
/// whoever is not there has.
pub(super) async fn are_same(batch: &[Row], taken: &Taken) -> Result<Vec<bool>, CommandError> {
    let mut same = Vec::with_capacity(batch.len());
    let mut asked: Vec<(usize, Secret, String)> = Vec::new();
    for (index, row) in batch.iter().enumerate() {
        let there = taken.users.get(&row.address.to_string());
        same.push(match (&row.key, there) {
            (_, None) => true,
            (Key::Hash(hash), Some(there)) => is_same_hash(hash, &there.password_hash),
            (Key::Password(password), Some(there)) => {
                asked.push((index, password.clone(), there.password_hash.clone()));
                false
            }
        });
    }
    let verified =
        on_all_cores(asked, |(index, password, hash)| (index, password::verify(&password, &hash)));
    for (index, is_right) in verified.await? {
        same[index] = is_right;
    }
    Ok(same)
}

/// A foreign hash is made anew at the first right login: ours in its place may well be of it.
fn is_same_hash(given: &str, kept: &str) -> bool {
    given == kept || (password::is_own(kept) && !password::is_own(given))
}

/// A batch as it is kept, its passwords hashed.
pub(super) async fn hashed(batch: Vec<Row>) -> Result<Vec<(EmailAddress, UserData)>, CommandError> {
    let hash = |mut row: Row| {
        let hashes = match std::mem::replace(&mut row.key, Key::Hash(String::new())) {
            Key::Hash(hash) => Hashes { hash, scram: String::new() },
            Key::Password(password) => password::hashes(&password)?,
        };
        Ok(kept(row, hashes))
    };
    on_all_cores(batch, hash).await?.into_iter().collect()
}

/// Does the same with all items, in order, a share on each core.
async fn on_all_cores<T, R>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Copy + Send + Sync + 'static,
) -> Result<Vec<R>, CommandError>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
    let share = items.len().div_ceil(cores).max(1);
    let mut items = items.into_iter().peekable();
    let mut shares = Vec::new();
    while items.peek().is_some() {
        let share: Vec<T> = items.by_ref().take(share).collect();
        shares.push(tokio::task::spawn_blocking(move || {
            share.into_iter().map(work).collect::<Vec<R>>()
        }));
    }
    let mut done = Vec::new();
    for share in shares {
        done.extend(share.await.map_err(|error| CommandError::failed("hashing", error))?);
    }
    Ok(done)
}
