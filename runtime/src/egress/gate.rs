//! The gate itself: what remains between a permitted request and its response.
//!
//! Guarantees: every address of a name is judged before one of them is dialled, for every request; one deadline covers
//! all of it. Proxy variables are not read.
//!
//! Leaves to others: the rules before the network (`permit`), how much an invocation may ask for (`sandbox`).

use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::{
    EgressConfig, EgressError, InboundResponse, OutboundRequest, Outlet, ResponseCaps, SendFuture,
    connection::Connection,
    dial::Dialer,
    fill::{permitted, travels},
    grant::Grant,
    origin::{Host, Origin, Target},
    permit::{LastOrigin, PermittedRequest, allowed},
    pool::{Key, Pool},
    reach::Reach,
    resolve::Resolver,
    secrets::Secrets,
    send::{Failed, Sender, WireRequest, exchange, receive, wire},
    tls,
    verdict::{Denial, Rule, Verdict},
};

/// Why the gate cannot be made as configured.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum GateError {
    /// An address that cannot be opened.
    #[error("{0}")]
    Address(String),
    /// A file of certificates that cannot be used.
    #[error("{0}")]
    Roots(String),
}

/// The only way out.
pub struct Gate {
    reach: Reach,
    resolver: Resolver,
    dialer: Dialer,
    pool: Pool,
}

/// Bytes of why there is no response, which may quote what a server said: a few lines.
const MOST_SAID: usize = 1 << 10;

/// What a request is waiting for; a deadline's message names it.
#[derive(Default)]
struct Phase(AtomicU8);

const PHASES: [&str; 4] = ["its address", "a connection", "the head of the response", "the rest of the response"];

impl Phase {
    fn next(&self, phase: u8) {
        self.0.store(phase, Relaxed);
    }

    fn name(&self) -> &'static str {
        PHASES.get(usize::from(self.0.load(Relaxed))).copied().unwrap_or("a response")
    }
}

impl Gate {
    /// Checks the operator's configuration. Opens nothing yet.
    pub fn new(config: &EgressConfig) -> Result<Self, GateError> {
        let reach = Reach::new(config).map_err(GateError::Address)?;
        let mut roots = Vec::new();
        for file in &config.extra_roots {
            roots.extend(tls::extra_roots(file).map_err(GateError::Roots)?);
        }
        let resolver = Resolver::new(&config.dns_servers);
        Ok(Self { reach, resolver, dialer: Dialer::new(roots), pool: Pool::default() })
    }

    /// What the operator opens: `permit` asks for it.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Sends a permitted request and reads its whole response, until `deadline` at the latest.
    pub async fn send(
        &self,
        request: PermittedRequest,
        deadline: Instant,
        caps: ResponseCaps,
    ) -> Result<InboundResponse, EgressError> {
        let phase = Phase::default();
        let from = request.origin.clone();
        // A timer lets its future begin even when the time is up already; a request must not.
        if deadline <= Instant::now() {
            return Err(EgressError::Timeout(format!("the time was up before the request to `{from}` began")));
        }
        // Pinned where it is made: it is large, and a timer would move it.
        let carried = pin!(self.carry(request, deadline, caps, &from, &phase));
        match timeout_at(deadline, carried).await {
            Ok(ended) => ended,
            Err(_) => {
                Err(EgressError::Timeout(format!("the time was up while waiting for {} of `{from}`", phase.name())))
            }
        }
    }

    /// Says what would happen to a request for this URL, without sending anything but, where no override names the
    /// host, a DNS query.
    pub async fn check(&self, url: &str, grant: &Grant, overrides: &BTreeMap<String, Vec<IpAddr>>) -> Verdict {
        let judged = async {
            let Target { origin, .. } = Target::parse(url)?;
            allowed(&origin, grant, &self.reach)?;
            let named = match &origin.host {
                Host::Name(name) => overrides.get(&**name),
                Host::Address(_) => None,
            };
            match named {
                Some(addresses) => self.judge(&origin, addresses.clone()),
                None => self.addresses(&origin).await,
            }
        };
        match judged.await {
            Ok(addresses) => Verdict::Allow { addresses },
            Err(denial) => Verdict::Deny(denial),
        }
    }

