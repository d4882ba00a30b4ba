//! Descriptors that a loop holds for nothing, so that there are some when none are left: it lets go
//! of them then, for the admin port, for probes, and for those who have to be told no.
//! It does not know who takes them. The loop (`mod`) accepts nobody until it has them back.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// Held by each loop.
const COUNT: usize = 16;

/// The descriptors.
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<OwnedFd>);

impl Spares {
    /// Copies `like` as often as is needed; false where there still are too few.
    pub(super) fn fill(&mut self, like: &OwnedFd) -> bool {
        while self.0.len() < COUNT {
            match fcntl_dupfd_cloexec(like, 0) {
                Ok(spare) => self.0.push(spare),
                Err(_) => {
                    // The few that could be had are more use to others.
                    self.0.clear();
                    return false;
                }
            }
        }
        true
    }

    /// Lets go of them.
    pub(super) fn release(&mut self) {
        self.0.clear();
    }
}

/// Whether a call failed because no descriptors are left, in this process or on this machine.
pub(super) fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_had_and_let_go() {
        let like = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("one");
        let mut spares = Spares::default();
        assert!(spares.fill(&like) && spares.fill(&like));
        assert_eq!(spares.0.len(), COUNT);
        spares.release();
        assert!(spares.0.is_empty());
    }
}
