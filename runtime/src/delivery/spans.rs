//! Spans of the steps that nobody waits for: attempt, queue, invoke, request, settle.
//!
//! An attempt has a span in the trace of each of its events that is kept. A batch runs once: the invocation with its
//! requests is in the first of these traces, and those of the others link to it.

use std::sync::Arc;
use std::time::Duration;

use super::conclude::Decided;
use super::retry::Disposition;
use super::schedule::Item;
use crate::model::{DeliveryId, Ending, Exchange, InvocationReport, VersionId};
use crate::store::{Settle, Settled};
use crate::telemetry::{Fact, Link, Span, SpanId, Step, Trace, TraceId, Tracer};

/// An attempt's spans until its deliveries are decided. Those of an attempt that is abandoned go with it.
pub(super) struct AttemptSpans {
    tracer: Arc<Tracer>,
    /// When the attempt itself began.
    began: u64,
    kept: Vec<(DeliveryId, Trace, Span)>,
}

/// An attempt's span until what became of its delivery is on disk.
pub(super) struct Unsettled {
    tracer: Arc<Tracer>,
    trace: Trace,
    /// None where it was given up without one.
    attempt: Option<Span>,
    decided: u64,
    settle: &'static str,
}

impl AttemptSpans {
    /// An attempt begins; nothing where no trace of its events is kept.
    pub fn begin(tracer: &Arc<Tracer>, items: &[Item], version: VersionId) -> Option<Self> {
        let began = tracer.now();
        let kept = |item: &Item| {
            let delivery = &item.delivery;
            let trace = tracer.trace(delivery.source, &delivery.event.message_id)?;
            let mut span = Span::below(&trace, Step::Attempt, Tracer::at(item.since).min(began), began);
            span.facts = vec![
                ("tidegate.delivery", delivery.id.into()),
                ("tidegate.destination", delivery.destination.into()),
                ("tidegate.connection", delivery.connection.into()),
                ("tidegate.version", version.into()),
                ("tidegate.attempt", Fact::Count(delivery.attempt.into())),
                ("tidegate.batch.events", items.len().into()),
            ];
            Some((delivery.id, trace, span))
        };
        let kept: Vec<_> = items.iter().filter_map(kept).collect();
        (!kept.is_empty()).then(|| Self { tracer: Arc::clone(tracer), began, kept })
    }

    /// The function has run.
    pub fn invoked(&self, report: &InvocationReport) {
        let now = self.tracer.now();
        let mut first: Option<Link> = None;
        for (_, trace, attempt) in &self.kept {
            self.tracer.end(Span::below(trace, Step::Queue, attempt.began, self.began).inside(attempt.id));
            let mut invoke = Span::below(trace, Step::Invoke, self.began, now).inside(attempt.id);
            invoke.failed = failed(&report.ending);
            let used = &report.used;
            invoke.facts = vec![
                ("tidegate.invocation.ending", Fact::Code(failed(&report.ending).unwrap_or("answered"))),
                ("tidegate.invocation.cpu_us", Fact::Count((used.cpu_ms * 1e3) as u64)),
                ("tidegate.invocation.memory_bytes", Fact::Count(used.memory_bytes)),
                ("tidegate.invocation.host_calls", Fact::Count(used.host_calls)),
                ("tidegate.invocation.requests", Fact::Count(used.requests.into())),
            ];
            invoke.links = first.into_iter().collect();
            if first.is_none() {
                first = Some(Link { trace: trace.id, span: invoke.id });
                let wall = Duration::try_from_secs_f64(used.wall_ms / 1e3).unwrap_or_default();
                let zero = now.saturating_sub(nanos(wall)).max(self.began);
                report.requests.iter().for_each(|exchange| self.request(trace, invoke.id, exchange, zero));
            }
            self.tracer.end(invoke);
        }
    }

