//! Certificates: the right one, the wrong name, nobody's, yesterday's.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Map, json};
use tempfile::TempDir;
use tidegate::egress::{EgressConfig, EgressError, Gate, Grant, GrantedGate, HandleKey, InboundResponse, Outlet};
use tidegate::model::Manifest;
use tokio::{io::AsyncWriteExt, time::Instant};
use tokio_rustls::TlsAcceptor;

use super::{
    caps, gate, get, granted,
    name_server::{NameServer, Reply},
    open, request,
    server::{Server, read_head},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An authority of our own, with its certificate in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).expect("written");
        Self { issuer, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// What a server needs that has a certificate for these names, changed as the test wants.
    pub fn acceptor(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.config(names, change)))
    }

    fn config(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a configuration")
    }

    /// A server with a certificate for this name, changed as the test wants.
    async fn serve(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
        self.answering(self.acceptor(&[name], change), OK).await
    }

    /// A server that says these bytes to every request.
    async fn answering(&self, acceptor: TlsAcceptor, answer: &'static [u8]) -> Server {
        Server::start("127.0.0.1", move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(answer).await.expect("written");
                }
            }
        })
        .await
    }
}

/// A gate that believes these authorities and reaches this server as `api.partner.test`, the URL for it, and what resolves that name.
async fn known(server: &Server, roots: Vec<PathBuf>) -> (Arc<Gate>, String, NameServer) {
    let names = NameServer::start(vec![Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()])]).await;
    let config = EgressConfig { dns_servers: vec![names.address], extra_roots: roots, ..open(&[server.address]) };
    (gate(&config), format!("https://api.partner.test:{}", server.address.port()), names)
}

async fn ask(server: &Server, roots: Vec<PathBuf>) -> Result<InboundResponse, EgressError> {
    let (gate, url, _names) = known(server, roots).await;
    get(&granted(&gate, &url, "test"), &url).await
}

#[tokio::test]
async fn the_operators_authority_is_believed_for_the_judged_name() {
    let authority = Authority::new();
    let server = authority.serve("api.partner.test", |_| {}).await;
    let (gate, url, _names) = known(&server, vec![authority.file()]).await;
    for _ in 0..3 {
        assert_eq!(get(&granted(&gate, &url, "test"), &url).await.expect("a response").body, "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bad_certificates_are_a_tls_error() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let wrong_name = authority.serve("www.partner.test", |_| {}).await;
    let wildcard_too_high = authority.serve("*.test", |_| {}).await;
    let expired =
        authority.serve("api.partner.test", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    let unknown = stranger.serve("api.partner.test", |_| {}).await;
    for (server, what) in
        [(wrong_name, "name"), (wildcard_too_high, "wildcard"), (expired, "expired"), (unknown, "unknown")]
    {
        let ended = ask(&server, vec![authority.file()]).await;
        assert!(matches!(ended, Err(EgressError::Tls(_))), "{what}: {ended:?}");
    }
    let untrusted = authority.serve("api.partner.test", |_| {}).await;
    assert!(matches!(ask(&untrusted, Vec::new()).await, Err(EgressError::Tls(_))));
}

#[tokio::test]
async fn what_an_error_says_of_a_hostile_certificate_is_short_and_has_no_secret() {
    const SECRET: &str = "sesame-0123456789-abcdef";
    let authority = Authority::new();
    let names: Vec<String> = (0..300).map(|number| format!("n{number}.{SECRET}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = authority.answering(authority.acceptor(&names, |_| {}), OK).await;
    let (gate, url, _names) = known(&server, vec![authority.file()]).await;
    let manifest = json!({"name": "f", "version": "1", "events": ["track"], "egress": {"allow": [url]},
        "settings": {"key": {"type": "string", "secret": true, "bind": [{"origin": url, "place": "bearer"}]}}});
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    let mut settings = Map::from_iter([("key".to_owned(), json!(SECRET))]);
    let (grant, secrets) =
        Grant::with_secrets(&manifest, &mut settings, "test", &HandleKey::random()).expect("settings that fit");
    let ended = get(&GrantedGate::new(gate, grant, secrets), &url).await;
    let Err(EgressError::Tls(said)) = ended else { panic!("{ended:?}") };
    assert!(said.contains("{secret.key}") && !said.contains(SECRET), "{said}");
    assert!(said.len() <= 1_100, "{} bytes", said.len());
}

#[tokio::test]
async fn a_server_that_speaks_only_http_2_is_an_error_whether_it_says_so_or_not() {
    let authority = Authority::new();
    let mut config = authority.config(&["api.partner.test"], |_| {});
    config.alpn_protocols = vec![b"h2".to_vec()];
    let honest = authority.answering(TlsAcceptor::from(Arc::new(config)), OK).await;
    let ended = ask(&honest, vec![authority.file()]).await;
    assert!(matches!(ended, Err(EgressError::Tls(_))), "{ended:?}");
    let acceptor = authority.acceptor(&["api.partner.test"], |_| {});
    let rude = authority.answering(acceptor, b"\0\0\0\x04\0\0\0\0\0").await;
    let ended = ask(&rude, vec![authority.file()]).await;
    assert!(matches!(ended, Err(EgressError::Protocol(_))), "{ended:?}");
}

#[tokio::test]
async fn handshakes_that_stall_or_never_end_are_bounded() {
    // The beginning of a server's first message; then nothing, or the same byte for ever.
    let hello: &[u8] = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03";
    let stalls = Server::stalling(hello).await;
    let flood = Server::endless(hello, b"\0").await;
    // Warnings without end, each a record of its own.
    let alerts = Server::endless(b"", b"\x15\x03\x03\x00\x02\x01\x5a").await;
    for (server, what) in [(&stalls, "stalls"), (&flood, "flood"), (&alerts, "alerts")] {
        let url = format!("https://{}", server.address);
        let outlet = granted(&gate(&open(&[server.address])), &url, "test");
        let ended = outlet.send(request("GET", &url, ""), Instant::now() + Duration::from_millis(300), caps()).await;
        assert!(matches!(ended, Err(EgressError::Timeout(_) | EgressError::Tls(_))), "{what}: {ended:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_error() {
    let plain = Server::stalling(OK).await;
    let ended = ask(&plain, Vec::new()).await;
    assert!(matches!(ended, Err(EgressError::Tls(_))), "{ended:?}");
}

#[test]
fn files_without_usable_certificates_are_refused_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("written");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").expect("written");
    for file in [bad, empty, folder.path().join("absent.pem")] {
        let config = EgressConfig { extra_roots: vec![file.clone()], ..EgressConfig::default() };
        let error = Gate::new(&config).err().expect("an error").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
