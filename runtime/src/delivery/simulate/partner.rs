//! Partners: how the other side behaves, in memory and in virtual time.

use std::time::Duration;

use bytes::Bytes;

use crate::delivery::dice::Dice;
use crate::model::{Answer, Ending, Exchange, InvocationReport, Limit, Limits, Timestamp, Used};

/// How long an attempt may take: the deadline of the default limits.
pub(super) const DEADLINE_MS: u64 = 5_000;

/// How a partner behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Answers soon, and takes everything.
    Healthy,
    /// Fails 6.64 % of attempts at random, and has outages of a minute.
    Failing,
    /// Answers in one to four seconds.
    Slow,
    /// Never answers.
    Hanging,
    /// Works for a while and fails for a while.
    Flapping,
    /// Refuses every connection.
    Dead,
    /// Takes so many requests a second, and answers 429 to more, with an honest `Retry-After`.
    Throttling,
    /// Answers 500 now and then with a `Retry-After` of a year, or 429 with none at all.
    Lying,
    /// Does not know the customer's key.
    WrongKey,
}

impl Kind {
    pub const SICK: [Self; 8] = [
        Self::Failing,
        Self::Slow,
        Self::Hanging,
        Self::Flapping,
        Self::Dead,
        Self::Throttling,
        Self::Lying,
        Self::WrongKey,
    ];

    /// Whether everything is delivered in the end.
    pub fn takes_all(self) -> bool {
        !matches!(self, Self::Hanging | Self::Dead | Self::WrongKey)
    }
}

/// One destination's partner.
pub(super) struct Partner {
    pub kind: Kind,
    dice: Dice,
    /// Requests that a throttling partner still takes, as of a moment.
    tokens: f64,
    at: Timestamp,
    per_s: f64,
    /// A flapping or failing partner is down until then, or up.
    down: bool,
    until: Timestamp,
}

/// What a partner does with an attempt.
pub(super) struct Reply {
    pub after: Duration,
    pub report: InvocationReport,
    /// Which of its events it has now.
    pub took: bool,
}

impl Partner {
    pub fn new(kind: Kind, seed: u64, now: Timestamp) -> Self {
        let mut dice = Dice::new(seed);
        let per_s = dice.between(2, 50) as f64;
        Self { kind, dice, tokens: per_s, at: now, per_s, down: false, until: now }
    }

    /// Deals with one attempt at so many events. `poisoned`: one of them crashes the function.
    pub fn attempt(&mut self, events: usize, poisoned: bool, now: Timestamp) -> Reply {
        let cpu_ms = 0.05 + 0.02 * events as f64;
        if poisoned {
            return reply(1, cpu_ms, Ending::Trapped("poison".to_owned()), None, None);
        }
        let quick = self.dice.between(5, 40);
        let taken = |ms| reply(ms, cpu_ms, answered(Answer::Delivered, events), Some(200), None);
        let failed = |ms, status, after: Option<u64>| {
            let wish = after.map(Duration::from_secs);
            let answer = Answer::Retry { message: "later".to_owned(), after: wish };
            reply(ms, cpu_ms, answered(answer, events), status, after)
        };
        match self.kind {
            Kind::Healthy => taken(quick),
            Kind::Failing | Kind::Flapping => {
                self.turn(now);
                let unlucky = self.kind == Kind::Failing && self.dice.per_million(66_400);
                if self.down || unlucky { failed(quick, Some(500), None) } else { taken(quick) }
            }
            Kind::Slow => taken(self.dice.between(1_000, 4_000)),
            Kind::Hanging => {
                let after = Duration::from_millis(DEADLINE_MS);
                reply(DEADLINE_MS, cpu_ms, Ending::DeadlineExceeded { after }, None, None)
            }
            Kind::Dead => failed(2, None, None),
            Kind::Throttling => {
                self.tokens = (self.tokens + self.per_s * now.since(self.at).as_secs_f64()).min(self.per_s);
                self.at = now;
                if self.tokens < 1.0 {
                    return failed(quick, Some(429), Some(1));
                }
                self.tokens -= 1.0;
                taken(quick)
            }
            Kind::Lying => match self.dice.between(0, 19) {
                0 => failed(quick, Some(500), Some(365 * 86_400)),
                1 => failed(quick, Some(429), Some(0)),
                2 => failed(quick, Some(429), None),
                _ => taken(quick),
            },
            Kind::WrongKey => {
                let answer = Answer::InvalidSettings("HTTP 401".to_owned());
                reply(quick, cpu_ms, answered(answer, events), Some(401), None)
            }
        }
    }

    /// Goes down and up again: a failing partner for a minute each quarter of an hour, a flapping one all the time.
    fn turn(&mut self, now: Timestamp) {
        while now >= self.until {
            self.down = !self.down;
            let secs = match (self.kind, self.down) {
                (Kind::Failing, true) => 60,
                (Kind::Failing, false) => self.dice.between(300, 900),
                _ => self.dice.between(2, 20),
            };
            self.until = self.until.plus(Duration::from_secs(secs));
        }
    }
}

/// An invocation that came to one of its limits, as a batch does that is too large.
pub(super) fn too_large(events: usize) -> Reply {
    let ending = Ending::LimitExceeded { limit: Limit::CpuMs, message: "too large".to_owned() };
    reply(100, 100.0 + events as f64, ending, None, None)
}

fn answered(answer: Answer, events: usize) -> Ending {
    Ending::Answered(vec![answer; events])
}

fn reply(ms: u64, cpu_ms: f64, ending: Ending, status: Option<u16>, retry_after_secs: Option<u64>) -> Reply {
    let took = matches!(&ending, Ending::Answered(answers) if answers.iter().all(|one| *one == Answer::Delivered));
    let request = Exchange {
        method: String::new(),
        url: String::new(),
        headers: std::sync::Arc::default(),
        body: Bytes::new(),
        status,
        retry_after_secs,
        answer: Bytes::new(),
        error: None,
        denied: false,
        ms,
        began: Duration::ZERO,
        took: Duration::from_millis(ms),
    };
    let used = Used { cpu_ms, wall_ms: ms as f64, requests: 1, ..Used::default() };
    let report = InvocationReport { ending, requests: vec![request], log: Vec::new(), used, limits: Limits::default() };
    Reply { after: Duration::from_millis(ms), report, took }
}