    fn request(&self, trace: &Trace, parent: SpanId, exchange: &Exchange, zero: u64) {
        let began = zero + nanos(exchange.began);
        let mut span = Span::below(trace, Step::Request, began, began + nanos(exchange.took)).inside(parent);
        span.facts = vec![
            ("http.request.method", Fact::Code(method(&exchange.method))),
            ("http.request.body.size", exchange.body.len().into()),
            ("http.response.body.size", exchange.answer.len().into()),
        ];
        if let Some(status) = exchange.status {
            span.facts.push(("http.response.status_code", Fact::Count(status.into())));
        }
        span.failed = match (exchange.denied, exchange.status) {
            (true, _) => Some("denied"),
            (false, None) => Some("no_answer"),
            (false, Some(status)) => (status >= 400).then_some("status"),
        };
        self.tracer.end(span);
    }

    /// One of the deliveries is decided: its span, if its trace is kept.
    pub fn decided(&mut self, decided: &Decided) -> Option<Box<Unsettled>> {
        let at = self.kept.iter().position(|(delivery, ..)| *delivery == decided.item.delivery.id)?;
        let (_, trace, mut attempt) = self.kept.swap_remove(at);
        let code = decided.outcome.code.as_str();
        attempt.facts.push(("tidegate.outcome", Fact::Code(code)));
        let settle = decided.disposition.settle().as_str();
        attempt.failed = match decided.disposition {
            Disposition::Delivered | Disposition::Unsupported => None,
            Disposition::Dead | Disposition::RetryAt(_) | Disposition::Release => Some(code),
        };
        let tracer = Arc::clone(&self.tracer);
        Some(Box::new(Unsettled { decided: tracer.now(), tracer, trace, attempt: Some(attempt), settle }))
    }

    /// What is left was not decided: the host could not run the function, or a batch is tried again in halves.
    pub fn undecided(self) {
        for (_, _, mut attempt) in self.kept {
            attempt.ended = self.tracer.now().max(attempt.began);
            attempt.failed = Some("undecided");
            self.tracer.end(attempt);
        }
    }
}

impl Unsettled {
    /// A delivery is decided without an attempt; nothing if its trace is not kept.
    pub fn unattempted(tracer: &Arc<Tracer>, item: &Item, settle: Settle) -> Option<Box<Self>> {
        let trace = tracer.trace(item.delivery.source, &item.delivery.event.message_id)?;
        let (tracer, decided, settle) = (Arc::clone(tracer), tracer.now(), settle.as_str());
        Some(Box::new(Self { tracer, trace, attempt: None, decided, settle }))
    }

    /// Of which trace it is.
    pub fn trace(&self) -> TraceId {
        self.trace.id
    }

    /// It is on disk, or another claim was there first.
    pub fn settled(self, settled: Option<Settled>) {
        let Self { tracer, trace, attempt, decided, settle } = self;
        let now = tracer.now();
        let mut span = Span::below(&trace, Step::Settle, decided, now);
        if let Some(attempt) = &attempt {
            span = span.inside(attempt.id);
        }
        span.facts = vec![("tidegate.settled_as", Fact::Code(settle))];
        span.failed = (settled == Some(Settled::LeaseLost)).then_some("lease_lost");
        tracer.end(span);
        if let Some(mut attempt) = attempt {
            attempt.ended = now.max(attempt.began);
            tracer.end(attempt);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn failed(ending: &Ending) -> Option<&'static str> {
    match ending {
        Ending::Answered(_) => None,
        Ending::WrongAnswerCount { .. } => Some("wrong_answer_count"),
        Ending::Trapped(_) => Some("trapped"),
        Ending::LimitExceeded { .. } => Some("limit_exceeded"),
        Ending::DeadlineExceeded { .. } => Some("deadline_exceeded"),
        Ending::HostFault(_) => Some("host_fault"),
    }
}

/// The methods that there are; a function may write anything there, and what it writes stays here.
fn method(text: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == text).unwrap_or("_OTHER")
}
