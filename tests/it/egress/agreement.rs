//! Whatever a guest writes as a URL and as header fields: the host and port that the policy judged, the name that was asked
//! for, the address that was dialled, the name that TLS was asked for and the `host` header agree, or nothing was sent.

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as Sentinel},
    sync::{Arc, Mutex},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::Map;
use tidegate::egress::{EgressConfig, Gate, Grant, GrantedGate, Host, OutboundRequest, Outlet, Secrets, Target};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    PATIENT,
    authorities::Authority,
    caps,
    name_server::{NameServer, Reply},
    server::{Server, is_untouched, read_head, sentinel},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// One request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    address: SocketAddr,
    tls_name: Option<String>,
    head: String,
}

type All = Arc<Mutex<Vec<Seen>>>;

/// Two servers that a grant opens, a name server that leads every name to them, and listeners that it does not open.
struct World {
    secure: Server,
    plain: Server,
    names: NameServer,
    outlet: GrantedGate,
    seen: All,
    closed: Vec<Sentinel>,
    /// Keeps its certificate's file.
    _authority: Authority,
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    tls_name: Option<String>,
    all: All,
) {
    while let Some(head) = read_head(&mut stream).await {
        all.lock().expect("a lock").push(Seen { address, tls_name: tls_name.clone(), head });
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
}

impl World {
    async fn start() -> Self {
        let authority = Authority::new();
        let acceptor = authority.acceptor(&["a.partner.test", "*.wild.test", "127.0.0.1"], |_| {});
        let seen = All::default();
        let all = seen.clone();
        let secure = Server::start("127.0.0.1", move |stream| {
            let (acceptor, all) = (acceptor.clone(), all.clone());
            async move {
                let address = stream.local_addr().expect("an address");
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let tls_name = stream.get_ref().1.server_name().map(str::to_owned);
                answer(stream, address, tls_name, all).await;
            }
        })
        .await;
        let all = seen.clone();
        let plain = Server::start("127.0.0.1", move |stream| {
            let address = stream.local_addr().expect("an address");
            answer(stream, address, None, all.clone())
        })
        .await;
        let names = NameServer::start(vec![Reply::Addresses(vec![Ipv4Addr::LOCALHOST.into()])]).await;
        let config = EgressConfig {
            allow_addresses: vec![secure.address, plain.address],
            dns_servers: vec![names.address],
            extra_roots: vec![authority.file()],
            ..EgressConfig::default()
        };
        let (tls, http) = (secure.address.port(), plain.address.port());
        let allow = [
            format!("https://a.partner.test:{tls}"),
            format!("https://*.wild.test:{tls}"),
            format!("https://127.0.0.1:{tls}"),
            format!("http://127.0.0.1:{http}"),
            format!("http://plain.partner.test:{http}"),
        ];
        let grant = Grant::new(&allow, &Map::new(), "test").expect("a grant");
        let outlet = GrantedGate::new(Arc::new(Gate::new(&config).expect("a gate")), grant, Secrets::default());
        let closed = ["127.0.0.2", "127.0.0.3"].map(sentinel).into();
        Self { secure, plain, names, outlet, seen, closed, _authority: authority }
    }

    /// A URL that is nearly one of those that are open.
    fn url(&self) -> impl Strategy<Value = String> + use<> {
        let (tls, http) = (self.secure.address.port(), self.plain.address.port());
        let closed = self.closed[0].local_addr().expect("an address");
        let scheme =
            prop::sample::select(vec!["https://", "https://", "http://", "http://", "HTTPS://", "https:/\\", "//"]);
        let host = prop::sample::select(vec![
            "a.partner.test".to_owned(),
            "A.Partner.TEST.".to_owned(),
            "x.wild.test".to_owned(),
            "plain.partner.test".to_owned(),
            "127.0.0.1".to_owned(),
            "127.0.0.1".to_owned(),
            "b.partner.test".to_owned(),
            "x.y.wild.test".to_owned(),
            "wild.test".to_owned(),
            "0177.0.0.1".to_owned(),
            "2130706433".to_owned(),
            "127.1".to_owned(),
            "[::ffff:127.0.0.1]".to_owned(),
            "localhost".to_owned(),
            "a.partner.test%2e".to_owned(),
            "a\u{3002}partner.test".to_owned(),
            format!("a.partner.test:{tls}@{closed}"),
            format!("{closed}#@a.partner.test"),
            format!("{closed}\\@a.partner.test"),
            closed.to_string(),
        ]);
        let port = prop::sample::select(vec![
            format!(":{tls}"),
            format!(":{tls}"),
            format!(":{http}"),
            format!(":{http}"),
            format!(":0{tls}"),
            format!(":{}", u32::from(tls) + 65_536),
            format!(":{tls}:{http}"),
            format!(":{}", closed.port()),
            ":".to_owned(),
            String::new(),
        ]);
        let open = prop::sample::select(vec![
            format!("https://a.partner.test:{tls}"),
            format!("HTTPS://A.Partner.TEST.:{tls}"),
            format!("https://x.wild.test:{tls}"),
            format!("https://127.0.0.1:{tls}"),
            format!("http://127.0.0.1:{http}"),
            format!("http://plain.partner.test.:{http}"),
        ]);
        let path = prop::sample::select(vec![
            "".to_owned(),
            "/".to_owned(),
            "/a/../b".to_owned(),
            "//c.example/".to_owned(),
            "/%2e%2e/%0d%0a".to_owned(),
            "?x=@y.example".to_owned(),
            "#@c.example/".to_owned(),
            "/\\c.example".to_owned(),
            format!("@{closed}/"),
            "/ HTTP/1.1\r\nhost: c.example\r\n\r\n".to_owned(),
        ]);
        let odd_one = (scheme, host, port).prop_map(|(scheme, host, port)| format!("{scheme}{host}{port}"));
        let glued = (prop_oneof![open, odd_one], path).prop_map(|(origin, path)| origin + &path);
        let odd = prop::sample::select(vec![
            '@', ':', '/', '\\', '.', '%', '[', '\t', ' ', '\0', '\u{ad}', '0', 'A', '?', '#',
        ]);
        let place = prop::collection::vec((any::<prop::sample::Index>(), odd), 1..3);
        let places = prop_oneof![Just(Vec::new()), place];
        (glued, places).prop_map(|(mut url, places)| {
            for (index, odd) in places {
                let at = url.floor_char_boundary(index.index(url.len() + 1));
                url.insert(at, odd);
            }
            url
        })
    }

    /// Sends, and says whether it went out.
    async fn agrees(&self, url: &str, headers: Vec<(String, String)>) -> Result<bool, TestCaseError> {
        self.seen.lock().expect("a lock").clear();
        let request = OutboundRequest {
            method: "GET".into(),
            url: url.into(),
            headers: headers.into(),
            body: Default::default(),
        };
        let ended = self.outlet.send(request, Instant::now() + PATIENT, caps()).await;
        let seen = self.seen.lock().expect("a lock").clone();
        if let Err(refused) = &ended {
            prop_assert!(seen.is_empty(), "{refused}, but it was sent: {seen:?}");
            return Ok(false);
        }
        prop_assert_eq!(seen.len(), 1, "{:?}", seen);
        let Seen { address, tls_name, head } = &seen[0];
        let judged = Target::parse(url).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let host = judged.origin.host.to_string();
        prop_assert_eq!(address.port(), judged.origin.port);
        prop_assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
        let secure = *address == self.secure.address;
        match &judged.origin.host {
            Host::Address(literal) => prop_assert_eq!(*literal, address.ip()),
            Host::Name(name) => prop_assert_eq!(self.names.asked(), Some(name.to_string())),
        }
        let asked_of_tls = (secure && matches!(judged.origin.host, Host::Name(_))).then_some(host.clone());
        prop_assert_eq!(tls_name.clone(), asked_of_tls);
        let hosts: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("host: ")).collect();
        prop_assert_eq!(hosts, [judged.origin.authority()], "{}", head);
        let first = head.lines().next().unwrap_or_default();
        prop_assert_eq!(first, format!("GET {} HTTP/1.1", judged.path));
        // What other readers of URLs take for host and port is the same.
        let browser = url::Url::parse(url).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(browser.host_str().unwrap_or_default().trim_end_matches('.'), &host);
        prop_assert_eq!(browser.port_or_known_default(), Some(judged.origin.port));
        if let Ok(uri) = url.parse::<http::Uri>() {
            let theirs = uri.host().unwrap_or_default().to_ascii_lowercase();
            prop_assert_eq!(theirs.trim_end_matches('.'), &host);
            prop_assert_eq!(uri.port_u16(), Some(judged.origin.port));
        }
        Ok(true)
    }
}

/// Fields that would say something else about whom the request is for, or where it ends.
fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let field = prop::sample::select(vec![
        ("x-plain", "value"),
        ("Host", "c.example"),
        (":authority", "c.example"),
        ("host ", "c.example"),
        ("x-forwarded-host", "c.example"),
        ("x", "y\r\nhost: c.example"),
        ("x\r\nhost", "c.example"),
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("connection", "host"),
    ]);
    let field = field.prop_map(|(name, value)| (name.to_owned(), value.to_owned()));
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(field, 1..3)]
}

#[test]
fn what_was_judged_asked_for_dialled_and_said_agree_or_nothing_was_sent() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start());
    let (sent, refused) = (Cell::new(0), Cell::new(0));
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&(world.url(), fields()), |(url, headers)| {
        let count = if runtime.block_on(world.agrees(&url, headers))? { &sent } else { &refused };
        count.set(count.get() + 1);
        Ok(())
    });
    ran.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(sent.get() > 100 && refused.get() > 100, "{} sent, {} refused", sent.get(), refused.get());
    assert!(world.closed.iter().all(is_untouched));
}
