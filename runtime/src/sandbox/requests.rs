//! The requests of one invocation: counted, sent through its outlet, recorded.
//!
//! Guarantees: never more than the limit in all, nor at the same time (a further one waits for its turn); each whose turn
//! came has a record, in the order of their starts, whether the guest waited for it or not; none outlives the invocation.
//! Leaves to others: whom the guest may reach and how (`egress`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::beside::Beside;
use super::cpu::CpuMeter;
use super::log::cut;
use super::pool::{Empty, FREE_ANSWER, Held, ORDINARY_ANSWER, Pool};
use crate::clock::Clock;
use crate::egress::{
    EgressError, InboundResponse, MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL_BYTES, OutboundRequest, Outlet, ResponseCaps,
    SendFuture,
};
use crate::model::{Exchange, Limits};

/// Bytes of a method in a record: those that there are have a few.
const METHOD_BYTES: usize = 32;

/// Why a request goes no further.
const SPENT: &str = "the function had used up its CPU time (`limits.cpu_ms`)";

/// What a request came to, when it was sent, and how long it took.
pub(super) struct Sent {
    result: Result<InboundResponse, EgressError>,
    /// The memory of the body that was sent and of the answer.
    held: Held,
    began: Instant,
    took: Duration,
}

/// A request that runs beside the guest, as the guest's handle has it.
pub struct Pending {
    pub(super) record: usize,
    taken: bool,
}

/// When each request whose turn came began, by the numbers of their records.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<Option<Instant>>>>);

impl Begun {
    /// This one begins now.
    fn now(&self, record: usize) -> Instant {
        let now = Instant::now();
        let mut all = self.lock();
        let places = all.len().max(record + 1);
        all.resize(places, None);
        all[record] = Some(now);
        now
    }

    fn at(&self, record: usize) -> Option<Instant> {
        self.lock().get(record).copied().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All requests of one invocation.
pub(super) struct Requests {
    outlet: Arc<dyn Outlet>,
    /// When the invocation began.
    began: Instant,
    deadline: Instant,
    caps: ResponseCaps,
    most: u32,
    clock: Clock,
    turns: Arc<Semaphore>,
    begun: Begun,
    pool: Pool,
    cpu: CpuMeter,
    cpu_ms: u64,
    beside: Beside,
    records: Vec<Exchange>,
    /// The memory of the bodies and answers in them.
    held: Vec<Held>,
    /// Said once there was no memory for a body or an answer.
    starved: Arc<OnceLock<String>>,
    open: Vec<Open>,
    largest: Largest,
}

/// The most that one response had of each thing that responses are bounded in.
#[derive(Clone, Copy, Default)]
pub(super) struct Largest {
    pub(super) body_bytes: usize,
    pub(super) headers: usize,
    pub(super) header_bytes: usize,
}

/// A request whose body the guest may still be writing. What becomes of it is written down in the end.
struct Open {
    record: usize,
    writing: Arc<Mutex<Writing>>,
    /// Its body, and what it came to.
    ended: oneshot::Receiver<(Bytes, Sent)>,
}

/// A body and the request that is made with it, by whoever looks first when it is whole.
struct Writing {
    body: Option<Pin<Box<dyn Future<Output = Whole> + Send>>>,
    whole: Option<Whole>,
    /// Of the task that waits for it.
    waker: Waker,
}

/// The body with its memory, and the request that has been judged with it and begins when it is polled; or why there is none.
type Whole = Result<(Bytes, Held, SendFuture), EgressError>;

impl Writing {
    fn look(&mut self) {
        let Some(body) = &mut self.body else { return };
        if let Poll::Ready(whole) = body.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            (self.body, self.whole) = (None, Some(whole));
        }
    }
}

impl Requests {
    pub(super) fn new(
        outlet: Arc<dyn Outlet>,
        deadline: Instant,
        limits: &Limits,
        clock: Clock,
        pool: Pool,
        cpu: CpuMeter,
    ) -> Self {
        Self {
            outlet,
            began: Instant::now(),
            deadline,
            caps: ResponseCaps::from(limits),
            most: limits.requests,
            clock,
            turns: Arc::new(Semaphore::new(limits.concurrent_requests as usize)),
            begun: Begun::default(),
            pool,
            beside: Beside::new(cpu.clone(), limits.cpu_ms),
            cpu,
            cpu_ms: limits.cpu_ms,
            records: Vec::new(),
            held: Vec::new(),
            starved: Arc::default(),
            open: Vec::new(),
            largest: Largest::default(),
        }
    }

    /// HMAC-SHA256 under the secret that a handle stands for.
    pub(super) fn hmac_sha256(&self, handle: &str, message: &[u8]) -> Result<[u8; 32], String> {
        self.outlet.hmac_sha256(handle, message)
    }

