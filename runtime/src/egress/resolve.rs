//! Names become addresses. The first step that touches the network, taken only after the policy said yes.
//!
//! Guarantees: answers are bounded, and so is what is kept of them; the caller gets all addresses of a name, and dials one of exactly
//! these.
//!
//! Leaves to others: whether the addresses may be dialled (`reach`), the time it may take (the request's deadline).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use moka::future::Cache;

/// Addresses of one name. Large services answer with a dozen; more is an attack or a mistake.
const MAX_ADDRESSES: usize = 32;
/// Names whose addresses are kept for as long as their answers allow: a kilobyte each at most. The library would keep whole answers,
/// and whoever serves a domain decides how large these are.
const CACHED_NAMES: u64 = 4_096;

/// The name servers of this host, and what they said.
pub struct Resolver {
    servers: Result<TokioResolver, String>,
    known: Cache<Box<str>, Known>,
}

/// The addresses of a name.
#[derive(Clone)]
struct Known {
    until: Instant,
    addresses: Arc<[IpAddr]>,
}

impl Resolver {
    /// Uses these servers, or the system's where there are none. A system without name servers can still reach
    /// addresses: only names fail, with the reason.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let built = if servers.is_empty() { system() } else { configured(servers) };
        let servers = built.map_err(|error| {
            format!("no name server is usable ({error}); set `dns_servers`, or mend `/etc/resolv.conf`")
        });
        Self { servers, known: Cache::new(CACHED_NAMES) }
    }

    /// All addresses of a name, IPv4 first. The error is for a person.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        if let Some(known) = self.known.get(name).await.filter(|known| Instant::now() < known.until) {
            return Ok(known.addresses.to_vec());
        }
        let resolver = self.servers.as_ref().map_err(Clone::clone)?;
        // With the root's dot nothing is searched for but the name itself.
        let found = resolver.lookup_ip(format!("{name}.")).await.map_err(|error| explain(name, &error))?;
        let addresses: Vec<IpAddr> = found.iter().take(MAX_ADDRESSES + 1).collect();
        match addresses.len() {
            0 => Err(format!("the name `{name}` has no address")),
            1..=MAX_ADDRESSES => {
                let (until, kept) = (found.valid_until(), Arc::from(&addresses[..]));
                if Instant::now() < until {
                    self.known.insert(name.into(), Known { until, addresses: kept }).await;
                }
                Ok(addresses)
            }
            _ => Err(format!("the name `{name}` has more than {MAX_ADDRESSES} addresses")),
        }
    }
}

fn system() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    options(builder.options_mut());
    builder.build()
}

fn configured(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let servers = servers.iter().map(|server| {
        let on_port = |connection: ConnectionConfig| {
            let mut connection = connection;
            connection.port = server.port();
            connection
        };
        NameServerConfig::new(
            server.ip(),
            true,
            vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())],
        )
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    options(builder.options_mut());
    // Whoever names servers wants their answers.
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn options(options: &mut ResolverOpts) {
    // Both families are asked for, because every address of a name is judged.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
}

fn explain(name: &str, error: &NetError) -> String {
    if error.is_nx_domain() {
        format!("the name `{name}` does not exist")
    } else if error.is_no_records_found() {
        format!("the name `{name}` has no address")
    } else {
        format!("the name `{name}` cannot be resolved: {error}")
    }
}
