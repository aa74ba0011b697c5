//! Decide: outcome, attempt, policy, now → settle, or try again at a time.
//!
//! Guarantees: pure. A host fault costs no attempt; nothing is tried after its window; the wait is random
//! between zero and an exponentially growing bound ("full jitter"), so that what failed together does not return together.

use std::time::Duration;

use crate::model::{Outcome, OutcomeCode, Timestamp};

/// When a failed delivery is tried again. Data: the same for every step that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// How long after its acceptance a delivery is tried.
    pub window: Duration,
    /// The bound of the first wait. Doubles with every attempt.
    pub first_wait: Duration,
    /// The greatest bound of a wait.
    pub longest_wait: Duration,
}

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
        if now >= end {
            return Disposition::Dead;
        }
        let earliest = now.plus(wish.unwrap_or_default());
        if earliest > end {
            return Disposition::Dead;
        }
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
    fn a_wish_to_wait_is_honoured_unless_it_leaves_the_window() {
        let wish = |secs| Outcome {
            retry_after: Some(Duration::from_secs(secs)),
            ..outcome(OutcomeCode::Retry, String::new())
        };
        assert_eq!(decide(&wish(30), 1, 0, 0), Disposition::RetryAt(ACCEPTED.plus(Duration::from_secs(30))));
        assert_eq!(decide(&wish(200), 1, 0, 0), Disposition::Dead);
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
                    prop_assert!(at >= now.plus(outcome.retry_after.unwrap_or_default()));
                }
                Disposition::Dead => prop_assert!(after_ms >= 100_000 || wish.is_some()),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