    pub(super) fn count(&self) -> u32 {
        // Never more than `most`, which is a `u32`.
        self.records.len() as u32
    }

    /// Records one more request, unless there have been enough, and returns its record's number and the request
    /// itself, which has not begun.
    pub(super) fn add(
        &mut self,
        request: OutboundRequest,
    ) -> Result<(usize, impl Future<Output = Sent> + Send + 'static), String> {
        let record = self.record(&request)?;
        let (turns, begun) = (Arc::clone(&self.turns), self.begun.clone());
        let (room, bytes) = (self.room(), weight(&request));
        // Judged now, in the order in which the guest asks; sent when it is polled.
        let sending = self.outlet.send(request, self.deadline, self.caps);
        let sent = async move {
            let mut held = Held::default();
            // Also while it waits for its turn.
            if let Err(error) = room.keep(&mut held, bytes).await {
                let began = begun.now(record);
                return Sent { result: Err(error), held, began, took: Duration::ZERO };
            }
            // Nothing closes the semaphore, so a turn always comes; without one the request would go ahead.
            let _turn = turns.acquire().await;
            let began = begun.now(record);
            let (result, held) = room.with(held, bytes, sending).await;
            Sent { result, held, began, took: began.elapsed() }
        };
        Ok((record, sent))
    }

    /// Records one more request, unless there have been enough, and returns it. It is sent once its body is whole, and
    /// given up after `patience`, which cannot outlast the deadline.
    pub(super) fn open(
        &mut self,
        head: OutboundRequest,
        body: impl Future<Output = Result<(Bytes, Held), EgressError>> + Send + 'static,
        patience: Option<Duration>,
    ) -> Result<impl Future<Output = Result<InboundResponse, EgressError>> + Send + 'static, String> {
        let record = self.record(&head)?;
        // Without a turn yet: the guest writes its body.
        self.begun.now(record);
        let (outlet, turns, caps) = (Arc::clone(&self.outlet), Arc::clone(&self.turns), self.caps);
        let room = self.room();
        let sooner = patience.and_then(|patience| Instant::now().checked_add(patience));
        let deadline = sooner.map_or(self.deadline, |sooner| sooner.min(self.deadline));
        let whole = async move {
            let (body, held) = body.await?;
            let sending = outlet.send(OutboundRequest { body: body.clone(), ..head }, deadline, caps);
            Ok((body, held, sending))
        };
        let writing = Writing { body: Some(Box::pin(whole)), whole: None, waker: Waker::noop().clone() };
        let writing = Arc::new(Mutex::new(writing));
        let (end, ended) = oneshot::channel();
        self.open.push(Open { record, writing: Arc::clone(&writing), ended });
        Ok(async move {
            let whole = poll_fn(|context| {
                let mut writing = lock(&writing);
                writing.waker.clone_from(context.waker());
                writing.look();
                writing.whole.take().map_or(Poll::Pending, Poll::Ready)
            });
            let (body, (result, held), began) = match whole.await {
                Ok((body, held, sending)) => {
                    // Only now: a guest that has not finished a body holds up none of its other requests.
                    let _turn = turns.acquire().await;
                    let began = Instant::now();
                    let bytes = body.len();
                    (body, room.with(held, bytes, sending).await, began)
                }
                Err(error) => (Bytes::new(), (Err(error), Held::default()), Instant::now()),
            };
            // Nobody listens once the invocation is over.
            let _ = end.send((body, Sent { result: result.clone(), held, began, took: began.elapsed() }));
            result
        })
    }

    /// What a task of its own carries, at the invocation's cost and no further than that goes.
    pub(super) fn beside<T>(
        &self,
        carried: impl Future<Output = T> + Send + 'static,
        stopped: impl FnOnce(EgressError) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let carried = self.cpu.beside(self.cpu_ms, carried);
        async move { carried.await.unwrap_or_else(|| stopped(EgressError::Timeout(SPENT.to_owned()))) }
    }

    /// The requests that the guest has started.
    pub(super) fn under_way(&self) -> Beside {
        self.beside.clone()
    }

    /// Starts a request beside the guest.
    pub(super) fn start(&mut self, request: OutboundRequest) -> Result<Pending, String> {
        let (record, sending) = self.add(request)?;
        self.beside.start(record, Box::pin(sending));
        Ok(Pending { record, taken: false })
    }

    /// Whether waiting for this request takes no time.
    pub(super) fn has_ended(&self, pending: &Pending) -> bool {
        pending.taken || self.beside.has_ended(pending.record)
    }

    /// Takes what a request came to, if it has ended; a second time there is nothing.
    pub(super) fn take(&self, pending: &mut Pending) -> Option<Sent> {
        let sent = self.beside.take(pending.record);
        pending.taken |= sent.is_some();
        sent
    }

    pub(super) fn room(&self) -> Room {
        Room { pool: self.pool.clone(), starved: Arc::clone(&self.starved) }
    }

