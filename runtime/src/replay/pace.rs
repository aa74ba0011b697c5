//! Pace: how many deliveries a replay may give back now. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// How much of a pause can be caught up on. Without a bound a replay that had to wait would come back as a burst.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A bucket that fills with time, at a rate of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_s: f64,
    saved: f64,
    at: Instant,
}

impl Pace {
    /// A pace of that many a second, at least one, that begins with one.
    pub fn new(per_s: u32, now: Instant) -> Self {
        Self { per_s: f64::from(per_s.max(1)), saved: 1.0, at: now }
    }

    /// How many are free now.
    pub fn earned(&mut self, now: Instant) -> usize {
        let most = (self.per_s * CATCH_UP.as_secs_f64()).max(1.0);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.saved = (self.saved + passed * self.per_s).min(most);
        self.at = now;
        self.saved as usize
    }

    /// Uses some.
    pub fn spend(&mut self, number: usize) {
        self.saved -= number as f64;
    }

    /// How long until there is one.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.saved) / self.per_s).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_gives_its_rate_and_a_pause_is_not_caught_up_on() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(100, start);
        let mut given = 0;
        for ms in (0..10_000).step_by(7) {
            let free = pace.earned(at(ms));
            pace.spend(free);
            given += free;
        }
        assert!((999..=1_001).contains(&given), "{given} in ten seconds at 100 a second");
        assert_eq!(pace.earned(at(60_000)), 10, "what a tenth of a second earns, after a minute");
    }

    #[test]
    fn the_slowest_pace_still_gives_one_and_says_when() {
        let start = Instant::now();
        let mut pace = Pace::new(1, start);
        assert_eq!(pace.earned(start), 1);
        pace.spend(1);
        assert_eq!((pace.earned(start), pace.wait()), (0, Duration::from_secs(1)));
        assert_eq!(pace.earned(start + Duration::from_millis(999)), 0);
        assert_eq!(pace.earned(start + Duration::from_millis(1_001)), 1);
    }
}
