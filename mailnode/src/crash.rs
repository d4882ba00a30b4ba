//! Places where a test can have the node die, as a power cut would have it: no drop, no flush.
//! It does not know what
//! is lost then; in release builds the function is empty.

/// Dies here if the environment's `MAILNODE_CRASH` names this place (debug builds only).
#[cfg(debug_assertions)]
pub(crate) fn point(place: &str) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("MAILNODE_CRASH").ok());
    if wanted.as_deref() == Some(place) {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        std::thread::park();
    }
}

/// Nothing, in release builds.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_place: &str) {}
