//! Steps two and three of an event's way: a body that `api` has read becomes events, and what they owe to whom.
//!
//! Guarantees: any bytes become events or a [`BodyError`], never a panic; an event that is not valid is dropped
//! alone, counted with its [`Code`] for its source, and does not harm its batch; every connection of the source gets
//! an entry for every event, pending or filtered with the reason. Values of an event are copied as they were
//! written: numbers keep their digits. Only halves of characters are replaced, since many could not read the event then.
//!
//! Leaves to others: who may send (`api`), repeated events and durability (`store`).

mod complete;
mod counts;
mod fan_out;
mod fields;
mod halves;
mod inflate;
mod memory;
mod parse;
mod quota;
mod reject;
mod validate;

pub use complete::Arrival;
pub use counts::Counts;
pub use fan_out::{fan_out, owed_now};
pub use inflate::Inflate;
pub use memory::Memory;
pub use parse::{RawRequest, parse};
pub use quota::Quota;
pub use reject::{BodyError, Code};

use complete::Parts;
use fields::{Entry, Fields};

use crate::config::IngestConfig;
use crate::model::{Event, EventType, Integrations, SourceId};

/// What a request's path asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Many events, of any type.
    Batch,
    /// One event of this type.
    Single(EventType),
}

/// The fields that the host adds to an event may make it this much larger than what a client may send.
const ADDED_BYTES: usize = 1024;

/// A batch's own context is copied into each of its events. All of them together may have this many times the
/// bytes of the largest body: enough for any client's, too few to fill the memory with.
const MERGED_BODIES: usize = 16;

/// Turns requests into events, and counts what is dropped.
#[derive(Debug)]
pub struct Ingest {
    config: IngestConfig,
    /// What was dropped.
    pub counts: Counts,
    /// What each source may send.
    pub quota: Quota<SourceId>,
    /// What the process uses.
    pub memory: Memory,
}

impl Ingest {
    /// With these bounds.
    pub fn new(config: IngestConfig) -> Self {
        let quota = Quota::new(config.source_requests_per_s, config.source_burst);
        Self { config, counts: Counts::default(), quota, memory: Memory::new(config.memory_percent) }
    }

    /// The bounds.
    pub fn config(&self) -> &IngestConfig {
        &self.config
    }

    /// The valid events of a request, complete, with what their `integrations` say. What is not valid is counted.
    ///
    /// # Errors
    /// [`BodyError::TooLargeMerged`]; then nothing is counted.
    pub fn events(
        &self,
        call: Call,
        request: &RawRequest<'_>,
        arrival: &Arrival,
    ) -> Result<Vec<(Event, Integrations)>, BodyError> {
        let source = arrival.source;
        if request.is_empty() {
            self.counts.add(source, Code::EmptyBatch, 1);
            return Ok(Vec::new());
        }
        if request.len() > self.config.batch_events {
            self.counts.add(source, Code::BatchTooLarge, request.len());
            return Ok(Vec::new());
        }
        let limit = self.config.body_bytes.saturating_mul(MERGED_BODIES);
        let (mut events, mut dropped, mut bytes) = (Vec::with_capacity(request.len()), Vec::new(), 0usize);
        for entry in &request.entries {
            match self.event(call, request, entry, arrival) {
                Ok(event) => {
                    bytes += event.0.json.len();
                    if bytes > limit {
                        return Err(BodyError::TooLargeMerged { limit });
                    }
                    events.push(event);
                }
                Err(code) => dropped.push(code),
            }
        }
        if events.is_empty() && call == Call::Batch {
            self.counts.add(source, Code::EmptyBatchResult, 1);
        }
        dropped.into_iter().for_each(|code| self.counts.add(source, code, 1));
        Ok(events)
    }

    fn event(
        &self,
        call: Call,
        request: &RawRequest<'_>,
        entry: &Entry<'_>,
        arrival: &Arrival,
    ) -> Result<(Event, Integrations), Code> {
        let Entry::Object(fields) = entry else { return Err(Code::BadRequest) };
        if fields.text_len() > self.config.event_bytes {
            return Err(Code::EventTooLarge);
        }
        let context = merged(fields, "context", &request.context);
        let integrations = merged(fields, "integrations", &request.integrations);
        let called = match call {
            Call::Batch => None,
            Call::Single(event_type) => Some(event_type),
        };
        let checked = validate::validate(fields, &context, called)?;
        let said = complete::integrations(&integrations);
        let parts = Parts { fields, checked, context: &context, integrations: &integrations, sent_at: request.sent_at };
        let event = parts.complete(arrival, || format!("tidegate-{}", uuid::Uuid::new_v4()));
        if event.json.len() > self.config.event_bytes + ADDED_BYTES {
            return Err(Code::EventTooLarge);
        }
        Ok((event, said))
    }
}

/// The event's own object of this name over its batch's: field by field, the event's wins.
fn merged<'a>(event: &Fields<'a>, name: &str, batch: &Fields<'a>) -> Fields<'a> {
    match event.get(name).and_then(Fields::of) {
        None => batch.clone(),
        Some(own) if batch.is_empty() => own,
        Some(own) => own.over(batch),
    }
}

#[cfg(test)]
mod tests;
