//! The gate: the steps *permit* and *send* of an event's way, and the only code that opens an outgoing socket.
//!
//! A guest's request goes one way only, and types keep the order:
//! parse once → method and header rules → policy → secrets in place of their handles → resolve → classify every
//! address → dial a checked address → TLS for the name → send → bounded read → search for secrets.
//!
//! Guarantees: nothing is reachable that the grant does not name; the policy answers before any DNS query; the
//! address that is dialled is the address that was checked; one deadline covers DNS, connect, TLS, headers and body.
//!
//! Leaves to others: how many requests an invocation may make and how many bytes it may move (`sandbox`), what a
//! response means for the delivery (`delivery`).

mod addresses;
mod answers;
mod body;
mod caller;
mod collector;
mod config;
mod connection;
mod dial;
mod echo;
mod fill;
mod gate;
mod grant;
mod meter;
mod origin;
mod outlet;
mod permit;
mod plain;
mod policy;
mod pool;
mod reach;
mod resolve;
mod secrets;
mod send;
mod sigv4;
mod tls;
mod verdict;

pub use addresses::{Range, ranges};
pub use answers::{Answers, AnswersError, CannedAnswer, CannedError, CannedResponse};
pub use caller::{Caller, caller, is_tls_error, is_untrusted};
pub use collector::Collector;
pub use config::EgressConfig;
pub use gate::{Gate, GateError, GrantedGate};
pub use grant::Grant;
pub use origin::{BadUrl, Host, MAX_URL_BYTES, Origin, Scheme, Target};
pub use outlet::{EgressError, InboundResponse, OutboundRequest, Outlet, ResponseCaps, SendFuture};
pub use permit::{LastOrigin, MAX_HEADER_BYTES, MAX_HEADERS, PermittedRequest, belongs_to_host, permit};
pub use policy::{AllowEntry, PolicyError};
pub use reach::Reach;
pub use secrets::{HandleKey, Secrets};
pub use verdict::{Denial, Rule, Verdict};
