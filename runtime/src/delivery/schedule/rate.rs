//! Rate: how fast attempts at one destination may begin.
//!
//! Guarantees: pure. A set rate is a token bucket: in any time T no more than `T × rate + burst` begins. The learned
//! rate halves when the partner pushes back and grows slowly until it is forgotten; after an outage it starts small
//! and doubles every second, so that a backlog drains as a ramp. Waiting for a rate costs no attempt.

use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{Rate, Timestamp};

/// Attempts a second below which pushing back slows nobody: one in ten seconds still notices when the partner is back.
const SLOWEST: f64 = 0.1;

/// Attempts a second below which the first push back slows nobody: events may just have come slowly.
const FIRST_CUT: f64 = 5.0;

/// Attempts a second with which a destination begins again after an outage, if it was not much busier before.
const RAMP_START: f64 = 2.0;

/// The part of its former rate with which a busy destination begins again after an outage.
const RAMP_SHARE: f64 = 1.0 / 20.0;

/// Attempts a second at which a ramp ends at the earliest: by then it has run for some ten seconds.
const RAMP_END: f64 = 1_000.0;

/// The part of the former rate that a halved rate gains in a second: it takes ten seconds to be as fast as before.
const REGAIN: f64 = 1.0 / 20.0;

/// A learned rate this many times as high as what was needed lately limits nothing, and is forgotten.
const FORGET: f64 = 4.0;

/// The longest that a partner's `Retry-After` stops a whole destination: partners lie, and one attempt a minute finds out.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// A token bucket.
#[derive(Clone, Debug)]
struct Bucket {
    per_s: f64,
    burst: f64,
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        self.tokens = (self.tokens + self.per_s * now.since(self.at).as_secs_f64()).min(self.burst);
        self.at = self.at.max(now);
    }

    /// When this much is there; `None`: now. More than the burst counts as the burst.
    fn ready_at(&mut self, need: f64, now: Timestamp) -> Option<Timestamp> {
        self.refill(now);
        let missing = need.min(self.burst) - self.tokens;
        // A millionth of a token is what adding fractions loses.
        (missing > 1e-6).then(|| now.plus(Duration::from_millis((missing / self.per_s * 1e3).ceil() as u64)))
    }
}

/// The rates that were set: the partner's and the customer's. Both hold.
#[derive(Clone, Debug, Default)]
pub(in crate::delivery) struct Limits {
    requests: Vec<Bucket>,
    events: Vec<Bucket>,
}

impl Limits {
    /// Full buckets for these rates.
    pub fn new(rates: &[Rate], now: Timestamp) -> Self {
        let bucket = |per_s: f64, rate: &Rate| {
            let burst = rate.burst.map_or(per_s.max(1.0), f64::from);
            Bucket { per_s, burst, tokens: burst, at: now }
        };
        Self {
            requests: rates.iter().filter_map(|rate| Some(bucket(rate.requests_per_s?, rate))).collect(),
            events: rates.iter().filter_map(|rate| Some(bucket(rate.events_per_s?, rate))).collect(),
        }
    }

    /// The most events that may ever begin at once.
    pub fn most_events(&self) -> usize {
        self.events.iter().map(|bucket| bucket.burst as usize).min().unwrap_or(usize::MAX).max(1)
    }

    /// When an attempt with that many events may begin; `None`: now.
    pub fn ready_at(&mut self, events: usize, now: Timestamp) -> Option<Timestamp> {
        #[cfg(test)]
        if made(Mistake::SetRateIgnored) {
            return None;
        }
        let requests = self.requests.iter_mut().filter_map(|bucket| bucket.ready_at(1.0, now)).max();
        let events = self.events.iter_mut().filter_map(|bucket| bucket.ready_at(events as f64, now)).max();
        requests.max(events)
    }

    /// An attempt begins: it counts as one request until it is known how many it made.
    pub fn begin(&mut self, events: usize) {
        self.requests.iter_mut().for_each(|bucket| bucket.tokens -= 1.0);
        self.events.iter_mut().for_each(|bucket| bucket.tokens -= events as f64);
    }

    /// An attempt ended that made this many requests.
    pub fn end(&mut self, requests: u32) {
        let more = f64::from(requests) - 1.0;
        self.requests.iter_mut().for_each(|bucket| bucket.tokens = (bucket.tokens - more).min(bucket.burst));
    }
}

