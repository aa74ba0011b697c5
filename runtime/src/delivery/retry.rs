//! Decide: outcome, attempt, policy, now → settle, or try again at a time.
//!
//! Guarantees: pure. A host fault costs no attempt; nothing is tried after its window; the wait is random
//! between zero and an exponentially growing bound ("full jitter"), so that what failed together does not return together.

use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{ManifestRetry, Outcome, OutcomeCode, Timestamp};

/// When a failed delivery is tried again. Data: the same for every step that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// How long after its acceptance a delivery is tried.
    pub window: Duration,
    /// The bound of the first wait. Doubles with every attempt.
    pub first_wait: Duration,
    /// The greatest bound of a wait.
    pub longest_wait: Duration,
    /// How many attempts at most; absent: as many as the window has room for.
    pub attempts: Option<u32>,
    /// The longest that a partner's or a function's wish to wait is granted.
    pub longest_wish: Duration,
}

/// Attempts after which an error that is the function's breach of its contract is tried no more: a new version may
/// be there by the second one.
const CONTRACT_ATTEMPTS: u32 = 2;

/// Waits of a delivery that others wait behind: this many at least fit into its window.
const ORDERED_WAITS: u32 = 10;

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Over: the partner has it.
    Delivered,
    /// Over: the function does nothing with such events.
    Unsupported,
    /// Over: it failed for good.
    Dead,
    /// Not over: the next attempt is due then.
    RetryAt(Timestamp),
    /// Not over, and this was no attempt.
    Release,
}

impl RetryPolicy {
    /// The schedule that a function asks for, within this one.
    pub fn narrowed(&self, asked: &ManifestRetry) -> Self {
        let wait = |asked: Option<u64>, host: Duration| asked.map_or(host, Duration::from_millis);
        let longest_wait = wait(asked.longest_wait_ms, self.longest_wait).min(self.longest_wait).max(self.first_wait);
        Self {
            window: asked.window_s.map_or(self.window, Duration::from_secs).min(self.window),
            first_wait: wait(asked.first_wait_ms, self.first_wait).clamp(self.first_wait, longest_wait),
            longest_wait,
            attempts: asked.attempts.or(self.attempts),
            longest_wish: self.longest_wish,
        }
    }

    /// The same for a delivery that others wait behind: given up after this time, and tried more often in it.
    pub fn ordered(&self, window: Duration) -> Self {
        let window = self.window.min(window);
        let longest_wait = self.longest_wait.min(window / ORDERED_WAITS).max(Duration::from_millis(1));
        Self { window, longest_wait, first_wait: self.first_wait.min(longest_wait), ..self.clone() }
    }

    /// What becomes of a delivery accepted at `accepted` after attempt number `attempt` ended in `outcome` at `now`.
    /// `dice` is a uniformly random number.
    pub fn decide(
        &self,
        outcome: &Outcome,
        attempt: u32,
        accepted: Timestamp,
        now: Timestamp,
        dice: u64,
    ) -> Disposition {
        match outcome.code {
            OutcomeCode::Delivered => Disposition::Delivered,
            OutcomeCode::UnsupportedEventType => Disposition::Unsupported,
            OutcomeCode::Internal => Disposition::Release,
            _ if !outcome.retryable => Disposition::Dead,
            OutcomeCode::BadRequest if attempt >= CONTRACT_ATTEMPTS => Disposition::Dead,
            _ if self.attempts.is_some_and(|most| attempt >= most) => Disposition::Dead,
            _ => self.again(outcome.retry_after, attempt, accepted, now, dice),
        }
    }

    fn again(
        &self,
        wish: Option<Duration>,
        attempt: u32,
        accepted: Timestamp,
        now: Timestamp,
        dice: u64,
    ) -> Disposition {
        let end = accepted.plus(self.window);
        #[cfg(test)]
        if made(Mistake::GivenUpEarly) {
            return Disposition::Dead;
        }
        #[cfg(test)]
        if made(Mistake::FailureTakenForSuccess) {
            return Disposition::Delivered;
        }
        #[cfg(test)]
        let wish = wish.filter(|_| !made(Mistake::WishIgnored));
        if now >= end {
            return Disposition::Dead;
        }
        // A wish beyond the window leaves one last attempt at its end: partners exaggerate.
        let earliest = now.plus(wish.unwrap_or_default().min(self.longest_wish));
        let wait = Duration::from_millis(dice % self.bound_ms(attempt).saturating_add(1));
        Disposition::RetryAt(now.plus(wait).max(earliest).min(end))
    }

    fn bound_ms(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(63);
        let bound = millis(self.first_wait).saturating_mul(1 << doublings);
        bound.min(millis(self.longest_wait))
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::classify::outcome;
    use super::*;

    const ACCEPTED: Timestamp = Timestamp::from_millis(1_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            window: Duration::from_secs(100),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(8),
            attempts: None,
            longest_wish: Duration::from_secs(60),
        }
    }