    /// Why a request did not come to what it might have, if this host had no memory for that: nothing of it is the guest's fault.
    pub(super) fn starved(&self) -> Option<&str> {
        self.starved.get().map(String::as_str)
    }

    /// The guest has finished a body: the request is judged before it goes on, so that requests are in the order in
    /// which the guest finishes them, whatever the tasks that carry them do.
    pub(super) fn body_finished(&mut self) {
        self.open.iter().for_each(|open| lock(&open.writing).look());
    }

    fn record(&mut self, request: &OutboundRequest) -> Result<usize, String> {
        if self.count() >= self.most {
            let most = self.most;
            return Err(format!(
                "the function made {most} requests already; only the operator's `limits.requests` raises it"
            ));
        }
        self.records.push(record(request, &*self.outlet));
        Ok(self.records.len() - 1)
    }

    /// Writes down what a request came to and hands it on.
    pub(super) fn finish(&mut self, record: usize, sent: Sent) -> Result<InboundResponse, EgressError> {
        let now = self.clock;
        if sent.held.is_empty() {
            self.forget(record);
        }
        self.held.push(sent.held);
        self.time(record, sent.began, sent.took);
        let record = &mut self.records[record];
        record.error = None;
        match &sent.result {
            Ok(response) => {
                let header_bytes = bytes_of(&response.headers);
                let most = &mut self.largest;
                most.body_bytes = most.body_bytes.max(response.body.len());
                most.headers = most.headers.max(response.headers.len());
                most.header_bytes = most.header_bytes.max(header_bytes);
                record.status = Some(response.status);
                record.answer = Bytes::clone(&response.body);
                record.retry_after_secs = retry_after(&response.headers, now);
            }
            Err(error) => {
                record.denied = matches!(error, EgressError::Denied(_));
                record.error = Some(error.to_string());
            }
        }
        sent.result
    }

    /// Takes back a request that is no longer wanted: records its end if it has one, ends it otherwise.
    pub(super) fn give_up(&mut self, pending: &mut Pending) {
        if std::mem::replace(&mut pending.taken, true) {
            return;
        }
        match self.beside.take(pending.record) {
            Some(sent) => {
                // The guest does not want it; the record does.
                let _ = self.finish(pending.record, sent);
            }
            None => {
                self.beside.give_up(pending.record);
                self.forget(pending.record);
                self.time_so_far(pending.record);
            }
        }
    }

    /// Keeps of a body what needs no memory of the pool: what was held for it is not any more.
    fn forget(&mut self, record: usize) {
        let body = &mut self.records[record].body;
        if body.len() > FREE_ANSWER {
            *body = Bytes::copy_from_slice(&body[..FREE_ANSWER]);
        }
    }

    /// Writes down when a request was sent and how long it took.
    fn time(&mut self, record: usize, began: Instant, took: Duration) {
        let record = &mut self.records[record];
        record.ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        (record.began, record.took) = (began.duration_since(self.began), took);
    }

    /// The same of a request that has not ended.
    fn time_so_far(&mut self, record: usize) {
        if let Some(began) = self.begun.at(record) {
            self.time(record, began, began.elapsed());
        }
    }

    /// The records of all whose turn came, and the most that any response had.
    pub(super) fn into_records(mut self) -> (Vec<Exchange>, Largest) {
        for Open { record, mut ended, .. } in std::mem::take(&mut self.open) {
            match ended.try_recv() {
                Ok((body, sent)) => {
                    self.records[record].body = body;
                    // The guest has its own copy, if it wanted it.
                    let _ = self.finish(record, sent);
                }
                Err(_) => self.time_so_far(record),
            }
        }
        let begun = |(record, exchange)| self.begun.at(record).map(|_| exchange);
        (self.records.into_iter().enumerate().filter_map(begun).collect(), self.largest)
    }
}

impl Sent {
    /// Of a request that began then and goes no further, since there is no CPU time.
    pub(super) fn stopped(began: Instant) -> Self {
        let error = EgressError::Timeout(SPENT.to_owned());
        Self { result: Err(error), held: Held::default(), began, took: began.elapsed() }
    }
}

/// Memory for one request's body and its answer.
pub(super) struct Room {
    pool: Pool,
    starved: Arc<OnceLock<String>>,
}

impl Room {
    /// Holds what a body of so many bytes needs.
    pub(super) async fn keep(&self, held: &mut Held, bytes: usize) -> Result<(), EgressError> {
        let kept = self.pool.hold(held, bytes.saturating_sub(FREE_ANSWER)).await;
        kept.map_err(|empty| self.starves(&empty))
    }

