//! Waiting for something to become true, with a deadline and a word on what was seen last.
//! It does not know what is waited for; every test that has to wait comes here.

use std::time::{Duration, Instant};

/// The usual deadline: long enough for two busy cores, never reached when all is well.
pub const MOMENT: Duration = Duration::from_secs(20);

/// Between two looks. It spares the processor, it does not
/// stand for "by now it will have happened".
const PAUSE: Duration = Duration::from_millis(5);

/// Looks again and again until `look` says `Ok`, and returns what it said.
///
/// # Panics
/// At the deadline, with `what` and the last `Err`: the test fails and says what was seen.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(seen) if begin.elapsed() > deadline => {
                panic!("waited {deadline:?} until {what}; seen last: {seen}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Lets time pass where its length is itself what is tested: a freeze of 40 ms, 2 s of silence.
/// Never to give something time to happen.
pub fn hold_for(time: Duration) {
    std::thread::sleep(time);
}

/// `Ok` when both are equal, else `Err` with what was seen: for [`wait_until`].
///
/// # Errors
/// `seen` in its `Debug` form.
pub fn same<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{seen:?} in place of {wanted:?}")) }
}