    async fn carry(
        &self,
        request: PermittedRequest,
        deadline: Instant,
        caps: ResponseCaps,
        from: Sender<'_>,
        phase: &Phase,
    ) -> Result<InboundResponse, EgressError> {
        let origin = request.origin.clone();
        let addresses = self.addresses(&origin).await?;
        if let Some(name) = &request.secret {
            addresses.iter().try_for_each(|address| travels(name, origin.scheme, address.ip()))?;
        }
        let mut key = Key { grant: request.grant.clone(), origin, address: addresses[0], caps };
        let mut request = wire(request);
        phase.next(2);
        for address in &addresses {
            key.address = *address;
            // One that has ended since it was put there, or has something to say that nobody asked, says so before it sends.
            while let Some(mut connection) = self.pool.take(&key) {
                match exchange(&mut connection, request, from, &caps).await {
                    Ok(response) => return self.finish(connection, response, key, from, phase).await,
                    Err(Failed::Broken(error)) => return Err(error),
                    Err(Failed::Unsent(unsent)) => request = *unsent,
                }
            }
        }
        phase.next(1);
        // Apart: few requests open a connection, and all of them would carry the room for it.
        Box::pin(self.first(request, key, &addresses, deadline, from, phase)).await
    }

    /// The first exchange on a fresh connection. It is not tried again.
    async fn first(
        &self,
        request: WireRequest,
        mut key: Key,
        addresses: &[SocketAddr],
        deadline: Instant,
        from: Sender<'_>,
        phase: &Phase,
    ) -> Result<InboundResponse, EgressError> {
        let dialled = self.dialer.dial(&key.origin, addresses, &self.reach, deadline, &key.caps);
        let (address, mut connection) = dialled.await?;
        key.address = address;
        phase.next(2);
        match exchange(&mut connection, request, from, &key.caps).await {
            Ok(response) => self.finish(connection, response, key, from, phase).await,
            Err(Failed::Broken(error)) => Err(error),
            Err(Failed::Unsent(_)) => {
                Err(EgressError::Connect(format!("`{from}` closed the connection before the request")))
            }
        }
    }

    async fn finish(
        &self,
        mut connection: Connection,
        response: http::Response<hyper::body::Incoming>,
        key: Key,
        from: Sender<'_>,
        phase: &Phase,
    ) -> Result<InboundResponse, EgressError> {
        phase.next(3);
        let response = receive(&mut connection, response, from, &key.caps).await?;
        if connection.is_idle().await {
            self.pool.put(key, connection);
        }
        Ok(response)
    }

    /// All addresses of an origin, each of them judged.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, Denial> {
        let addresses = match &origin.host {
            Host::Address(address) => return self.judge_one(origin, *address).map(|address| vec![address]),
            Host::Name(name) => {
                self.resolver.addresses(name).await.map_err(|reason| Denial { rule: Rule::Dns, reason })?
            }
        };
        self.judge(origin, addresses)
    }

    /// If any answer is bad, the name is refused: whoever mixes them is up to something.
    fn judge(&self, origin: &Origin, addresses: Vec<IpAddr>) -> Result<Vec<SocketAddr>, Denial> {
        if addresses.is_empty() {
            return Err(Denial { rule: Rule::Dns, reason: format!("the name `{}` has no address", origin.host) });
        }
        addresses.into_iter().map(|address| self.judge_one(origin, address)).collect()
    }

    fn judge_one(&self, origin: &Origin, address: IpAddr) -> Result<SocketAddr, Denial> {
        let address = SocketAddr::new(address, origin.port);
        let judged = self.reach.judge(address, origin.scheme).map(|()| address);
        judged.map_err(|reason| Denial { rule: Rule::Address, reason: format!("`{}`: {reason}", origin.host) })
    }
}

/// The network as one destination's function sees it.
#[derive(Clone)]
pub struct GrantedGate {
    gate: Arc<Gate>,
    grant: Grant,
    last: Arc<LastOrigin>,
    secrets: Secrets,
}

impl GrantedGate {
    /// Opens the gate for this grant, with the secrets of the same destination.
    pub fn new(gate: Arc<Gate>, grant: Grant, secrets: Secrets) -> Self {
        Self { gate, grant, last: Arc::default(), secrets }
    }
}

impl Outlet for GrantedGate {
    fn send(&self, request: OutboundRequest, deadline: Instant, caps: ResponseCaps) -> SendFuture {
        let ready = permitted(&request, (&self.grant, &self.gate.reach), &self.last, &self.secrets);
        let (gate, secrets) = (self.gate.clone(), self.secrets.clone());
        Box::pin(async move {
            let ready = ready?;
            let origin = ready.origin.clone();
            match gate.send(ready, deadline, caps).await {
                Ok(response) if secrets.is_empty() => Ok(response),
                Ok(response) => secrets.masked(&origin, response).await,
                Err(error) => Err(error.said(|text| secrets.excerpt(text, MOST_SAID))),
            }
        })
    }

    fn hmac_sha256(&self, handle: &str, message: &[u8]) -> Result<[u8; 32], String> {
        self.secrets.hmac_sha256(handle, message)
    }

    fn shown<'a>(&self, text: &'a str, most: usize) -> Cow<'a, str> {
        self.secrets.shown(text, most)
    }
}