/// What was learned of a destination's speed.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Pace {
    learned: Option<Learned>,
    held_until: Option<Timestamp>,
    /// When the rate was last cut: attempts that began before say nothing new.
    cut_at: Option<Timestamp>,
    observed: Observed,
}

#[derive(Clone, Debug)]
struct Learned {
    bucket: Bucket,
    grown_at: Timestamp,
    growth: Growth,
}

#[derive(Clone, Copy, Debug)]
enum Growth {
    /// Doubles every second, and is forgotten when it comes to this many a second.
    Doubling { until: f64 },
    /// Gains this many a second every second.
    Adding { step: f64 },
}

/// Attempts that began, over the last seconds.
#[derive(Clone, Debug)]
struct Observed {
    since: Timestamp,
    count: u32,
    per_s: f64,
    peak: f64,
}

impl Observed {
    fn note(&mut self, now: Timestamp) {
        let secs = now.since(self.since).as_secs_f64();
        if secs >= 1.0 {
            let rate = f64::from(self.count) / secs;
            self.per_s = if secs >= 2.0 { rate } else { (self.per_s + rate) / 2.0 };
            // Halves in about a minute, so that last night's rate does not count for long.
            self.peak = (self.peak * 0.99_f64.powf(secs)).max(rate);
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
    }

    fn now(&self, now: Timestamp) -> f64 {
        let secs = now.since(self.since).as_secs_f64().max(1.0);
        self.per_s.max(f64::from(self.count) / secs)
    }
}

impl Pace {
    /// Nothing is known yet, so nothing is limited.
    pub fn new(now: Timestamp) -> Self {
        let observed = Observed { since: now, count: 0, per_s: 0.0, peak: 0.0 };
        Self { learned: None, held_until: None, cut_at: None, observed }
    }

    /// When the next attempt may begin; `None`: now.
    pub fn ready_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.held_until {
            if now < until {
                return Some(until);
            }
            self.held_until = None;
        }
        self.grow(now);
        self.learned.as_mut()?.bucket.ready_at(1.0, now)
    }

    /// An attempt begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.observed.note(now);
        if let Some(learned) = &mut self.learned {
            learned.bucket.tokens -= 1.0;
        }
    }

    /// The partner throttled, or did not answer in time. `wish`: how long it asked to be left alone.
    pub fn pushed_back(&mut self, started: Timestamp, wish: Option<Duration>, now: Timestamp) {
        #[cfg(test)]
        let wish = wish.filter(|_| !made(Mistake::HoldIgnored));
        if let Some(wish) = wish {
            let until = now.plus(wish.min(LONGEST_HOLD));
            self.held_until = Some(self.held_until.map_or(until, |before| before.max(until)));
        }
        #[cfg(test)]
        if made(Mistake::LearnedRateStays) {
            return;
        }
        if self.cut_at.is_some_and(|cut| started <= cut) {
            return;
        }
        self.cut_at = Some(now);
        // The first time it is not known whether a slow destination is slow because few events came.
        let (had, least) = self.learned.as_ref().map_or((f64::INFINITY, FIRST_CUT), |one| (one.bucket.per_s, SLOWEST));
        let per_s = (had.min(self.observed.now(now)) / 2.0).max(least);
        self.learn(per_s, Growth::Adding { step: 2.0 * per_s * REGAIN }, now);
    }

    /// The destination works again after an outage.
    pub fn restart(&mut self, now: Timestamp) {
        #[cfg(test)]
        if made(Mistake::RampMissing) {
            return;
        }
        self.held_until = None;
        let until = (2.0 * self.observed.peak).max(RAMP_END);
        self.learn((self.observed.peak * RAMP_SHARE).max(RAMP_START), Growth::Doubling { until }, now);
    }

    /// The learned rate in attempts a second, if there is one.
    pub fn learned_per_s(&self) -> Option<f64> {
        self.learned.as_ref().map(|learned| learned.bucket.per_s)
    }

    fn learn(&mut self, per_s: f64, growth: Growth, now: Timestamp) {
        let bucket = Bucket { per_s, burst: burst(per_s), tokens: 0.0, at: now };
        self.learned = Some(Learned { bucket, grown_at: now, growth });
    }

    fn grow(&mut self, now: Timestamp) {
        let Some(learned) = &mut self.learned else { return };
        learned.bucket.refill(now);
        let secs = now.since(learned.grown_at).as_secs_f64();
        learned.grown_at = now;
        let per_s = learned.bucket.per_s;
        let (grown, end) = match learned.growth {
            Growth::Doubling { until } => (per_s * secs.min(60.0).exp2(), until),
            Growth::Adding { step } => (per_s + step * secs, FORGET * self.observed.peak.max(1.0)),
        };
        learned.bucket.per_s = grown;
        learned.bucket.burst = burst(grown);
        if grown >= end {
            self.learned = None;
        }
    }
}

