//! Conclude: what an attempt's report means, for each of its deliveries and for their lane.
//!
//! Guarantees: pure. Every delivery that goes in comes out: decided, or back in the lane. A batch that failed as a
//! whole and for good is cut in halves, until the event that is at fault stands alone: being part of it costs the others no
//! attempt. A customer's wrong settings and a partner's "no" say nothing bad about the destination's speed.

use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{Answer, ClaimedDelivery, Ending, InvocationReport, Outcome, OutcomeCode, Timestamp};

use super::classify::classify;
use super::retry::{Disposition, RetryPolicy};
use super::schedule::{Back, Ended, Fate, Item, Sight};
use crate::store::Failure;

/// The status by which a partner asks for less, whether or not it says for how long.
const TOO_MANY_REQUESTS: u16 = 429;

/// What a destination's failed deliveries are tried by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Policies {
    /// Most of them.
    pub plain: RetryPolicy,
    /// Those that others wait behind.
    pub ordered: RetryPolicy,
    /// An attempt that takes longer is slow.
    pub slow: Duration,
}

/// What an attempt came to.
pub(super) struct Concluded {
    /// What becomes of deliveries.
    pub decided: Vec<Decided>,
    /// What the lane has to know.
    pub ended: Ended,
    /// How one of the deliveries failed, if any did in a way that another attempt may mend.
    pub failure: Option<Failure>,
}

/// One delivery's end of an attempt.
pub(super) struct Decided {
    pub item: Item,
    pub outcome: Outcome,
    pub disposition: Disposition,
}

/// Reads an attempt's report. `dice` gives uniformly random numbers.
pub(super) fn conclude(
    mut items: Vec<Item>,
    report: &InvocationReport,
    policies: &Policies,
    now: Timestamp,
    mut dice: impl FnMut() -> u64,
) -> Concluded {
    let mut ended = Ended {
        wall: Duration::from_secs_f64(report.used.wall_ms.max(0.0) / 1e3),
        cpu: Duration::from_secs_f64(report.used.cpu_ms.max(0.0) / 1e3),
        // Those whose turn did not come cost the partner nothing.
        requests: u32::try_from(report.requests.len()).unwrap_or(u32::MAX),
        events: items.len(),
        ..Ended::default()
    };
    if matches!(report.ending, Ending::HostFault(_)) {
        ended.back = Back::Fault(items);
        return Concluded { decided: Vec::new(), ended, failure: None };
    }
    let outcomes = classify(report, items.len());
    ended.sight = Some(sight(report, &outcomes, ended.wall >= policies.slow));
    ended.pushed_back = pushed_back(report, &outcomes);
    ended.too_large = matches!(report.ending, Ending::LimitExceeded { .. } | Ending::DeadlineExceeded { .. });
    let failure = items.iter().zip(&outcomes).find(|(_, outcome)| outcome.retryable).map(|(item, outcome)| Failure {
        delivery: item.delivery.id,
        code: outcome.code,
        message: outcome.message.clone(),
    });
    if items.len() > 1 && failed_as_a_whole(&report.ending) {
        let second = items.split_off(items.len().div_ceil(2));
        ended.back = Back::Pieces([items, second]);
        return Concluded { decided: Vec::new(), ended, failure };
    }
    let mut decided = Vec::with_capacity(items.len());
    for (item, outcome) in items.into_iter().zip(outcomes) {
        let policy = if item.delivery.key.is_some() { &policies.ordered } else { &policies.plain };
        let disposition = policy.decide(&outcome, item.delivery.attempt, begun(&item.delivery, now), now, dice());
        ended.outcomes[outcome.code as usize] += 1;
        if let Some(key) = item.delivery.key {
            let over = !matches!(disposition, Disposition::RetryAt(_));
            ended.fates.push(Fate { key, stored: item.delivery.again, over });
        }
        decided.push(Decided { item, outcome, disposition });
    }
    Concluded { decided, ended, failure }
}

/// When the retry window of a delivery began that failed now: with its first attempt, so that what had to wait for it, for a pause
/// or a rate, has all of it. Where others wait behind it, with its acceptance: theirs would add up.
pub(super) fn begun(delivery: &ClaimedDelivery, now: Timestamp) -> Timestamp {
    if delivery.again || delivery.key.is_some() { delivery.accepted_at } else { now }
}

/// Whether nothing of a batch can be told from the rest, and trying the same again would fail again.
fn failed_as_a_whole(ending: &Ending) -> bool {
    #[cfg(test)]
    if made(Mistake::BisectionMissing) {
        return false;
    }
    match ending {
        Ending::Trapped(_) | Ending::LimitExceeded { .. } => true,
        Ending::Answered(answers) => match answers.first() {
            Some(first @ (Answer::Rejected(_) | Answer::Failed { .. })) => answers.iter().all(|other| other == first),
            Some(Answer::Delivered | Answer::Unsupported | Answer::Retry { .. } | Answer::InvalidSettings(_))
            | None => false,
        },
        Ending::WrongAnswerCount { .. } | Ending::DeadlineExceeded { .. } | Ending::HostFault(_) => false,
    }
}

fn sight(report: &InvocationReport, outcomes: &[Outcome], slow: bool) -> Sight {
    if slow || matches!(report.ending, Ending::LimitExceeded { .. } | Ending::DeadlineExceeded { .. }) {
        return Sight::Slow;
    }
    // A partner that throttles answers: the rate deals with it.
    let throttles = report.requests.iter().any(|request| request.status == Some(TOO_MANY_REQUESTS));
    let partners = |outcome: &&Outcome| outcome.retryable && outcome.code != OutcomeCode::BadRequest;
    let failed = outcomes.iter().filter(partners).count();
    if !throttles && failed > 0 && failed * 2 >= outcomes.len() { Sight::Failed } else { Sight::Good }
}

/// Whether the partner asked for less, and perhaps for how long.
fn pushed_back(report: &InvocationReport, outcomes: &[Outcome]) -> Option<Option<Duration>> {
    if matches!(report.ending, Ending::DeadlineExceeded { .. }) {
        return Some(None);
    }
    // Whoever fails and says when to come back is as good as one that throttles.
    let asks = |status: u16, wish: Option<u64>| status == TOO_MANY_REQUESTS || status >= 400 && wish.is_some();
    let asked = report
        .requests
        .iter()
        .rev()
        .find(|request| request.status.is_some_and(|status| asks(status, request.retry_after_secs)))?;
    let wish = outcomes.iter().filter_map(|outcome| outcome.retry_after).max();
    Some(wish.or(asked.retry_after_secs.map(Duration::from_secs)))
}
