//! Backlog: retries that were overdue when the process began, spread out again. Pure.
//!
//! What was due over hours while nothing ran would otherwise be due in one moment. Instead that time passes once more, quicker:
//! what was due first comes first, with the distances that there were, shortened alike.

use std::time::Duration;

use crate::model::Timestamp;

/// How long the whole backlog takes at most: hours of waiting are not made much longer by a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Below this, spreading would only delay.
const LEAST: Duration = Duration::from_secs(1);

/// What is due further ahead than this when a process begins comes nearer: by default nothing waits longer, so the clock was set back.
const FARTHEST: Duration = Duration::from_secs(3600);

/// How far the newest id may lie ahead without a sign that the clock was set back: clocks that are kept right are moved by less.
pub(crate) const DRIFT: Duration = Duration::from_secs(60);

/// How far ahead retries stay where they are. `set_back`: it is known that the clock was.
pub(super) fn farthest(set_back: bool) -> Duration {
    if set_back { LONGEST } else { FARTHEST }
}

/// When a retry is due for a process that begins now. After a clock was set back by hours, what was due within minutes would be
/// due within hours: it comes within one minute instead, spread as it was. `set_back`: it is known that it was.
pub(crate) fn nearer(due: Timestamp, now: Timestamp, set_back: bool) -> Timestamp {
    let ahead = due.since(now);
    if ahead <= farthest(set_back) {
        return due;
    }
    let ms = ahead.as_millis() % LONGEST.as_millis();
    now.plus(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// The retries of one destination that were due before the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Backlog {
    /// When the first of them was due.
    oldest: Timestamp,
    /// When the process began.
    opened: Timestamp,
    /// How long it takes until the last of them is let through.
    window: Duration,
}

impl Backlog {
    /// The backlog of a destination whose first retry was due then; none if there is nothing worth spreading.
    pub fn new(oldest: Timestamp, opened: Timestamp) -> Option<Self> {
        let behind = opened.since(oldest);
        (behind >= LEAST).then(|| Self { oldest, opened, window: behind.min(LONGEST) })
    }

    /// When the process began: what was due later is not part of this.
    pub fn opened(&self) -> Timestamp {
        self.opened
    }

    /// Up to which due time retries are let through now; none once all of them are.
    pub fn through(&self, now: Timestamp) -> Option<Timestamp> {
        let passed = now.since(self.opened);
        if passed >= self.window {
            return None;
        }
        let share = passed.as_secs_f64() / self.window.as_secs_f64();
        Some(self.oldest.plus(self.opened.since(self.oldest).mul_f64(share)))
    }

    /// When a retry that was due then is let through.
    pub fn when(&self, due: Timestamp) -> Timestamp {
        if due > self.opened {
            return due;
        }
        let span = self.opened.since(self.oldest).as_secs_f64();
        let share = due.since(self.oldest).as_secs_f64() / span;
        // One more, since both roundings may cut a millisecond off.
        self.opened.plus(self.window.mul_f64(share)).plus(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + ms)
    }

    #[test]
    fn after_the_clock_was_set_back_what_is_due_comes_within_a_minute_and_otherwise_when_it_was_to() {
        let (minute, hour) = (60_000, 3_600_000);
        let cases = [
            (0, true, 0),
            (minute, true, minute),
            (minute + 1, true, 1),
            (minute + 1, false, minute + 1),
            (hour, false, hour),
            (3 * hour + 500, false, 500),
            (3 * hour + 500, true, 500),
        ];
        for (ahead, set_back, wanted) in cases {
            assert_eq!(nearer(at(ahead), at(0), set_back), at(wanted), "{ahead} ms ahead, {set_back}");
        }
        assert_eq!(nearer(at(0), at(5), true), at(0), "what was due stays due");
    }

    #[test]
    fn hours_pass_again_in_a_minute_and_seconds_in_seconds() {
        let hours = Backlog::new(at(0), at(7_200_000)).unwrap();
        assert_eq!(hours.through(at(7_200_000)), Some(at(0)));
        assert_eq!(hours.through(at(7_230_000)), Some(at(3_600_000)));
        assert_eq!(hours.through(at(7_260_000)), None);
        let seconds = Backlog::new(at(0), at(4_000)).unwrap();
        assert_eq!(seconds.through(at(6_000)), Some(at(2_000)));
        assert_eq!(Backlog::new(at(0), at(999)), None);
        assert_eq!(Backlog::new(at(5_000), at(0)), None);
    }

    proptest! {
        #[test]
        fn everything_is_through_at_its_time_oldest_first_and_what_is_due_later_is_not_held(
            behind in 1_000_u64..100_000_000, due in 0_u64..100_000_000, later in 0_u64..1_000_000,
        ) {
            let backlog = Backlog::new(at(0), at(behind)).unwrap();
            let due = at(due.min(behind));
            let when = backlog.when(due);
            prop_assert!(backlog.through(when).is_none_or(|through| through >= due));
            prop_assert!(when <= at(behind).plus(LONGEST).plus(Duration::from_millis(1)));
            prop_assert!(backlog.when(due.plus(Duration::from_millis(later))) >= when || due.plus(Duration::from_millis(later)) > at(behind));
            prop_assert_eq!(backlog.when(at(behind + 1 + later)), at(behind + 1 + later));
        }
    }
}
