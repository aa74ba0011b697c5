//! Classify: what an invocation did → how each delivery's attempt ended.
//!
//! Guarantees: pure, and the only place where an ending becomes an [`Outcome`]. It reads values, never texts.
//! What to do about an outcome is decided in `retry`.

use std::time::Duration;

use crate::model::{Answer, Ending, Exchange, InvocationReport, Outcome, OutcomeCode};

/// The outcomes of an invocation that was given `events` events, in their order.
pub fn classify(report: &InvocationReport, events: usize) -> Vec<Outcome> {
    let all = |outcome: Outcome| vec![outcome; events];
    match &report.ending {
        Ending::Answered(answers) => answers.iter().map(|answer| of_answer(answer, &report.requests)).collect(),
        Ending::WrongAnswerCount { events, answers } => all(Outcome {
            retryable: true,
            ..outcome(
                OutcomeCode::BadRequest,
                format!(
                    "the function returned {answers} answers for {events} events; it must return one for each, in order, \
                     so it is not known what became of this one: it is tried once more, then given up"
                ),
            )
        }),
        Ending::Trapped(how) => all(outcome(OutcomeCode::BadRequest, format!("the function crashed: {how}"))),
        Ending::LimitExceeded { message, .. } => all(outcome(OutcomeCode::LimitExceeded, message.clone())),
        Ending::DeadlineExceeded { after } => all(outcome(
            OutcomeCode::GatewayTimeout,
            format!("not finished within the deadline of {} ms (`limits.deadline_ms`)", after.as_millis()),
        )),
        Ending::HostFault(what) => all(outcome(OutcomeCode::Internal, what.clone())),
    }
}

/// An outcome that was known without running the guest.
pub fn outcome(code: OutcomeCode, message: String) -> Outcome {
    let retryable = match code {
        OutcomeCode::Retry | OutcomeCode::GatewayTimeout | OutcomeCode::TooManyRequests | OutcomeCode::Internal => true,
        OutcomeCode::Delivered
        | OutcomeCode::UnsupportedEventType
        | OutcomeCode::MessageRejected
        | OutcomeCode::BadRequest
        | OutcomeCode::InvalidSettings
        | OutcomeCode::LimitExceeded
        | OutcomeCode::EgressDenied => false,
    };
    Outcome { code, message, retryable, error: None, retry_after: None }
}

fn of_answer(answer: &Answer, requests: &[Exchange]) -> Outcome {
    match answer {
        Answer::Delivered => outcome(OutcomeCode::Delivered, String::new()),
        Answer::Unsupported => {
            outcome(OutcomeCode::UnsupportedEventType, "the function does nothing with this type of event".to_owned())
        }
        Answer::Rejected(why) => outcome(OutcomeCode::MessageRejected, why.clone()),
        Answer::InvalidSettings(why) => outcome(OutcomeCode::InvalidSettings, why.clone()),
        Answer::Retry { message, after } => Outcome {
            retry_after: after.or_else(|| partners_wish(requests)),
            ..outcome(OutcomeCode::Retry, message.clone())
        },
        Answer::Failed { name, message } => {
            let denied = requests.last().is_some_and(|last| last.denied);
            let code = if denied { OutcomeCode::EgressDenied } else { OutcomeCode::BadRequest };
            Outcome { error: Some(name.clone()), ..outcome(code, message.clone()) }
        }
    }
}

/// How long the partner asked to wait in the last response that said so.
fn partners_wish(requests: &[Exchange]) -> Option<Duration> {
    requests.iter().rev().find_map(|request| request.retry_after_secs).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Limit, Limits, Used};

    fn report(ending: Ending, requests: Vec<Exchange>) -> InvocationReport {
        InvocationReport { ending, requests, log: Vec::new(), used: Used::default(), limits: Limits::default() }
    }

    fn exchange(status: Option<u16>, retry_after_secs: Option<u64>, denied: bool) -> Exchange {
        Exchange {
            method: "POST".into(),
            url: "https://api.example.com/".into(),
            headers: std::sync::Arc::default(),
            body: Bytes::new(),
            status,
            retry_after_secs,
            answer: Bytes::new(),
            error: None,
            denied,
            ms: 1,
            began: Duration::ZERO,
            took: Duration::from_millis(1),
        }
    }

    #[test]
    fn every_ending_has_its_code_and_only_passing_troubles_are_retryable() {
        let failed = Answer::Failed { name: "TypeError".into(), message: "x is not a function".into() };
        let retry = Answer::Retry { message: "later".into(), after: None };
        let cases = [
            (Ending::Answered(vec![Answer::Delivered]), OutcomeCode::Delivered, false),
            (Ending::Answered(vec![Answer::Unsupported]), OutcomeCode::UnsupportedEventType, false),
            (Ending::Answered(vec![Answer::Rejected("no id".into())]), OutcomeCode::MessageRejected, false),
            (Ending::Answered(vec![Answer::InvalidSettings("key".into())]), OutcomeCode::InvalidSettings, false),
            (Ending::Answered(vec![retry]), OutcomeCode::Retry, true),
            (Ending::Answered(vec![failed]), OutcomeCode::BadRequest, false),
            (Ending::WrongAnswerCount { events: 1, answers: 0 }, OutcomeCode::BadRequest, true),
            (Ending::Trapped("unreachable".into()), OutcomeCode::BadRequest, false),
            (Ending::LimitExceeded { limit: Limit::CpuMs, message: "cpu".into() }, OutcomeCode::LimitExceeded, false),
            (Ending::DeadlineExceeded { after: Duration::from_secs(5) }, OutcomeCode::GatewayTimeout, true),
            (Ending::HostFault("disk".into()), OutcomeCode::Internal, true),
        ];
        for (ending, code, retryable) in cases {
            let outcomes = classify(&report(ending.clone(), Vec::new()), 1);
            assert_eq!(outcomes.len(), 1, "{ending:?}");
            assert_eq!((outcomes[0].code, outcomes[0].retryable), (code, retryable), "{ending:?}");
        }
    }

    #[test]
    fn an_ending_without_answers_holds_for_every_event_of_the_batch() {
        assert_eq!(classify(&report(Ending::Trapped("x".into()), Vec::new()), 3).len(), 3);
    }

    #[test]
    fn a_failure_over_a_denied_request_is_named_after_the_denial() {
        let failed = Ending::Answered(vec![Answer::Failed { name: "Error".into(), message: "denied".into() }]);
        let outcomes = classify(&report(failed, vec![exchange(None, None, true)]), 1);
        assert_eq!(outcomes[0].code, OutcomeCode::EgressDenied);
        assert_eq!(outcomes[0].error.as_deref(), Some("Error"));
    }

    #[test]
    fn the_functions_wish_to_wait_wins_over_the_partners() {
        let wish = |after| {
            let retry = Ending::Answered(vec![Answer::Retry { message: String::new(), after }]);
            classify(&report(retry, vec![exchange(Some(429), Some(30), false), exchange(Some(200), None, false)]), 1)[0]
                .retry_after
        };
        assert_eq!(wish(None), Some(Duration::from_secs(30)));
        assert_eq!(wish(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
    }
}
