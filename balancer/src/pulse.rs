//! What a node did lately: new connections a second, and how long its greetings took.
//! It does not know who asks, or Prometheus (whose histograms cannot be read back). `metrics`
//! keeps one for each node, `api` shows it, `house` lets it beat.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::backends::Backends;

/// From one beat to the next.
const BEAT: Duration = Duration::from_secs(1);
/// New connections are averaged over this.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// Greetings are forgotten after one to two of these.
const WINDOW: Duration = Duration::from_secs(60);
/// Four steps for each doubling of a time in microseconds, so up to 12 days: a step is at most a
/// quarter wide, and what is shown at most an eighth off.
const STEPS: usize = 160;

/// One node's latest minutes. To count a greeting is one addition.
#[derive(Debug)]
pub struct Pulse {
    /// The window that is being filled, and the one before.
    windows: [[AtomicU32; STEPS]; 2],
    filling: AtomicUsize,
    beats: Mutex<Beats>,
}

#[derive(Debug, Default)]
struct Beats {
    counts: VecDeque<(Instant, u64)>,
    window_began: Option<Instant>,
}

impl Default for Pulse {
    fn default() -> Self {
        let window = || std::array::from_fn(|_| AtomicU32::new(0));
        Self {
            windows: [window(), window()],
            filling: AtomicUsize::new(0),
            beats: Mutex::default(),
        }
    }
}

impl Pulse {
    /// A greeting came after this long.
    pub fn greeted(&self, took: Duration) {
        let window = &self.windows[self.filling.load(Ordering::Relaxed) % 2];
        window[step(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// So long took this share of the greetings of the last one or two minutes (0.5: half of
    /// them) at most; `None` where there were none.
    #[must_use]
    pub fn greeting(&self, share: f64) -> Option<Duration> {
        let [one, other] = &self.windows;
        let load = |count: &AtomicU32| f64::from(count.load(Ordering::Relaxed));
        let counts: Vec<_> = one.iter().zip(other).map(|(a, b)| load(a) + load(b)).collect();
        let all: f64 = counts.iter().sum();
        let mut below = 0.0;
        let found = counts.iter().position(|count| {
            below += count;
            *count > 0.0 && below >= all * share
        });
        found.map(middle)
    }

    /// New connections a second, over the last ten seconds.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((first, before)), Some((last, now))) =
            (beats.counts.front(), beats.counts.back())
        else {
            return 0.0;
        };
        let seconds = last.duration_since(*first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "it is shown with one place")]
        let more = now.saturating_sub(*before) as f64;
        if seconds > 0.0 { more / seconds } else { 0.0 }
    }

    /// It is `now`, and there were so many connections so far.
    fn beat(&self, now: Instant, connects: u64) {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.counts.push_back((now, connects));
        while beats.counts.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_SPAN) {
            beats.counts.pop_front();
        }
        let began = *beats.window_began.get_or_insert(now);
        if now.duration_since(began) >= WINDOW {
            beats.window_began = Some(now);
            let next = self.filling.load(Ordering::Relaxed) + 1;
            for count in &self.windows[next % 2] {
                count.store(0, Ordering::Relaxed);
            }
            self.filling.store(next, Ordering::Relaxed);
        }
    }
}

/// Lets every node's pulse beat for as long as there are backends.
pub async fn watch(backends: Weak<Backends>) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let Some(backends) = backends.upgrade() else { return };
        let (picture, now) = (backends.picture(), Instant::now());
        for node in picture.services.iter().flat_map(|service| service.candidates()) {
            let metrics = &node.backend.metrics;
            metrics.pulse.beat(now, metrics.connects.count());
        }
    }
}

/// The step a time is in.
fn step(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = micros.ilog2();
    // The two bits after the leading one.
    let quarter = ((u128::from(micros) << 2) >> doublings) & 3;
    let step = doublings as usize * 4 + usize::try_from(quarter).unwrap_or_default();
    step.min(STEPS - 1)
}

/// The middle of a step.
fn middle(step: usize) -> Duration {
    let (doublings, quarter) = (step / 4, step % 4);
    // From (4 + quarter) to (5 + quarter) quarters of its doubling.
    Duration::from_micros(((9 + 2 * quarter as u64) << doublings) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_at_most_an_eighth_off() {
        for micros in (4..2000).chain([10_000, 123_456, 3_000_000, 600_000_000]) {
            let time = Duration::from_micros(micros);
            let shown = middle(step(time)).as_secs_f64() / time.as_secs_f64();
            assert!((0.87..=1.13).contains(&shown), "{time:?} is shown as {shown} of itself");
        }
        assert_eq!(step(Duration::MAX), STEPS - 1);
    }

    #[test]
    fn greetings_are_forgotten_and_a_rate_is_an_average() {
        let (pulse, began) = (Pulse::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!((pulse.greeting(0.5), pulse.rate()), (None, 0.0));
        for millis in 1..=100 {
            pulse.greeted(Duration::from_millis(millis));
        }
        let millis = |share| pulse.greeting(share).map(|time| time.as_millis());
        assert!(millis(0.5).is_some_and(|half| (44..=57).contains(&half)), "{:?}", millis(0.5));
        assert!(millis(0.99).is_some_and(|most| (87..=113).contains(&most)), "{:?}", millis(0.99));
        for second in 0..=30 {
            pulse.beat(at(second), second * 7);
        }
        assert!((pulse.rate() - 7.0).abs() < 0.01, "{}", pulse.rate());
        pulse.beat(at(60), 210);
        assert!(pulse.greeting(0.5).is_some(), "the window before still counts");
        pulse.beat(at(120), 210);
        assert_eq!(pulse.greeting(0.5), None);
        assert_eq!(pulse.rate(), 0.0);
    }
}
