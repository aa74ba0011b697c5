//! The gate against hostile servers, name servers and certificates. Nothing here leaves this machine: partners live on
//! 127.0.0.x, and sentinels on other addresses must never see a connection.

mod agreement;
pub mod authorities;
mod name_server;
mod names;
mod partners;
pub mod server;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Map;
use tidegate::{
    egress::{
        EgressConfig, EgressError, Gate, Grant, GrantedGate, InboundResponse, OutboundRequest, Outlet, ResponseCaps,
        Secrets,
    },
    model::Limits,
};
use tokio::time::Instant;

/// More than any answer of these tests needs; only those that never answer get less.
const PATIENT: Duration = Duration::from_secs(30);

fn open(addresses: &[SocketAddr]) -> EgressConfig {
    EgressConfig { allow_addresses: addresses.to_vec(), ..EgressConfig::default() }
}

fn gate(config: &EgressConfig) -> Arc<Gate> {
    Arc::new(Gate::new(config).expect("a gate"))
}

fn granted(gate: &Arc<Gate>, origin: &str, scope: &str) -> GrantedGate {
    let grant = Grant::new(&[origin.to_owned()], &Map::new(), scope).expect("a grant");
    GrantedGate::new(gate.clone(), grant, Secrets::default())
}

fn request(method: &str, url: &str, body: &'static str) -> OutboundRequest {
    OutboundRequest { method: method.into(), url: url.into(), headers: Default::default(), body: body.into() }
}

fn caps() -> ResponseCaps {
    ResponseCaps::from(&Limits::default())
}

async fn get(outlet: &GrantedGate, url: &str) -> Result<InboundResponse, EgressError> {
    outlet.send(request("GET", url, ""), Instant::now() + PATIENT, caps()).await
}
