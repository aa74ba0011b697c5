//! Spans: what the steps of single events took, linked from ingest to settle.
//!
//! Guarantees: an event's trace id, and the id of the span that all others hang from, follow from its source and its
//! `messageId` alone, so what a host does after a restart, and what a replay does days later, joins the same trace;
//! whether a trace is kept follows from its id, so either all of an event's spans are kept or none. What a span can say
//! is a [`Fact`], which has no place for anybody's text.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::SpanMetrics;
use crate::model::{ConnectionId, DeliveryId, DestinationId, SourceId, Timestamp, VersionId};

/// What is hashed before source and `messageId`, so that ids of traces are like no other digest of the two.
const DOMAIN: &[u8] = b"tidegate trace\0";

/// A trace's id keeps its randomness in its last seven bytes, by which all of W3C's samplers decide.
const RANDOM_BITS: u32 = 56;

/// The id of an event's trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceId(pub [u8; 16]);

/// The id of one span.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpanId(pub [u8; 8]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl SpanId {
    /// One that nobody else has.
    pub fn random() -> Self {
        // Zero is no id. It comes once in all the spans that there will ever be.
        Self(rand::random::<u64>().max(1).to_be_bytes())
    }
}

/// One event's trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// The span that all others hang from: the one of ingest.
    pub root: SpanId,
}

impl Trace {
    /// The trace of the event that this source sent under this `messageId`.
    pub fn of(source: SourceId, message_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(source.uuid().as_bytes());
        hash.update(message_id.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let (mut id, mut root) = ([0; 16], [0; 8]);
        id.copy_from_slice(&digest[..16]);
        root.copy_from_slice(&digest[16..24]);
        Self { id: TraceId(id), root: SpanId(root) }
    }
}

/// A span of another system that has to do with one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

impl Link {
    /// Reads a `traceparent` header (W3C Trace Context); none where it is not one.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let hex = |text: &str, digits: usize| {
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (text.len() == digits && text.bytes().all(lower)).then(|| u128::from_str_radix(text, 16).ok())?
        };
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace, span) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
        hex(parts.next()?, 2)?;
        // Later versions may have more to say; the first has not, and 255 is none.
        if version == 0xff || version == 0 && parts.next().is_some() || trace == 0 || span == 0 {
            return None;
        }
        Some(Self { trace: TraceId(trace.to_be_bytes()), span: SpanId((span as u64).to_be_bytes()) })
    }
}

/// The steps that have spans, in the order in which an event meets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// From the head of a client's request until it can be answered.
    Ingest,
    /// A body became events and what they owe.
    FanOut,
    /// Until event and debts are on disk.
    Accept,
    /// One attempt at one delivery, from when it could begin until it is settled.
    Attempt,
    /// What of it was waiting: for a claim, a rate, a place.
    Queue,
    /// The function ran.
    Invoke,
    /// One of its requests.
    Request,
    /// Until what became of it is on disk.
    Settle,
}

impl Step {
    /// The span's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::FanOut => "fan-out",
            Self::Accept => "accept",
            Self::Attempt => "attempt",
            Self::Queue => "queue",
            Self::Invoke => "invoke",
            Self::Request => "request",
            Self::Settle => "settle",
        }
    }
}

