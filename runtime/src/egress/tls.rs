//! Whom the gate believes: certificates of authorities, and the one TLS configuration.
//!
//! Guarantees: TLS 1.2 or newer, verified for the name that was judged. No session is resumed: a ticket would let a
//! server recognise two customers as one host. HTTP/1.1 is the only protocol offered: one request at a time on a
//! connection leaves no streams to flood or reset, and every byte of it can be counted.
//!
//! Leaves to others: when a handshake must be done (the request's deadline).

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Reads the operator's certificates of authorities from a PEM file.
pub fn extra_roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(file).map_err(|reason| format!("`extra_roots` has {reason}"))
}

/// Reads certificates of authorities from a PEM file.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |reason: String| format!("`{}`: {reason}", file.display());
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| problem(error.to_string()))?;
    let (added, _) = RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    if added == 0 || added < certificates.len() {
        return Err(problem(format!("{added} of its {} certificates are usable", certificates.len())));
    }
    Ok(certificates)
}

/// Trusts the system's authorities (Mozilla's where the system has none) and the operator's. Reads files.
pub fn configuration(extra: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(extra);
    trusting(roots).map(Arc::new)
}

/// Trusts these authorities and no others.
pub fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
