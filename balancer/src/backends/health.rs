//! The judge of one node: so many good or bad looks in a row, and it flips. Whether it can be
//! reached and whether it serves are two questions, each with looks of its own.
//! It does not know how one looks, or when. `backends` asks it.

/// Looks in a row that flip a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones that bring it up.
    pub rise: u32,
    /// Bad ones that take it down.
    pub fall: u32,
}

/// What a look looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Whether it can be reached: its kernel and its listener.
    Reach,
    /// Whether it serves those who reach it.
    Service,
}

/// What a look changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// It was down and is up.
    Up,
    /// It was up and is down.
    Down,
}

/// A node's state: up when nothing speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    reach: Track,
    service: Track,
}

/// One aspect, and how far it is on the way to the other state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Track {
    up: bool,
    /// Looks in a row that contradict `up`.
    against: u32,
    /// Nobody has looked yet: it is up on trust, and the first bad look is enough.
    unseen: bool,
    /// So many times as many good looks as usual bring it up.
    slower: u32,
}

impl Judge {
    /// Up until seen otherwise: a balancer that starts serves at once.
    #[must_use]
    pub fn trusting() -> Self {
        let trusted = Track { up: true, against: 0, unseen: true, slower: 1 };
        Self { reach: trusted, service: trusted }
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.reach.up && self.service.up
    }

    /// Hears of one look; says only whether that flipped the node.
    pub fn hear(&mut self, aspect: Aspect, good: bool, thresholds: Thresholds) -> Option<Flip> {
        let before = self.is_up();
        match aspect {
            Aspect::Reach => self.reach.hear(good, thresholds),
            Aspect::Service => self.service.hear(good, thresholds),
        }
        match (before, self.is_up()) {
            (false, true) => Some(Flip::Up),
            (true, false) => Some(Flip::Down),
            _ => None,
        }
    }

    /// It is dead, beyond doubt: no further look is needed, and `slower` times as many good ones
    /// as usual to bring it up again.
    pub fn condemn(&mut self, slower: u32) -> Option<Flip> {
        let before = self.is_up();
        self.reach = Track { up: false, against: 0, unseen: false, slower };
        before.then_some(Flip::Down)
    }
}

impl Track {
    fn hear(&mut self, good: bool, thresholds: Thresholds) {
        let first = std::mem::take(&mut self.unseen);
        if good == self.up {
            self.against = 0;
            return;
        }
        self.against += 1;
        let needed = if self.up { thresholds.fall } else { thresholds.rise * self.slower };
        if self.against >= needed || first {
            *self = Self { up: good, against: 0, unseen: false, slower: 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Thresholds = Thresholds { rise: 2, fall: 3 };

    /// `+` is a good look, `-` a bad one; the answer has `U` and `D` where the node flipped.
    fn heard(looks: &str) -> String {
        let mut judge = Judge::trusting();
        let hear = |look| match judge.hear(Aspect::Reach, look == '+', TWO) {
            Some(Flip::Up) => 'U',
            Some(Flip::Down) => 'D',
            None => '.',
        };
        looks.chars().map(hear).collect()
    }

    #[test]
    fn looks_in_a_row_flip_it() {
        for (looks, flips) in [
            ("+---", "...D"),
            ("+--+--", "......"),
            ("+---+-++", "...D...U"),
            ("+----++---", "...D..U..D"),
        ] {
            assert_eq!(heard(looks), flips, "of {looks}");
        }
    }

    #[test]
    fn the_first_bad_look_is_enough() {
        assert_eq!(heard("-+-++"), "D...U");
        assert_eq!(heard("+-"), "..");
    }

    #[test]
    fn it_is_up_only_if_nothing_speaks_against_it() {
        let mut judge = Judge::trusting();
        assert_eq!(judge.hear(Aspect::Service, false, TWO), Some(Flip::Down));
        for _ in 0..5 {
            assert_eq!(judge.hear(Aspect::Reach, true, TWO), None, "its kernel is still alive");
        }
        assert_eq!(judge.condemn(1), None);
        assert_eq!([true; 2].map(|good| judge.hear(Aspect::Service, good, TWO)), [None; 2]);
        let flips = [true; 2].map(|good| judge.hear(Aspect::Reach, good, TWO));
        assert_eq!(flips, [None, Some(Flip::Up)]);
        assert_eq!(judge.condemn(2), Some(Flip::Down));
        let flips = [true; 4].map(|good| judge.hear(Aspect::Reach, good, TWO));
        assert_eq!(flips, [None, None, None, Some(Flip::Up)]);
    }
}
