//! What the operator says about outgoing traffic.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// The gate's part of the host's configuration. The default opens nothing beyond the public internet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Addresses with their ports that may be dialled although they are not public, and to which, alone, plain
    /// `http` may travel. A function's grant must still name the origin.
    pub allow_addresses: Vec<SocketAddr>,
    /// Where this host itself listens: never a target, even if allowed. The host fills this in.
    #[serde(skip)]
    pub own_listeners: Vec<SocketAddr>,
    /// Name servers; empty for the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// PEM files with certificates of authorities that are trusted besides the system's.
    pub extra_roots: Vec<PathBuf>,
}
