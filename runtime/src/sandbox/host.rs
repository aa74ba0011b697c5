//! The host's side of the contract: one invocation's state, and what happens when its guest calls.
//!
//! Guarantees: every call counts, and so does every byte that crosses; nothing here outlives the invocation.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Error, Result};

use crate::clock::Clock;
use crate::egress::{EgressError, InboundResponse, OutboundRequest};
use crate::model::{Limit, LogLevel};

use super::HostFault;
use super::bindings::tidegate::destination::{cache, clock, http, log, random, sign, types};
use super::budget::{Budget, LimitHit};
use super::cache::CacheScope;
use super::cpu::CpuMeter;
use super::log::LogBook;
use super::memory::MemoryBudget;
use super::requests::{Pending, Requests, Sent};
use super::wasi::Wasi;

/// The most random bytes in one call, from the contract.
const RANDOM_BYTES: u32 = 65_536;
/// What a small value costs when it crosses: a length, a number, a tag.
pub(super) const WORD: usize = 8;

/// What one invocation's store holds.
pub(super) struct Run {
    pub(super) budget: Budget,
    pub(super) memory: MemoryBudget,
    pub(super) cpu: CpuMeter,
    pub(super) log: LogBook,
    pub(super) requests: Requests,
    /// What the guest's handles stand for.
    pub(super) table: ResourceTable,
    pub(super) clock: Clock,
    pub(super) cache: CacheScope,
    pub(super) began: Instant,
    /// How long the guest has slept: all the time that passes for it where the clock is fixed.
    pub(super) slept: Duration,
    /// Present where randomness must be repeatable.
    pub(super) seeded: Option<StdRng>,
    /// Present once the guest has called WASI.
    pub(super) wasi: Option<Box<Wasi>>,
}

impl Run {
    /// The generator of a repeatable invocation.
    pub(super) fn seeded(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    /// How long the invocation has been going on; where the clock is fixed, how long the guest has slept.
    pub(super) fn elapsed(&self) -> Duration {
        match self.clock {
            Clock::System | Clock::Steady { .. } => self.began.elapsed(),
            Clock::Fixed(_) => self.slept,
        }
    }

    /// Fills this with the invocation's randomness.
    pub(super) fn randomise(&mut self, bytes: &mut [u8]) -> Result<()> {
        match &mut self.seeded {
            Some(seeded) => seeded.fill_bytes(bytes),
            None => SysRng.try_fill_bytes(bytes).map_err(|error| HostFault(format!("randomness: {error}")))?,
        }
        Ok(())
    }

    /// Whether the guest may come to hold one handle more. The engine has the same bound; its error alone does not say which
    /// one it is.
    pub(super) fn one_more_handle(&mut self) -> Result<(), LimitHit> {
        let (held, limits) = (self.table.iter_mut().count(), self.budget.limits());
        if held >= limits.handles as usize {
            return Err(LimitHit::new(Limit::Handles, limits));
        }
        if !self.memory.holds(held + 1) {
            return Err(LimitHit::new(Limit::MemoryBytes, limits));
        }
        Ok(())
    }

    fn outbound(&mut self, request: http::Request) -> Result<OutboundRequest, LimitHit> {
        let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 2 * WORD).sum();
        self.budget.host_call(request.method.len() + request.url.len() + headers + request.body.len())?;
        let http::Request { method, url, mut headers, body } = request;
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        Ok(OutboundRequest { method, url, headers: headers.into(), body: body.into() })
    }

    fn inbound(&mut self, record: usize, sent: Sent) -> Result<Result<http::Response, http::Error>, LimitHit> {
        let InboundResponse { status, headers, body } = match self.requests.finish(record, sent) {
            Ok(response) => response,
            Err(error) => {
                self.budget.host_gives(error.to_string().len())?;
                return Ok(Err(error.into()));
            }
        };
        let size: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 2 * WORD).sum();
        self.budget.host_gives(size + body.len())?;
        Ok(Ok(http::Response { status, headers, body: body.into() }))
    }
}

/// 584 years fit.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl From<EgressError> for http::Error {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Denied(text) => Self::Denied(text),
            EgressError::InvalidRequest(text) => Self::InvalidRequest(text),
            EgressError::Dns(text) => Self::Dns(text),
            EgressError::Connect(text) => Self::Connect(text),
            EgressError::Tls(text) => Self::Tls(text),
            EgressError::Timeout(text) => Self::Timeout(text),
            EgressError::Protocol(text) => Self::Protocol(text),
            EgressError::TooLarge(text) => Self::TooLarge(text),
        }
    }
}

impl http::Host for Run {
    async fn send(&mut self, request: http::Request) -> Result<Result<http::Response, http::Error>> {
        let request = self.outbound(request)?;
        let (record, sending) = match self.requests.add(request) {
            Ok(added) => added,
            Err(used_up) => return Ok(Err(http::Error::Limit(used_up))),
        };
        let mut sending = pin!(sending);
        let sent = poll_fn(|context| {
            // What the host computes for it comes in steps, after each of which there may be no more time.
            if let Err(hit) = self.budget.time() {
                return Poll::Ready(Err(hit));
            }
            sending.as_mut().poll(context).map(Ok)
        });
        let sent = sent.await?;
        Ok(self.inbound(record, sent)?)
    }

