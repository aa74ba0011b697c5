//! Spans of the steps that a client waits for: ingest, fan-out, accept.
//!
//! Each event has its own trace, also where a request brings many; a client's `traceparent` is linked to, and chooses nothing.

use std::sync::Arc;

use axum::http::HeaderMap;

use crate::model::EventType;
use crate::store::{Accepted, NewEvent, OwedState};
use crate::telemetry::{Fact, Link, Span, Step, Trace, Tracer};

/// What is known of a request before its events are stored.
pub(super) struct IngestSpans {
    tracer: Arc<Tracer>,
    /// What the client says it is part of.
    client: Option<Link>,
    began: u64,
    read: u64,
    made: u64,
    events: usize,
    kept: Vec<Kept>,
}

/// An event whose trace is kept.
struct Kept {
    /// Its place in the batch.
    at: usize,
    trace: Trace,
    source: Fact,
    event_type: EventType,
    bytes: usize,
    owed: usize,
    filtered: usize,
}

impl IngestSpans {
    /// A request's head is there.
    pub fn begin(tracer: &Arc<Tracer>, headers: &HeaderMap) -> Self {
        let client = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(Link::from_traceparent);
        let now = tracer.now();
        let tracer = Arc::clone(tracer);
        Self { tracer, client, began: now, read: now, made: now, events: 0, kept: Vec::new() }
    }

    /// Its body is there.
    pub fn read(&mut self) {
        self.read = self.tracer.now();
    }

    /// It became these events.
    pub fn made(&mut self, events: &[NewEvent]) {
        (self.made, self.events) = (self.tracer.now(), events.len());
        let kept = |(at, new): (usize, &NewEvent)| {
            let pending = new.owed.iter().filter(|owed| owed.state == OwedState::Pending).count();
            Some(Kept {
                at,
                trace: self.tracer.trace(new.source, &new.event.message_id)?,
                source: Fact::from(new.source),
                event_type: new.event.event_type,
                bytes: new.event.json.len(),
                owed: pending,
                filtered: new.owed.len() - pending,
            })
        };
        self.kept = events.iter().enumerate().filter_map(kept).collect();
    }

    /// They are on disk, or none of them is.
    pub fn stored(self, stored: Option<&Accepted>) {
        let now = self.tracer.now();
        for kept in &self.kept {
            let repeated = stored.is_some_and(|accepted| accepted.repeated.binary_search(&kept.at).is_ok());
            let is_first = stored.is_some() && !repeated;
            let mut ingest = Span::below(&kept.trace, Step::Ingest, self.began, now);
            if is_first {
                // Everything else of this event hangs from here; a request that brings it again is one thing more below it.
                (ingest.id, ingest.parent) = (kept.trace.root, None);
            }
            ingest.facts = vec![
                ("tidegate.source", kept.source),
                ("tidegate.event.type", Fact::Code(kept.event_type.as_str())),
                ("tidegate.event.bytes", kept.bytes.into()),
                ("tidegate.event.repeated", Fact::Is(repeated)),
                ("tidegate.request.events", self.events.into()),
            ];
            ingest.failed = stored.is_none().then_some("not_stored");
            ingest.links = self.client.into_iter().collect();
            let mut fan_out = Span::below(&kept.trace, Step::FanOut, self.read, self.made).inside(ingest.id);
            fan_out.facts = vec![
                ("tidegate.deliveries.owed", kept.owed.into()),
                ("tidegate.deliveries.filtered", kept.filtered.into()),
            ];
            self.tracer.end(fan_out);
            self.tracer.end(Span::below(&kept.trace, Step::Accept, self.made, now).inside(ingest.id));
            self.tracer.end(ingest);
        }
    }
}