/// A tenth of a second's worth may begin at once.
fn burst(per_s: f64) -> f64 {
    (per_s / 10.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn at(ms: u64) -> Timestamp {
        T0.plus(Duration::from_millis(ms))
    }

    /// Begins whatever may begin in this many milliseconds, and says how many.
    fn begun(pace: &mut Pace, from: u64, ms: u64) -> usize {
        let mut count = 0;
        for now in from..from + ms {
            while pace.ready_at(at(now)).is_none() && count < 100_000 {
                pace.begin(at(now));
                count += 1;
                if pace.learned_per_s().is_none() {
                    break;
                }
            }
        }
        count
    }

    #[test]
    fn in_any_time_no_more_begins_than_rate_and_burst_allow() {
        let rate = Rate { requests_per_s: Some(10.0), events_per_s: None, burst: Some(5) };
        let mut limits = Limits::new(&[rate], T0);
        let mut begun = 0;
        for now in 0..10_000 {
            while limits.ready_at(1, at(now)).is_none() {
                limits.begin(1);
                begun += 1;
            }
        }
        assert!((104..=105).contains(&begun), "{begun}");
    }

    #[test]
    fn the_tighter_of_two_rates_holds_and_further_requests_are_paid_later() {
        let rate = |requests, events| Rate { requests_per_s: requests, events_per_s: events, burst: Some(10) };
        let mut limits = Limits::new(&[rate(Some(100.0), None), rate(None, Some(1.0))], T0);
        assert_eq!(limits.most_events(), 10);
        assert_eq!(limits.ready_at(10, T0), None);
        limits.begin(10);
        assert_eq!(limits.ready_at(10, T0), Some(at(10_000)));
        let mut limits = Limits::new(&[rate(Some(1.0), None)], T0);
        limits.begin(1);
        limits.end(12);
        assert_eq!(limits.ready_at(1, T0), Some(at(3_000)), "12 requests of a burst of 10");
    }

    #[test]
    fn a_push_back_halves_the_rate_once_for_all_that_was_under_way() {
        let mut pace = Pace::new(T0);
        for n in 0..200 {
            pace.begin(at(n * 10));
        }
        pace.pushed_back(at(1_500), None, at(2_000));
        pace.pushed_back(at(1_900), None, at(2_001));
        let learned = pace.learned_per_s().unwrap();
        assert!((45.0..56.0).contains(&learned), "{learned}");
        let next = begun(&mut pace, 2_000, 1_000);
        assert!((40..60).contains(&next), "{next}");
        assert!(pace.learned_per_s().unwrap() > learned, "it regains speed");
    }

    #[test]
    fn a_wish_to_be_left_alone_is_granted_for_a_minute_at_most() {
        let mut pace = Pace::new(T0);
        pace.begin(T0);
        pace.pushed_back(T0, Some(Duration::from_secs(7)), at(10));
        assert_eq!(pace.ready_at(at(20)), Some(at(7_010)));
        pace.pushed_back(at(20), Some(Duration::from_secs(86_400)), at(20));
        assert_eq!(pace.ready_at(at(7_010)), Some(at(60_020)));
    }

    #[test]
    fn after_an_outage_the_rate_doubles_every_second_until_nothing_is_limited() {
        let mut pace = Pace::new(T0);
        pace.restart(T0);
        let first = begun(&mut pace, 0, 1_000);
        let third = begun(&mut pace, 2_000, 1_000);
        assert!((1..=4).contains(&first), "{first}");
        assert!((8..=17).contains(&third), "{third}");
        begun(&mut pace, 3_000, 8_000);
        assert_eq!(pace.learned_per_s(), None);
    }
}
