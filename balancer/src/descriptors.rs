//! How many connections the descriptor limit of this process allows.
//! It does not know who is connected. `commands::run` raises the limit, `house` counts with it.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Each connection has two ends.
const DESCRIPTORS_EACH: u64 = 2;
/// Kept back for listeners, probes, the admin port, files, and clients that are being refused.
const RESERVE: u64 = 256;
/// A system without a limit, or with an absurd one, is not taken at its word.
const CONNECTIONS_MAX: u64 = 1_000_000;

/// What the descriptor limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors(u64);

impl Descriptors {
    /// Raises this process's soft limit to its hard one, and says what that allows.
    #[must_use]
    pub fn raise() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
        Self(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// So many descriptors.
    #[must_use]
    pub fn of(limit: u64) -> Self {
        Self(limit)
    }

    /// Connections that fit.
    #[must_use]
    pub fn connections(self) -> usize {
        let fit = self.0.saturating_sub(RESERVE) / DESCRIPTORS_EACH;
        usize::try_from(fit.clamp(1, CONNECTIONS_MAX)).unwrap_or(1)
    }

    /// The limit that is asked for, or what fits where none is or it is more.
    #[must_use]
    pub fn connections_max(self, asked: Option<usize>) -> usize {
        let fit = self.connections();
        match asked {
            Some(asked) if asked > fit => {
                tracing::warn!(
                    asked,
                    fit,
                    "limits.connections_max is more than the limit of open files allows; raise it"
                );
                fit
            }
            asked => asked.unwrap_or(fit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_for_each_connection_and_a_reserve() {
        assert_eq!(Descriptors::of(1256).connections_max(None), 500);
        assert_eq!(Descriptors::of(1256).connections_max(Some(100)), 100);
        assert_eq!(Descriptors::of(1256).connections_max(Some(501)), 500);
        assert_eq!(Descriptors::of(10).connections(), 1);
        assert_eq!(Descriptors::of(u64::MAX).connections(), 1_000_000);
    }
}
