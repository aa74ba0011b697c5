//! Breaker: whether a destination is worth an attempt at all.
//!
//! Guarantees: pure. It opens on a share of failed attempts, and sooner on slow ones, which hold places and processors;
//! while it is open one attempt at a time probes, after waits that double; a probe that works closes it. It is one
//! destination's: what happens to another use of the same function never counts here, and neither does an error that
//! is the customer's, the event's or the host's own.

use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::Timestamp;

/// When a breaker opens and probes. From the operator's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerPolicy {
    /// Percent of the latest attempts that must have failed, or been slow, for it to open: 1 to 100.
    pub failure_percent: u32,
    /// The latest attempts that are looked at, 2 to [`BreakerPolicy::MOST_ATTEMPTS`]. A quarter of them is enough for slow ones.
    pub attempts: u32,
    /// An attempt that takes longer is slow.
    pub slow: Duration,
    /// How long it waits before its first probe. Doubles with every probe that fails.
    pub first_probe: Duration,
    /// The longest wait between probes.
    pub longest_probe: Duration,
}

impl BreakerPolicy {
    /// The most attempts that can be looked at.
    pub const MOST_ATTEMPTS: u32 = 64;
}

/// What one attempt says about its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) enum Sight {
    /// The partner answers: also with "no", for that is about the event or the settings.
    Good,
    /// The partner could not take it.
    Failed,
    /// It took too long, or too much of the host.
    Slow,
}

/// Why a breaker is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) enum Why {
    Failures,
    Slowness,
}

impl Why {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Slowness => "slowness",
        }
    }
}

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) enum State {
    /// Everything may pass.
    Closed,
    /// Nothing may pass before then; then one attempt.
    Open { why: Why, until: Timestamp },
    /// That attempt is under way.
    Probing { why: Why },
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::delivery) enum Change {
    Opened(Why),
    Closed,
}

/// One destination's breaker.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Breaker {
    state: State,
    /// When it last opened or closed.
    since: Timestamp,
    /// When it opened for the first time, or after it had been closed for long; short closings in between do not count.
    troubled: Option<Timestamp>,
    /// Whether each of the latest attempts failed or was slow, the newest in the lowest bit.
    failed: u64,
    slow: u64,
    seen: u32,
    /// Probes that failed in a row; each doubles the wait.
    in_row: u32,
}

/// How long it must have been closed for the next opening to begin with short waits again.
const STABLE: Duration = Duration::from_secs(60);

