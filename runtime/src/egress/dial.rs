//! Opens a connection to one of the checked addresses.
//!
//! Guarantees: what is dialled is a socket address that `reach` let pass, never a name; TLS is asked for the name that
//! the policy judged; the address and the name come from the same parsed origin.
//!
//! Leaves to others: the time it may take (the request's deadline, divided here among the addresses).

use std::{io, net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    EgressError, ResponseCaps,
    connection::Connection,
    meter::Stream,
    origin::{Host, Origin, Scheme},
    reach::Reach,
    tls,
};

/// Addresses that are tried in turn. Who is not there at four addresses is down.
const TRIED: usize = 4;

/// What it takes to open connections.
pub struct Dialer {
    extra_roots: Vec<CertificateDer<'static>>,
    /// Made at the first use: reading the system's certificates takes longer than starting the host.
    tls: OnceCell<Result<Arc<ClientConfig>, String>>,
}

impl Dialer {
    /// Trusts these authorities besides the system's.
    pub fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self { extra_roots, tls: OnceCell::new() }
    }

    /// Connects to the first of these checked addresses that answers, and says which it was.
    pub async fn dial(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        reach: &Reach,
        deadline: Instant,
        caps: &ResponseCaps,
    ) -> Result<(SocketAddr, Connection), EgressError> {
        let (address, stream) = self.tcp(origin, addresses, reach, deadline).await?;
        let stream = match origin.scheme {
            Scheme::Http => Stream::Plain(stream),
            Scheme::Https => self.secure(origin, address, stream).await?,
        };
        let connection = Connection::start(stream, caps)
            .await
            .map_err(|error| EgressError::Connect(format!("`{origin}` at `{address}`: {error}")))?;
        Ok((address, connection))
    }

    async fn tcp(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
        reach: &Reach,
        deadline: Instant,
    ) -> Result<(SocketAddr, TcpStream), EgressError> {
        let mut last = io::Error::other("there is no address");
        let tried = addresses.len().min(TRIED);
        for (at, address) in addresses.iter().take(TRIED).enumerate() {
            // Each address gets an equal share of the time that is left, so that a silent one cannot use it all up.
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / u32::try_from(tried - at).unwrap_or(1);
            match timeout_at(now + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((*address, ready(origin, *address, stream, reach)?)),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer in its share of the time"),
            }
        }
        Err(EgressError::Connect(format!("`{origin}` cannot be reached at {}: {last}", shown(addresses))))
    }

    async fn secure(&self, origin: &Origin, address: SocketAddr, stream: TcpStream) -> Result<Stream, EgressError> {
        let config = self.tls.get_or_init(|| self.configure()).await;
        let config = config.as_ref().map_err(|reason| EgressError::Tls(reason.clone()))?;
        let connector = TlsConnector::from(config.clone());
        match connector.connect(server_name(&origin.host)?, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => {
                // It may list every name in the server's certificate. Who knows the secrets cuts it.
                let text = format!("`{origin}` at `{address}`: {error}");
                let ours = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
                Err(if ours { EgressError::Tls(text) } else { EgressError::Connect(text) })
            }
        }
    }

    async fn configure(&self) -> Result<Arc<ClientConfig>, String> {
        let extra = self.extra_roots.clone();
        let read = tokio::task::spawn_blocking(move || tls::configuration(extra)).await;
        read.unwrap_or_else(|error| Err(format!("TLS cannot be set up: {error}")))
    }
}

fn ready(origin: &Origin, address: SocketAddr, stream: TcpStream, reach: &Reach) -> Result<TcpStream, EgressError> {
    let broken = |error: io::Error| EgressError::Connect(format!("`{origin}` at `{address}`: {error}"));
    if reach.came_home(stream.local_addr().map_err(broken)?, stream.peer_addr().map_err(broken)?) {
        return Err(EgressError::Denied(format!("`{address}` is where this host itself listens")));
    }
    // Requests are written in one piece; waiting for more would only delay them.
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, EgressError> {
    match host {
        Host::Address(address) => Ok(ServerName::from(*address)),
        Host::Name(name) => ServerName::try_from(name.to_string())
            .map_err(|error| EgressError::Tls(format!("`{name}` cannot stand in a certificate: {error}"))),
    }
}

fn shown(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().take(TRIED).map(|address| format!("`{address}`")).collect();
    shown.join(", ")
}