    fn decide(outcome: &Outcome, attempt: u32, after_ms: u64, dice: u64) -> Disposition {
        policy().decide(outcome, attempt, ACCEPTED, ACCEPTED.plus(Duration::from_millis(after_ms)), dice)
    }

    #[test]
    fn each_outcome_has_one_disposition() {
        for code in OutcomeCode::ALL {
            let wanted = match code {
                OutcomeCode::Delivered => Disposition::Delivered,
                OutcomeCode::UnsupportedEventType => Disposition::Unsupported,
                OutcomeCode::Internal => Disposition::Release,
                OutcomeCode::Retry | OutcomeCode::GatewayTimeout | OutcomeCode::TooManyRequests => {
                    Disposition::RetryAt(ACCEPTED.plus(Duration::from_millis(500)))
                }
                _ => Disposition::Dead,
            };
            assert_eq!(decide(&outcome(code, String::new()), 1, 0, 500), wanted, "{code:?}");
        }
    }

    #[test]
    fn the_bound_of_the_wait_doubles_up_to_the_longest() {
        for (attempt, bound) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000), (5, 8_000), (1_000, 8_000)] {
            assert_eq!(policy().bound_ms(attempt), bound, "attempt {attempt}");
        }
    }

    #[test]
    fn a_wish_to_wait_is_granted_up_to_its_bound_and_to_the_end_of_the_window() {
        let wish = |secs| Outcome {
            retry_after: Some(Duration::from_secs(secs)),
            ..outcome(OutcomeCode::Retry, String::new())
        };
        let at = |secs| Disposition::RetryAt(ACCEPTED.plus(Duration::from_secs(secs)));
        assert_eq!(decide(&wish(30), 1, 0, 0), at(30));
        assert_eq!(decide(&wish(1_000_000), 1, 0, 0), at(60), "nobody believes that");
        assert_eq!(decide(&wish(60), 1, 50_000, 0), at(100), "one last attempt");
        assert_eq!(decide(&wish(60), 1, 100_000, 0), Disposition::Dead);
    }

    #[test]
    fn a_function_narrows_the_schedule_and_cannot_widen_it() {
        let asked = |window_s, first_wait_ms, longest_wait_ms, attempts| ManifestRetry {
            window_s,
            first_wait_ms,
            longest_wait_ms,
            attempts,
        };
        let narrow = policy().narrowed(&asked(Some(10), Some(2_000), Some(4_000), Some(3)));
        assert_eq!((narrow.window, narrow.attempts), (Duration::from_secs(10), Some(3)));
        assert_eq!((narrow.bound_ms(1), narrow.bound_ms(9)), (2_000, 4_000));
        let wide = policy().narrowed(&asked(Some(1_000), Some(1), Some(600_000), None));
        assert_eq!(wide, policy());
        let retry = outcome(OutcomeCode::Retry, String::new());
        assert_eq!(narrow.decide(&retry, 3, ACCEPTED, ACCEPTED, 0), Disposition::Dead, "three attempts were asked for");
        assert!(matches!(narrow.decide(&retry, 2, ACCEPTED, ACCEPTED, 0), Disposition::RetryAt(_)));
    }

    #[test]
    fn a_breach_of_the_contract_is_tried_once_more() {
        let breach = Outcome { retryable: true, ..outcome(OutcomeCode::BadRequest, String::new()) };
        assert!(matches!(decide(&breach, 1, 0, 0), Disposition::RetryAt(_)));
        assert_eq!(decide(&breach, 2, 0, 0), Disposition::Dead);
    }

    #[test]
    fn what_others_wait_behind_is_given_up_sooner_and_tried_more_often() {
        let ordered = policy().ordered(Duration::from_secs(10));
        assert_eq!((ordered.window, ordered.longest_wait), (Duration::from_secs(10), Duration::from_secs(1)));
        assert_eq!(policy().ordered(Duration::from_secs(1_000)).window, policy().window);
    }

    proptest! {
        #[test]
        fn a_retry_lies_between_now_and_the_windows_end_and_after_it_all_is_dead(
            attempt in 1u32.., after_ms in 0u64..200_000, dice: u64, wish in proptest::option::of(0u64..1_000),
        ) {
            let outcome = Outcome { retry_after: wish.map(Duration::from_secs), ..outcome(OutcomeCode::Retry, String::new()) };
            let now = ACCEPTED.plus(Duration::from_millis(after_ms));
            match decide(&outcome, attempt, after_ms, dice) {
                Disposition::RetryAt(at) => {
                    prop_assert!(at >= now && at <= ACCEPTED.plus(Duration::from_millis(100_000)));
                    let wish = outcome.retry_after.unwrap_or_default().min(Duration::from_secs(60));
                    prop_assert!(at >= now.plus(wish).min(ACCEPTED.plus(Duration::from_millis(100_000))));
                }
                Disposition::Dead => prop_assert!(after_ms >= 100_000),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