impl Breaker {
    pub fn new(now: Timestamp) -> Self {
        Self { state: State::Closed, since: now, troubled: None, failed: 0, slow: 0, seen: 0, in_row: 0 }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Since when it has not been closed for long, while it is not closed.
    pub fn troubled_since(&self) -> Timestamp {
        self.troubled.unwrap_or(self.since)
    }

    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When an attempt may begin: `Ok` now, `Err(Some)` at that time, `Err(None)` when the probe has ended.
    pub fn permits(&self, now: Timestamp) -> Result<(), Option<Timestamp>> {
        #[cfg(test)]
        if made(Mistake::ProbesUnbounded) {
            return Ok(());
        }
        match self.state {
            State::Closed => Ok(()),
            State::Open { until, .. } if now >= until => Ok(()),
            State::Open { until, .. } => Err(Some(until)),
            State::Probing { .. } => Err(None),
        }
    }

    /// An attempt begins; whether it is a probe.
    pub fn begin(&mut self) -> bool {
        let State::Open { why, .. } = self.state else { return false };
        self.state = State::Probing { why };
        true
    }

    /// A probe ended and said nothing: the next one may begin at once.
    pub fn probe_void(&mut self, now: Timestamp) {
        if let State::Probing { why } = self.state {
            self.state = State::Open { why, until: now };
        }
    }

    /// An attempt ended. What began before the breaker opened does not count once it is open.
    pub fn saw(
        &mut self,
        sight: Sight,
        probe: bool,
        policy: &BreakerPolicy,
        dice: u64,
        now: Timestamp,
    ) -> Option<Change> {
        match self.state {
            State::Closed => {
                self.note(sight);
                let why = self.broken(policy)?;
                if now.since(self.since) >= STABLE {
                    self.in_row = 0;
                    self.troubled = None;
                }
                self.troubled = self.troubled.or(Some(now));
                self.since = now;
                self.open(why, policy, dice, now);
                Some(Change::Opened(why))
            }
            State::Probing { why } if probe => {
                if sight == Sight::Good {
                    (self.state, self.since) = (State::Closed, now);
                    (self.failed, self.slow, self.seen) = (0, 0, 0);
                    return Some(Change::Closed);
                }
                self.open(why, policy, dice, now);
                None
            }
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    fn note(&mut self, sight: Sight) {
        self.failed = self.failed << 1 | u64::from(sight != Sight::Good);
        self.slow = self.slow << 1 | u64::from(sight == Sight::Slow);
        self.seen = (self.seen + 1).min(BreakerPolicy::MOST_ATTEMPTS);
    }

    fn broken(&self, policy: &BreakerPolicy) -> Option<Why> {
        #[cfg(test)]
        if made(Mistake::BreakerStaysClosed) {
            return None;
        }
        let share = |bits: u64, attempts: u32| {
            let mask = u64::MAX >> (64 - attempts.clamp(1, 64));
            self.seen >= attempts && (bits & mask).count_ones() * 100 >= attempts * policy.failure_percent
        };
        if share(self.slow, (policy.attempts / 4).max(2)) {
            return Some(Why::Slowness);
        }
        share(self.failed, policy.attempts).then_some(Why::Failures)
    }

    /// Half to the whole of a wait that doubles, so that destinations of one partner do not probe together.
    fn open(&mut self, why: Why, policy: &BreakerPolicy, dice: u64, now: Timestamp) {
        let wait = policy.first_probe.saturating_mul(1 << self.in_row.min(16)).min(policy.longest_probe);
        self.in_row = self.in_row.saturating_add(1);
        let half = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
        let until = now.plus(Duration::from_millis(half.saturating_add(dice % (half + 1))));
        self.state = State::Open { why, until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    const POLICY: BreakerPolicy = BreakerPolicy {
        failure_percent: 50,
        attempts: 20,
        slow: Duration::from_secs(3),
        first_probe: Duration::from_secs(1),
        longest_probe: Duration::from_secs(30),
    };

    fn after(sights: &[Sight]) -> Breaker {
        let mut breaker = Breaker::new(T0);
        for sight in sights {
            breaker.saw(*sight, false, &POLICY, 0, T0);
        }
        breaker
    }

    #[test]
    fn it_opens_on_the_share_of_failures_and_not_below_it() {
        let (good, failed) = ([Sight::Good; 10], [Sight::Failed; 10]);
        assert!(!after(&[good, failed].concat()).is_closed());
        assert!(after(&[&good[..], &failed[..9]].concat()).is_closed(), "nine of the latest twenty");
        assert!(after(&[Sight::Failed; 19]).is_closed(), "too few to tell");
        assert!(after(&[&failed[..9], &good[..], &good[..1]].concat()).is_closed());
    }

    #[test]
    fn slow_attempts_open_it_sooner() {
        assert!(after(&[Sight::Slow; 4]).is_closed());
        let breaker = after(&[Sight::Slow; 5]);
        assert!(matches!(breaker.state(), State::Open { why: Why::Slowness, .. }), "{breaker:?}");
    }

    #[test]
    fn one_probe_at_a_time_after_waits_that_double_and_one_that_works_closes_it() {
        let mut breaker = after(&[Sight::Failed; 20]);
        let mut now = T0;
        for wait in [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000] {
            let until = now.plus(Duration::from_millis(wait));
            assert_eq!(breaker.permits(now), Err(Some(until)));
            assert_eq!(breaker.permits(until), Ok(()));
            assert!(breaker.begin());
            assert_eq!(breaker.permits(until), Err(None), "one is under way");
            assert_eq!(breaker.saw(Sight::Good, false, &POLICY, 0, until), None, "it began before the breaker opened");
            assert_eq!(breaker.saw(Sight::Failed, true, &POLICY, 0, until), None);
            now = until;
        }
        now = now.plus(Duration::from_secs(30));
        breaker.begin();
        assert_eq!(breaker.saw(Sight::Good, true, &POLICY, 0, now), Some(Change::Closed));
        assert_eq!(breaker.permits(now), Ok(()));
        assert!(!breaker.begin(), "no probe any more");
    }

    #[test]
    fn a_probe_that_says_nothing_is_repeated_at_once() {
        let mut breaker = after(&[Sight::Failed; 20]);
        breaker.begin();
        breaker.probe_void(T0);
        assert_eq!(breaker.permits(T0), Ok(()));
    }
}
