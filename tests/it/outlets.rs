//! Stand-ins for the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate::egress::{EgressError, InboundResponse, OutboundRequest, Outlet, ResponseCaps, SendFuture};
use tokio::sync::Barrier;
use tokio::time::Instant;

/// Answers 200 at once.
pub struct Ok200;

impl Outlet for Ok200 {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let headers = vec![("retry-after".to_owned(), "7".to_owned())];
        Box::pin(async { Ok(InboundResponse { status: 200, headers, body: Bytes::from_static(b"ok") }) })
    }
}

/// Answers 200, and counts what was really sent: what is only judged is not.
#[derive(Clone, Default)]
pub struct Counted(pub Arc<AtomicUsize>);

impl Outlet for Counted {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let sent = Arc::clone(&self.0);
        Box::pin(async move {
            sent.fetch_add(1, Ordering::SeqCst);
            Ok(InboundResponse { status: 200, headers: Vec::new(), body: Bytes::new() })
        })
    }
}

/// Answers once four are under way, the latest of them first: 400 where the body says `"odd"`, else 200.
#[derive(Clone)]
pub struct FourAtATime {
    four: Arc<Barrier>,
    begun: Arc<AtomicUsize>,
    pub under_way: Silent,
}

impl FourAtATime {
    pub fn new() -> Self {
        Self { four: Arc::new(Barrier::new(4)), begun: Arc::default(), under_way: Silent::default() }
    }
}

impl Outlet for FourAtATime {
    fn send(&self, request: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let all = self.clone();
        Box::pin(async move {
            let _under_way = all.under_way.one();
            let place = all.begun.fetch_add(1, Ordering::SeqCst) % 4;
            all.four.wait().await;
            for _ in place..4 {
                tokio::task::yield_now().await;
            }
            let status = if request.body.windows(5).any(|word| word == br#""odd""#) { 400 } else { 200 };
            Ok(InboundResponse { status, headers: Vec::new(), body: Bytes::new() })
        })
    }
}

/// Answers 200 with a body of so many bytes.
pub struct Large(pub usize);

impl Outlet for Large {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let body = Bytes::from(vec![b'x'; self.0]);
        Box::pin(async { Ok(InboundResponse { status: 200, headers: Vec::new(), body }) })
    }
}

/// Answers 200 after this much of a processor's time, once the network would have answered.
pub struct Busy(pub Duration);

impl Outlet for Busy {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let work = self.0;
        Box::pin(async move {
            tokio::task::yield_now().await;
            let began = on_processor();
            while on_processor() < began + work {}
            Ok(InboundResponse { status: 200, headers: Vec::new(), body: Bytes::new() })
        })
    }
}

/// Computes in steps without an end.
pub struct Endless;

impl Outlet for Endless {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        Box::pin(async {
            loop {
                let began = on_processor();
                while on_processor() < began + Duration::from_millis(1) {}
                tokio::task::yield_now().await;
            }
        })
    }
}

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(times.split(' ').next().and_then(|first| first.parse().ok()).expect("a number"))
}

/// Refuses everything, as the policy would.
pub struct Denied;

impl Outlet for Denied {
    fn send(&self, request: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        Box::pin(async move { Err(EgressError::Denied(format!("`{}` is not in the manifest", request.url))) })
    }
}

/// Never answers, and counts what is under way.
#[derive(Clone, Default)]
pub struct Silent {
    pub now: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Silent {
    /// One more, for as long as this is kept.
    fn one(&self) -> UnderWay {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        UnderWay(Arc::clone(&self.now))
    }
}

impl Outlet for Silent {
    fn send(&self, _: OutboundRequest, _: Instant, _: ResponseCaps) -> SendFuture {
        let under_way = self.one();
        Box::pin(async move {
            let _under_way = under_way;
            std::future::pending().await
        })
    }
}