    fn start(&mut self, request: http::Request) -> Result<Result<Resource<Pending>, http::Error>> {
        let request = self.outbound(request)?;
        self.one_more_handle()?;
        Ok(match self.requests.start(request) {
            Ok(pending) => Ok(self.table.push(pending)?),
            Err(used_up) => Err(http::Error::Limit(used_up)),
        })
    }

    async fn wait_any(
        &mut self,
        requests: Vec<Resource<Pending>>,
        timeout_ms: Option<u64>,
    ) -> Result<Option<(u32, Result<http::Response, http::Error>)>> {
        self.budget.host_call(requests.len() * WORD)?;
        if requests.is_empty() {
            let empty = http::Error::InvalidRequest("wait-any: the list is empty".to_owned());
            return Ok(Some((0, Err(empty))));
        }
        let Self { budget, table, requests: under_way, .. } = self;
        // Whoever carries the requests on asks again when one has ended.
        let ended = poll_fn(|_| {
            if let Err(hit) = budget.time() {
                return Poll::Ready(Err(hit.into()));
            }
            for (position, handle) in requests.iter().enumerate() {
                match table.get_mut(handle) {
                    Ok(pending) if under_way.has_ended(pending) => return Poll::Ready(Ok(position)),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Error::from(error))),
                }
            }
            Poll::Pending
        });
        let waited = match timeout_ms.map(Duration::from_millis) {
            None => Some(ended.await),
            Some(timeout) => {
                let waited = tokio::time::timeout(timeout, ended).await.ok();
                if waited.is_none() {
                    self.slept += timeout;
                }
                waited
            }
        };
        let Some(position) = waited.transpose()? else {
            self.budget.time()?;
            return Ok(None);
        };
        let pending = self.table.get_mut(&requests[position])?;
        let record = pending.record;
        let result = match self.requests.take(pending) {
            Some(sent) => self.inbound(record, sent)?,
            None => {
                Err(http::Error::InvalidRequest(format!("wait-any: request {position} of the list was taken before")))
            }
        };
        // A list has no more entries than a guest can have handles.
        Ok(Some((position as u32, result)))
    }
}

impl http::HostPending for Run {
    fn drop(&mut self, handle: Resource<Pending>) -> Result<()> {
        let mut pending = self.table.delete(handle)?;
        self.requests.give_up(&mut pending);
        Ok(())
    }
}

impl log::Host for Run {
    fn write(&mut self, level: log::Level, text: String) -> Result<()> {
        self.budget.host_call(text.len())?;
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log.write(level, &text);
        Ok(())
    }
}

impl clock::Host for Run {
    fn now(&mut self) -> Result<u64> {
        self.budget.host_call(0)?;
        Ok(self.clock.now().as_millis())
    }

    fn monotonic(&mut self) -> Result<u64> {
        self.budget.host_call(0)?;
        Ok(nanos(self.elapsed()))
    }

    async fn sleep(&mut self, ms: u64) -> Result<()> {
        self.budget.host_call(0)?;
        let pause = Duration::from_millis(ms);
        tokio::time::sleep(pause).await;
        self.slept = self.slept.saturating_add(pause);
        self.budget.time()?;
        Ok(())
    }
}

impl cache::Host for Run {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        self.budget.host_call(key.len())?;
        let value = self.cache.get(&key, self.clock.now());
        self.budget.host_gives(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn set(&mut self, key: String, value: String, ttl_ms: Option<u64>) -> Result<Result<(), String>> {
        self.budget.host_call(key.len() + value.len())?;
        let kept = self.cache.set(key, value, ttl_ms.map(Duration::from_millis), self.clock.now());
        Ok(kept.map_err(|refused| refused.to_string()))
    }

    fn delete(&mut self, key: String) -> Result<()> {
        self.budget.host_call(key.len())?;
        self.cache.delete(&key);
        Ok(())
    }
}

impl sign::Host for Run {
    fn hmac_sha256(&mut self, key: String, message: Vec<u8>) -> Result<Result<Vec<u8>, String>> {
        self.budget.host_call(key.len() + message.len())?;
        let code = self.requests.hmac_sha256(&key, &message).map(Vec::from);
        self.budget.host_gives(code.as_ref().map_or_else(String::len, Vec::len))?;
        Ok(code)
    }
}

/// Only types, nothing to do.
impl types::Host for Run {}

impl random::Host for Run {
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        self.budget.host_call(0)?;
        if count > RANDOM_BYTES {
            return Err(Error::msg(format!("random.bytes: {count} bytes asked for, {RANDOM_BYTES} is the most")));
        }
        self.budget.host_gives(count as usize)?;
        let mut bytes = vec![0; count as usize];
        self.randomise(&mut bytes)?;
        Ok(bytes)
    }
}
