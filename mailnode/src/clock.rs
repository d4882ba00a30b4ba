//! This machine's time, asked in one place. Leases and heartbeats do not go by it (the database's
//! clock decides those); names, dates in mail and log lines do.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 UTC; 0 on a machine whose clock stands before that.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
