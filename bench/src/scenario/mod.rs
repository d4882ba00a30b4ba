//! The benches: what is held beside what, under which load, in which order.
//!
//! It does not know how programs are started or how load is made. Called by `main`.
//!
//! Contenders take turns within each round, and ratios are formed within a round: the machine's
//! mood is the same for both sides. A run during which something else used the processors is done
//! again, as often as a fixed allowance lets; what stays noisy is counted and said.

pub(crate) mod delivery;
pub(crate) mod failover;
pub(crate) mod held;
mod pair;
pub(crate) mod proxy;
pub(crate) mod slow;
pub(crate) mod system_calls;

use std::path::PathBuf;
use std::time::Duration;

use crate::accounting::Meter;
use crate::load::Outcome;
use crate::process::{Failure, Step};
use crate::report::Report;

/// The share of all processors that foreign programs may use during a run.
const FOREIGN_MAX: f64 = 0.04;

/// What stays after a run before the counters are read: the last closes and log lines.
const SETTLE: Duration = Duration::from_millis(20);

/// What every bench is told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// The length of one run.
    pub(crate) run: Duration,
    /// How many runs may be done again because of foreign work.
    pub(crate) again_max: u32,
    /// The names of those that are measured; empty for all.
    pub(crate) contenders: Vec<String>,
    /// Where files may go, in order of liking.
    pub(crate) parents: Vec<PathBuf>,
    /// Whether all counts are tiny: to see that the bench runs.
    pub(crate) tiny: bool,
}

impl Options {
    /// The contenders that were asked for, in the bench's own order; fails on a name it has not.
    fn choose(&self, all: &[&'static str]) -> Step<Vec<&'static str>> {
        let strange = self.contenders.iter().find(|name| !all.contains(&name.as_str()));
        if let Some(name) = strange {
            let all = all.join(", ");
            return Err(Failure(format!("--contenders: {name} is not one of {all}")));
        }
        let asked = |name: &&&str| self.contenders.iter().any(|asked| asked == **name);
        let none = self.contenders.is_empty();
        Ok(all.iter().filter(|name| none || asked(name)).copied().collect())
    }
}

/// Does noisy runs again.
struct Quiet {
    left: u32,
    runs: u32,
    again: u32,
    noisy: u32,
    worst: f64,
}

impl Quiet {
    fn new(again_max: u32) -> Self {
        Self { left: again_max, runs: 0, again: 0, noisy: 0, worst: 0.0 }
    }

    /// Measures once, or until it was quiet; gives the quietest. A run gives its value and the
    /// foreign share.
    async fn measure<T>(&mut self, mut run: impl AsyncFnMut() -> Step<(T, f64)>) -> Step<T> {
        let mut best = run().await?;
        while best.1 > FOREIGN_MAX && self.left > 0 {
            self.left -= 1;
            self.again += 1;
            quiet_moment().await;
            let next = run().await?;
            if next.1 < best.1 {
                best = next;
            }
        }
        self.runs += 1;
        self.noisy += u32::from(best.1 > FOREIGN_MAX);
        self.worst = self.worst.max(best.1);
        Ok(best.0)
    }

    fn note(&self, report: &mut Report) {
        report.note(format!(
            "{} runs, {} done again, {} kept with more than {:.0} % foreign CPU (worst {:.1} %)",
            self.runs,
            self.again,
            self.noisy,
            FOREIGN_MAX * 100.0,
            self.worst * 100.0
        ));
    }
}

/// Waits until nothing uses the processors, for 2 s at most.
async fn quiet_moment() {
    const LOOK: Duration = Duration::from_millis(200);
    for _ in 0..10 {
        let meter = Meter::start(&[], &[]);
        tokio::time::sleep(LOOK).await;
        if meter.stop().foreign <= FOREIGN_MAX {
            break;
        }
    }
}

/// What went wrong in the runs, in words; a bench with troubles prints its figures and fails.
#[derive(Default)]
struct Troubles(Vec<String>);

impl Troubles {
    /// Looks through what came of a load.
    fn look(&mut self, contender: &str, load: &str, outcome: &Outcome) {
        if outcome.troubles() > 0 {
            self.0.push(format!("{contender} under {load}: {outcome}"));
        }
    }
}

/// A finished bench.
pub(crate) struct Finished {
    /// The figures.
    pub(crate) report: Report,
    /// Why they are not to be trusted; empty when all went well.
    pub(crate) troubles: Vec<String>,
}

/// The contenders in the order of round `round`: each is first once in turn.
fn turns<T>(contenders: &[T], round: usize) -> impl Iterator<Item = &T> {
    let from = round % contenders.len().max(1);
    contenders[from..].iter().chain(&contenders[..from])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_first_in_turn() {
        let firsts: Vec<_> = (0..4).filter_map(|round| turns(&[1, 2, 3], round).next()).collect();
        assert_eq!(firsts, [&1, &2, &3, &1]);
        assert_eq!(turns(&[1, 2, 3], 2).collect::<Vec<_>>(), [&3, &1, &2]);
    }

    #[test]
    fn contenders_are_chosen_by_name() {
        let asked = |names: &[&str]| Options {
            rounds: 1,
            run: Duration::ZERO,
            again_max: 0,
            contenders: names.iter().map(ToString::to_string).collect(),
            parents: vec![],
            tiny: true,
        };
        assert_eq!(asked(&[]).choose(&["a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(asked(&["b"]).choose(&["a", "b"]).unwrap(), ["b"]);
        let told = asked(&["c"]).choose(&["a", "b"]).unwrap_err().to_string();
        assert_eq!(told, "--contenders: c is not one of a, b");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_noisy_run_is_done_again_and_the_quietest_is_kept() {
        let mut quiet = Quiet::new(3);
        let mut noises = [0.5, 0.2, 0.01, 0.9].into_iter();
        let mut run = async || {
            let noise = noises.next().unwrap();
            Ok((noise, noise))
        };
        assert_eq!(quiet.measure(&mut run).await.unwrap(), 0.01);
        assert_eq!((quiet.left, quiet.again, quiet.noisy), (1, 2, 0));
    }
}