/// What a span says: ids of ours, codes of ours, numbers. There is no case for a text that was read or received.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fact {
    /// One of our ids: its prefix and what is in it.
    Id(&'static str, Uuid),
    /// A word of ours.
    Code(&'static str),
    /// A number of things, bytes or milliseconds.
    Count(u64),
    /// Yes or no.
    Is(bool),
}

macro_rules! facts {
    ($($id:ident)*) => {$(
        impl From<$id> for Fact {
            fn from(id: $id) -> Self {
                Self::Id($id::PREFIX, id.uuid())
            }
        }
    )*};
}

facts!(SourceId ConnectionId DestinationId DeliveryId VersionId);

impl From<usize> for Fact {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

/// One step of one event.
#[derive(Clone, Debug)]
pub struct Span {
    /// The event's trace.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// What it is part of; none for the one that all others hang from.
    pub parent: Option<SpanId>,
    /// Which step.
    pub step: Step,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// What is known about it.
    pub facts: Vec<(&'static str, Fact)>,
    /// How it failed, if it did.
    pub failed: Option<&'static str>,
    /// What else it has to do with.
    pub links: Vec<Link>,
}

impl Span {
    /// A span of this trace, with an id of its own, below its first span.
    pub fn below(trace: &Trace, step: Step, began: u64, ended: u64) -> Self {
        Self {
            trace: trace.id,
            id: SpanId::random(),
            parent: Some(trace.root),
            step,
            began,
            // Clocks of two kinds meet in a span; none ends before it began.
            ended: ended.max(began),
            facts: Vec::new(),
            failed: None,
            links: Vec::new(),
        }
    }

    /// The same below another span of its trace.
    pub fn inside(self, parent: SpanId) -> Self {
        Self { parent: Some(parent), ..self }
    }
}

/// Takes the spans of traces that are kept, and never waits.
#[derive(Debug)]
pub struct Tracer {
    queue: mpsc::Sender<Span>,
    counts: Arc<SpanMetrics>,
    /// Traces whose random part is smaller are not kept.
    least: u64,
    /// Nanoseconds since 1970 at a moment, and the moment.
    anchor: (u64, Instant),
}

impl Tracer {
    pub(super) fn new(queue: mpsc::Sender<Span>, sample_ratio: f64, counts: Arc<SpanMetrics>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { queue, counts, least: least(sample_ratio), anchor: (now, Instant::now()) }
    }

    /// The trace of this event, if it is kept.
    pub fn trace(&self, source: SourceId, message_id: &str) -> Option<Trace> {
        Some(Trace::of(source, message_id)).filter(|trace| is_kept(trace.id, self.least))
    }

    /// Now, in nanoseconds since 1970.
    pub fn now(&self) -> u64 {
        self.anchor.0 + u64::try_from(self.anchor.1.elapsed().as_nanos()).unwrap_or(0)
    }

    /// A moment of the store's clock, which knows milliseconds.
    pub fn at(time: Timestamp) -> u64 {
        time.as_millis().saturating_mul(1_000_000)
    }

    /// Hands a span over, or drops and counts it where too many wait.
    pub fn end(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.counts.dropped("queue_full", 1);
        }
    }
}

/// The least random part with which a trace is kept, for this share of all.
fn least(ratio: f64) -> u64 {
    let all = (1_u64 << RANDOM_BITS) as f64;
    ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64
}

fn is_kept(trace: TraceId, least: u64) -> bool {
    let random = trace.0[16 - RANDOM_BITS as usize / 8..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    random >= least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_follows_from_source_and_message_id_and_from_nothing_else() {
        let (one, other) = (SourceId::from_uuid(Uuid::from_u128(1)), SourceId::from_uuid(Uuid::from_u128(2)));
        assert_eq!(Trace::of(one, "a"), Trace::of(one, "a"));
        assert_ne!(Trace::of(one, "a").id, Trace::of(one, "b").id);
        assert_ne!(Trace::of(one, "a").id, Trace::of(other, "a").id);
        // Written down once: what older hosts exported has to join what newer ones do.
        assert_eq!(Trace::of(one, "a").id.to_string(), "f5ff7eb5caf029c8085876e15f332ff2");
    }

    #[test]
    fn of_many_traces_the_wanted_share_is_kept_and_a_smaller_share_is_part_of_a_larger_one() {
        let source = SourceId::from_uuid(Uuid::from_u128(1));
        let ids: Vec<TraceId> = (0..4_000).map(|n| Trace::of(source, &format!("m{n}")).id).collect();
        for (ratio, range) in [(1.0, 4_000..=4_000), (0.5, 1_900..=2_100), (0.1, 340..=460), (0.0, 0..=0)] {
            let kept = ids.iter().filter(|id| is_kept(**id, least(ratio))).count();
            assert!(range.contains(&kept), "{ratio}: {kept}");
        }
        assert!(ids.iter().all(|id| !is_kept(*id, least(0.1)) || is_kept(*id, least(0.5))));
    }

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = Link::from_traceparent(&format!("00-{trace}-{span}-01")).unwrap();
        assert_eq!(good.trace.to_string(), trace);
        assert_eq!(good.span.0, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(Link::from_traceparent(&format!("cc-{trace}-{span}-00-what-comes")), Some(good));
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-+{}-{span}-01", &trace[1..]),
            format!("00-{trace}-{span}-1"),
            format!("00-{trace}é-{span}-01"),
        ] {
            assert_eq!(Link::from_traceparent(&bad), None, "{bad}");
        }
    }
}
