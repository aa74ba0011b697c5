//! Name servers that mix, rebind, hide and fail.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tidegate::egress::{EgressConfig, EgressError, Gate, Grant, Outlet, Rule, Verdict};
use tokio::{net::UdpSocket, time::Instant};

use super::{
    caps, gate, get, granted, open, request,
    server::{Server, is_untouched, sentinel},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What a name server says to one question for IPv4 addresses. It says nothing about IPv6.
#[derive(Clone)]
pub enum Reply {
    /// These addresses, valid for no time at all.
    Addresses(Vec<Ipv4Addr>),
    /// Another name, and that name's addresses.
    Alias(&'static str, Vec<Ipv4Addr>),
    /// An error.
    Code(u8),
    /// "Ask again over TCP", where nobody listens.
    Truncated,
    /// Nothing.
    Silence,
}

/// A name server on this machine.
pub struct NameServer {
    pub address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl NameServer {
    /// Gives the replies in their order, and the last one for ever.
    pub async fn start(replies: Vec<Reply>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("an address");
        let questions = Arc::new(AtomicUsize::new(0));
        let count = questions.clone();
        tokio::spawn(async move {
            let mut packet = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let question = question(&packet[..length]);
                let for_ipv4 = question[question.len() - 4..question.len() - 2] == [0, 1];
                let reply = if for_ipv4 {
                    let at = count.fetch_add(1, SeqCst);
                    replies.get(at).or(replies.last()).cloned().expect("a reply")
                } else {
                    Reply::Addresses(Vec::new())
                };
                if let Some(answer) = answer(&packet[..2], question, reply) {
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        Self { address, questions }
    }

    fn questions(&self) -> usize {
        self.questions.load(SeqCst)
    }
}

/// The name, type and class that a packet asks for.
fn question(packet: &[u8]) -> &[u8] {
    let mut end = 12;
    while packet[end] != 0 {
        end += usize::from(packet[end]) + 1;
    }
    &packet[12..end + 5]
}

fn answer(id: &[u8], question: &[u8], reply: Reply) -> Option<Vec<u8>> {
    let (truncated, code, alias, addresses) = match reply {
        Reply::Addresses(addresses) => (0, NO_ERROR, None, addresses),
        Reply::Alias(name, addresses) => (0, NO_ERROR, Some(name), addresses),
        Reply::Code(code) => (0, code, None, Vec::new()),
        Reply::Truncated => (2, NO_ERROR, None, Vec::new()),
        Reply::Silence => return None,
    };
    let records = u8::try_from(addresses.len() + usize::from(alias.is_some())).expect("few records");
    let mut packet = [id, &[0x81 | truncated, 0x80 | code, 0, 1, 0, records, 0, 0, 0, 0], question].concat();
    let mut owner = vec![0xc0, 12];
    if let Some(alias) = alias {
        let mut name: Vec<u8> =
            alias.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        name.push(0);
        packet.extend([&owner[..], &[0, 5, 0, 1, 0, 0, 0, 0, 0, name.len() as u8], &name].concat());
        owner = name;
    }
    for address in addresses {
        packet.extend([&owner[..], &[0, 1, 0, 1, 0, 0, 0, 0, 0, 4], &address.octets()].concat());
    }
    Some(packet)
}

const fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

fn config(server: &Server, names: &NameServer) -> EgressConfig {
    EgressConfig { dns_servers: vec![names.address], ..open(&[server.address]) }
}

fn named(server: &Server) -> String {
    format!("http://api.partner.test:{}", server.address.port())
}

#[tokio::test]
async fn a_name_leads_to_its_opened_address() {
    let server = Server::answering(OK).await;
    for reply in [Reply::Addresses(vec![ip(127, 0, 0, 1)]), Reply::Alias("edge.partner.test", vec![ip(127, 0, 0, 1)])] {
        let names = NameServer::start(vec![reply]).await;
        let url = named(&server);
        let response = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await.expect("a response");
        assert_eq!(response.body, "ok");
    }
}

#[tokio::test]
async fn one_bad_address_refuses_the_name() {
    let server = Server::answering(OK).await;
    let good = ip(127, 0, 0, 1);
    for bad in [ip(10, 0, 0, 1), ip(127, 0, 0, 2), ip(169, 254, 169, 254), ip(93, 184, 215, 14), ip(0, 0, 0, 0)] {
        for reply in [vec![good, bad], vec![bad, good], vec![bad]] {
            for reply in [Reply::Addresses(reply.clone()), Reply::Alias("inner.partner.test", reply)] {
                let names = NameServer::start(vec![reply]).await;
                let url = named(&server);
                let ended = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await;
                assert!(matches!(ended, Err(EgressError::Denied(_))), "{bad}: {ended:?}");
            }
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_is_rebound_is_judged_again() {
    let server = Server::answering(OK).await;
    let names =
        NameServer::start(vec![Reply::Addresses(vec![ip(127, 0, 0, 1)]), Reply::Addresses(vec![ip(127, 0, 0, 6)])])
            .await;
    let inside = sentinel("127.0.0.6");
    let gate = gate(&config(&server, &names));
    let url = named(&server);
    let outlet = granted(&gate, &url, "test");
    assert!(get(&outlet, &url).await.is_ok());
    // The connection of the first request is waiting, and is not a way around the judgement of the second.
    assert!(matches!(get(&outlet, &url).await, Err(EgressError::Denied(_))));
    assert!(is_untouched(&inside) && server.connections() == 1 && names.questions() == 2);
}

#[tokio::test]
async fn failing_name_servers_are_a_dns_error() {
    let server = Server::answering(OK).await;
    for reply in [
        Reply::Code(NO_SUCH_NAME),
        Reply::Code(SERVER_FAILURE),
        Reply::Addresses(Vec::new()),
        Reply::Addresses(vec![ip(127, 0, 0, 1); 40]),
        Reply::Truncated,
    ] {
        let names = NameServer::start(vec![reply]).await;
        let url = named(&server);
        let ended = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await;
        assert!(matches!(ended, Err(EgressError::Dns(_))), "{ended:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_silent_name_server_uses_the_requests_own_time() {
    let server = Server::answering(OK).await;
    let names = NameServer::start(vec![Reply::Silence]).await;
    let url = named(&server);
    let outlet = granted(&gate(&config(&server, &names)), &url, "test");
    let ended = outlet.send(request("GET", &url, ""), Instant::now() + Duration::from_millis(300), caps()).await;
    assert!(matches!(ended, Err(EgressError::Timeout(_))), "{ended:?}");
}

#[tokio::test]
async fn what_the_policy_refuses_is_never_asked_for() {
    let server = Server::answering(OK).await;
    let names = NameServer::start(vec![Reply::Addresses(vec![ip(127, 0, 0, 1)])]).await;
    let gate = gate(&config(&server, &names));
    let outlet = granted(&gate, &named(&server), "test");
    for url in [
        "https://secret-data.attacker.example/",
        "http://api.partner.test/",
        "https://localhost/",
        "https://api.partner.test/",
    ] {
        assert!(matches!(get(&outlet, url).await, Err(EgressError::Denied(_))), "{url}");
    }
    assert_eq!(names.questions(), 0);
}

#[tokio::test]
async fn a_check_says_which_rule_answered() {
    let names = NameServer::start(vec![Reply::Code(NO_SUCH_NAME)]).await;
    let gate =
        Gate::new(&EgressConfig { dns_servers: vec![names.address], ..EgressConfig::default() }).expect("a gate");
    let allow =
        ["https://api.partner.test".to_owned(), "https://10.0.0.1".to_owned(), "http://api.partner.test".to_owned()];
    let grant = Grant::new(&allow, &serde_json::Map::new(), "test").expect("a grant");
    let overrides =
        |address: &str| BTreeMap::from([("api.partner.test".to_owned(), vec![address.parse().expect("an address")])]);
    for (url, addresses, rule) in [
        ("https://api.partner.test/", overrides("93.184.215.14"), None),
        ("https://api.partner.test/", overrides("10.0.0.1"), Some(Rule::Address)),
        ("https://api.partner.test/", overrides("::ffff:93.184.215.14"), Some(Rule::Address)),
        ("https://api.partner.test/", BTreeMap::new(), Some(Rule::Dns)),
        ("http://api.partner.test/", overrides("93.184.215.14"), Some(Rule::Scheme)),
        ("https://10.0.0.1/", BTreeMap::new(), Some(Rule::Address)),
        ("https://other.partner.test/", BTreeMap::new(), Some(Rule::Policy)),
        ("https://metadata.google.internal/", BTreeMap::new(), Some(Rule::Host)),
        ("https://a@api.partner.test/", BTreeMap::new(), Some(Rule::Url)),
    ] {
        let answered = match gate.check(url, &grant, &addresses).await {
            Verdict::Allow { .. } => None,
            Verdict::Deny(denial) => Some(denial.rule),
        };
        assert_eq!(answered, rule, "{url}");
    }
}
