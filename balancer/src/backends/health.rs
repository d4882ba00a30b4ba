//! The judge of one node: so many good or bad looks in a row, and it flips.
//! It does not know how one looks, or when. `backends` asks it.

/// Looks in a row that flip a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones that bring it up.
    pub rise: u32,
    /// Bad ones that take it down.
    pub fall: u32,
}

/// What a look changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flip {
    /// It was down and is up.
    Up,
    /// It was up and is down.
    Down,
}

/// A node's state, and how far it is on the way to the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    up: bool,
    /// Looks in a row that contradict `up`.
    against: u32,
    /// Nobody has looked yet: it is up on trust, and the first bad look is enough.
    unseen: bool,
}

impl Judge {
    /// Up until seen otherwise: a balancer that starts serves at once.
    #[must_use]
    pub fn trusting() -> Self {
        Self { up: true, against: 0, unseen: true }
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Hears of one look; says only whether that flipped the node.
    pub fn hear(&mut self, good: bool, thresholds: Thresholds) -> Option<Flip> {
        let first = std::mem::take(&mut self.unseen);
        if good == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.up { thresholds.fall } else { thresholds.rise };
        if self.against < needed && !first {
            return None;
        }
        self.up = good;
        self.against = 0;
        Some(if good { Flip::Up } else { Flip::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Thresholds = Thresholds { rise: 2, fall: 3 };

    /// `+` is a good look, `-` a bad one; the answer has `U` and `D` where the node flipped.
    fn heard(looks: &str) -> String {
        let mut judge = Judge::trusting();
        let hear = |look| match judge.hear(look == '+', TWO) {
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
}
