//! The command line's way to a host: plain or TLS, with the gate's own roots, versions and provider.
//!
//! Guarantees: a host behind TLS is verified for the name that was asked for; authorities of the caller's own are added to those
//! that the gate trusts and replace none.
//!
//! Leaves to others: what is asked for, and how long it may take (`cli`).

use std::{error::Error, path::Path};

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{CertificateError, RootCertStore};

use super::tls;

/// Opens connections to the host that a command asks.
pub type Caller = HttpsConnector<HttpConnector>;

/// A way to a host at `http` or, with `is_tls`, at `https`. Reads certificates only for the latter, which takes some milliseconds, and
/// those of `authority` in any case, so that a wrong file is told at once.
///
/// # Errors
/// The file of certificates cannot be used; the text names it.
pub fn caller(is_tls: bool, authority: Option<&Path>) -> Result<Caller, String> {
    let own = authority.map(tls::certificates).transpose()?.unwrap_or_default();
    // Without `https`, TLS is never spoken, and nobody need be trusted.
    let mut config = if is_tls { (*tls::configuration(own)?).clone() } else { tls::trusting(RootCertStore::empty())? };
    // The connector names the protocols itself.
    config.alpn_protocols = Vec::new();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

/// Whether a call failed because nobody who is trusted vouches for the host's certificate.
pub fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    // A signature does not fit where another authority has the same name.
    let is_untrusted =
        |error: &CertificateError| matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    causes(error).any(|cause| matches!(cause, rustls::Error::InvalidCertificate(error) if is_untrusted(error)))
}

/// Whether a call failed in TLS.
pub fn is_tls_error(error: &(dyn Error + 'static)) -> bool {
    causes(error).next().is_some()
}

/// The errors of TLS behind an error. One that was wrapped as an I/O error hides there from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a rustls::Error> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
    .filter_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_tls_is_found_behind_others() {
        let inner = |certificate| std::io::Error::other(rustls::Error::InvalidCertificate(certificate));
        let table = [
            (inner(CertificateError::UnknownIssuer), true, true),
            (std::io::Error::other(inner(CertificateError::UnknownIssuer)), true, true),
            (inner(CertificateError::BadSignature), true, true),
            (inner(CertificateError::Expired), false, true),
            (std::io::Error::other("closed"), false, false),
        ];
        for (error, untrusted, tls) in table {
            assert_eq!((is_untrusted(&error), is_tls_error(&error)), (untrusted, tls), "{error}");
        }
    }

    #[test]
    fn a_file_that_has_no_certificate_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for is_tls in [false, true] {
            let error = caller(is_tls, Some(file.path())).err().unwrap();
            assert!(error.contains(&file.path().display().to_string()), "{error}");
        }
    }
}
