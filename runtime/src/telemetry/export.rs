//! Export: spans leave the process in batches, beside the way of events and never in it.
//!
//! Guarantees: whoever hands a span over does not wait; no more wait than were allowed; what is not sent is counted by its
//! reason. A collector that is down is asked again and again, at growing distances, and is a line of log when it goes and one when it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::SpanMetrics;
use super::otlp;
use super::spans::{Span, Tracer};

/// Spans of one request: what collectors' own clients send, some hundred kilobytes.
const BATCH: usize = 512;

/// How long a span waits for others. A person who looks for it is slower.
const GATHER: Duration = Duration::from_secs(1);

/// Pauses before a request is made again. After the last the batch is dropped: what waits meanwhile is newer.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Brings one encoded request to the collector: its answer's body, or why there is none.
pub type Post = Box<dyn Fn(Vec<u8>) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, PostError>> + Send>> + Send + Sync>;

/// Why a collector did not take spans. The texts are for the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PostError {
    /// It may take them later.
    #[error("{0}")]
    Passing(String),
    /// It never will.
    #[error("{0}")]
    Refused(String),
}

/// What sends the spans that a [`Tracer`] takes.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Span>,
    counts: Arc<SpanMetrics>,
    instance: String,
    pauses: [Duration; 4],
}

/// A tracer and what sends its spans.
pub(super) fn start(sample_ratio: f64, waiting: usize, counts: &Arc<SpanMetrics>) -> (Tracer, Exporter) {
    let (sender, queue) = mpsc::channel(waiting);
    let exporter = Exporter { queue, counts: Arc::clone(counts), instance: Uuid::new_v4().to_string(), pauses: PAUSES };
    (Tracer::new(sender, sample_ratio, Arc::clone(counts)), exporter)
}

impl Exporter {
    /// Sends until `stop` is cancelled; then what waits is sent once, without trying again.
    pub async fn run(mut self, post: Post, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut is_up = true;
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                received = self.queue.recv_many(&mut batch, BATCH) => received == 0,
            };
            if stopped {
                break;
            }
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH && !stop.is_cancelled() {
                let room = BATCH - batch.len();
                let more = tokio::select! {
                    () = stop.cancelled() => break,
                    more = timeout_at(until, self.queue.recv_many(&mut batch, room)) => more,
                };
                if !more.is_ok_and(|received| received > 0) {
                    break;
                }
            }
            let sent = self.send(&post, &batch, &stop).await;
            if sent.is_ok() != is_up {
                is_up = sent.is_ok();
                match &sent {
                    Ok(()) => tracing::info!("the collector of spans takes them again"),
                    Err(error) => tracing::warn!(%error, "spans are dropped: the collector does not take them"),
                }
            }
            batch.clear();
        }
        self.queue.close();
        while self.queue.recv_many(&mut batch, BATCH).await > 0 {
            // Its last words were logged, if it is down.
            let _ = self.send(&post, &batch, &stop).await;
            batch.clear();
        }
    }

    async fn send(&self, post: &Post, batch: &[Span], stop: &CancellationToken) -> Result<(), PostError> {
        let body = otlp::request(&self.instance, batch);
        let mut pauses = self.pauses.iter();
        let error = loop {
            let error = match post(body.clone()).await {
                Ok(answer) => {
                    let rejected = otlp::rejected(&answer).min(batch.len() as u64);
                    self.counts.dropped("refused", rejected);
                    self.counts.exported(batch.len() as u64 - rejected);
                    return Ok(());
                }
                Err(error) => error,
            };
            let Some(pause) = pauses.next().filter(|_| matches!(error, PostError::Passing(_))) else { break error };
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = sleep(*pause) => false,
            };
            if stopped {
                break error;
            }
        };
        let why = if matches!(error, PostError::Passing(_)) { "unreachable" } else { "refused" };
        self.counts.dropped(why, batch.len() as u64);
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::spans::{Step, Trace};
    use super::*;
    use crate::model::SourceId;

    fn span(n: u32) -> Span {
        let trace = Trace::of(SourceId::from_uuid(Uuid::from_u128(1)), &n.to_string());
        Span::below(&trace, Step::Queue, 1, 2)
    }

    /// Answers by this, and remembers how often it was asked.
    fn post(answer: impl Fn(usize) -> Result<Vec<u8>, PostError> + Send + Sync + 'static) -> (Post, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&asked);
        let post: Post = Box::new(move |_| {
            let mut asked = counted.lock().unwrap();
            *asked += 1;
            let answer = answer(*asked);
            Box::pin(async move { answer })
        });
        (post, asked)
    }

    /// What became of spans that were handed over before the export began, and requests that it took. No pause is one.
    async fn exported(spans: u32, waiting: usize, post: Post) -> (u64, Vec<(&'static str, u64)>) {
        let counts = Arc::new(SpanMetrics::default());
        let (tracer, mut exporter) = start(1.0, waiting, &counts);
        exporter.pauses = [Duration::ZERO; 4];
        (0..spans).for_each(|n| tracer.end(span(n)));
        drop(tracer);
        exporter.run(post, CancellationToken::new()).await;
        counts.so_far()
    }

    #[tokio::test]
    async fn what_finds_no_place_is_dropped_and_counted_and_the_rest_is_sent_in_batches() {
        let (post, asked) = post(|_| Ok(Vec::new()));
        assert_eq!(exported(1_100, 1_030, post).await, (1_030, vec![("queue_full", 70)]));
        assert_eq!(*asked.lock().unwrap(), 3);
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_what_does_not_pass_is_dropped_with_its_reason() {
        let down = || Err(PostError::Passing("down".to_owned()));
        let (post_, asked) = post(move |asked| if asked < 3 { down() } else { Ok(Vec::new()) });
        assert_eq!(exported(5, 10, post_).await, (5, vec![]));
        assert_eq!(*asked.lock().unwrap(), 3);
        let (post_, asked) = post(move |_| down());
        assert_eq!(exported(5, 10, post_).await, (0, vec![("unreachable", 5)]));
        assert_eq!(*asked.lock().unwrap(), 1 + PAUSES.len());
        let (post_, asked) = post(|_| Err(PostError::Refused("no".to_owned())));
        assert_eq!(exported(5, 10, post_).await, (0, vec![("refused", 5)]));
        assert_eq!(*asked.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn what_a_collector_takes_in_part_is_counted_in_part() {
        // `partial_success { rejected_spans: 2 }`
        let (post, _) = post(|_| Ok(vec![0x0a, 0x02, 0x08, 0x02]));
        assert_eq!(exported(5, 10, post).await, (3, vec![("refused", 2)]));
    }
}