    /// Sends a body of so many bytes when there is memory for an ordinary answer beside it, and keeps what the one that comes needs.
    async fn with(
        self,
        mut held: Held,
        bytes: usize,
        sending: SendFuture,
    ) -> (Result<InboundResponse, EgressError>, Held) {
        let sent = bytes.saturating_sub(FREE_ANSWER);
        if let Err(empty) = self.pool.hold(&mut held, sent + ORDINARY_ANSWER).await {
            return (Err(self.starves(&empty)), held);
        }
        let result = sending.await;
        let kept = result
            .as_ref()
            .map_or(0, |response| (response.body.len() + bytes_of(&response.headers)).saturating_sub(FREE_ANSWER));
        if kept <= ORDINARY_ANSWER {
            held.shrink(sent + kept);
            return (result, held);
        }
        match self.pool.hold(&mut held, sent + kept).await {
            Ok(()) => (result, held),
            Err(empty) => (Err(self.starves(&empty)), held),
        }
    }

    fn starves(&self, empty: &Empty) -> EgressError {
        let why = format!("there is no memory for a request and its answer: {empty}");
        let _ = self.starved.set(why.clone());
        EgressError::Connect(why)
    }
}

/// The bytes of a request that are kept while it waits and is recorded.
fn weight(request: &OutboundRequest) -> usize {
    request.url.len() + bytes_of(&request.headers) + request.body.len()
}

fn bytes_of(headers: &[(String, String)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// The gate refuses what is longer than this keeps, and records are for people: they need no more of it.
fn record(request: &OutboundRequest, outlet: &dyn Outlet) -> Exchange {
    Exchange {
        method: cut(&request.method, METHOD_BYTES, outlet).to_ascii_uppercase(),
        url: cut(&request.url, MAX_URL_BYTES, outlet),
        headers: kept_headers(&request.headers),
        body: Bytes::clone(&request.body),
        status: None,
        retry_after_secs: None,
        answer: Bytes::new(),
        error: Some("given up before it had ended".to_owned()),
        denied: false,
        ms: 0,
        began: Duration::ZERO,
        took: Duration::ZERO,
    }
}

/// Shared with the request, as nearly all are: within what is kept, and in lower case.
fn kept_headers(fields: &Arc<[(String, String)]>) -> Arc<[(String, String)]> {
    let plain = |(name, _): &(String, String)| !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if fields.len() <= MAX_HEADERS && bytes_of(fields) <= MAX_HEADER_BYTES && fields.iter().all(plain) {
        return Arc::clone(fields);
    }
    let mut left = MAX_HEADER_BYTES;
    let kept = fields.iter().take(MAX_HEADERS).map_while(|(name, value)| {
        left = left.checked_sub(name.len() + value.len())?;
        Some((name.to_ascii_lowercase(), value.clone()))
    });
    kept.collect()
}

fn lock(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    // A panic in the middle would have been the outlet's; the request fails by itself then.
    writing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `retry-after` as seconds from now: a number of them, or a date.
fn retry_after(headers: &[(String, String)], clock: Clock) -> Option<u64> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = value.trim();
    value.parse().ok().or_else(|| {
        let until = crate::model::Timestamp::from_http_date(value)?;
        Some(until.since(clock.now()).as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::sandbox::log::tests::outlet;

    #[test]
    fn a_record_keeps_of_a_request_what_the_gate_would_take() {
        let header = |name: &str, bytes: usize| (name.to_owned(), "v".repeat(bytes));
        let ask = |method: &str, url: String, headers: Vec<(String, String)>| {
            record(
                &OutboundRequest { method: method.to_owned(), url, headers: headers.into(), body: Bytes::new() },
                &*outlet(),
            )
        };
        let whole = ask("post", "u".repeat(MAX_URL_BYTES), vec![header("A", 1), header("b", 1 << 14)]);
        assert_eq!((&*whole.method, whole.url.len(), whole.headers.len()), ("POST", MAX_URL_BYTES, 2));
        assert_eq!(whole.headers[0].0, "a");
        let url = format!("{}s3cr€t-1234{}", "u".repeat(MAX_URL_BYTES - 10), "u".repeat(1 << 20));
        let cut = ask(&"m".repeat(100), url, (0..100).map(|_| header("a", 1 << 14)).collect());
        assert!(
            cut.method.len() < 40 && cut.url.ends_with("u{secret.ke…"),
            "{} {}",
            cut.method,
            &cut.url[MAX_URL_BYTES - 20..]
        );
        assert_eq!((cut.url.len(), cut.headers.len()), (MAX_URL_BYTES + 3, 1));
        assert_eq!(ask("GET", String::new(), vec![header("a", 1); 100]).headers.len(), MAX_HEADERS);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let clock = Clock::Fixed(Timestamp::from_millis(784_111_700_000));
        let of = |value: &str| retry_after(&[("retry-after".to_owned(), value.to_owned())], clock);
        assert_eq!(of("120"), Some(120));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(of("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&[], clock), None);
    }
}
