//! Name servers that mix, rebind, hide and fail.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tidegate::egress::{EgressConfig, EgressError, Gate, Grant, Outlet, Rule, Verdict, ranges};
use tokio::time::Instant;

use super::{
    caps, gate, get, granted,
    name_server::{NameServer, Reply},
    open, request,
    server::{Server, is_untouched, sentinel},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

fn ip(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

fn at(octets: [u8; 4]) -> Reply {
    Reply::Addresses(vec![Ipv4Addr::from(octets).into()])
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
    for reply in [at([127, 0, 0, 1]), Reply::Alias("edge.partner.test", vec![ip(127, 0, 0, 1)])] {
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
    let names = NameServer::start(vec![at([127, 0, 0, 1]), at([127, 0, 0, 6])]).await;
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
async fn of_a_name_its_addresses_are_kept_while_they_are_valid_and_nothing_of_an_answer_that_is_too_large() {
    let server = Server::answering(OK).await;
    for (addresses, questions) in [(1, 1), (40, 3)] {
        let names = NameServer::start(vec![Reply::Lasting(vec![ip(127, 0, 0, 1); addresses])]).await;
        let gate = gate(&config(&server, &names));
        let url = named(&server);
        for _ in 0..3 {
            assert_eq!(get(&granted(&gate, &url, "test"), &url).await.is_ok(), addresses == 1);
        }
        assert_eq!(names.questions(), questions, "{addresses} addresses");
    }
}

#[tokio::test]
async fn failing_name_servers_are_a_dns_error() {
    let server = Server::answering(OK).await;
    for reply in [
        Reply::Code(NO_SUCH_NAME),
        Reply::Code(SERVER_FAILURE),
        Reply::Addresses(Vec::new()),
        Reply::Addresses(vec![ip(127, 0, 0, 1); 40]),
        // A thousand addresses, which no datagram holds.
        Reply::OverTcp(Box::new(Reply::Addresses(vec![ip(127, 0, 0, 1); 1_000]))),
        // "Ask again over TCP", where nothing is ever said.
        Reply::OverTcp(Box::new(Reply::Code(SERVER_FAILURE))),
        // An alias that leads nowhere, and one that leads to itself.
        Reply::Alias("edge.partner.test", Vec::new()),
        Reply::Alias("api.partner.test", Vec::new()),
    ] {
        let names = NameServer::start(vec![reply]).await;
        let url = named(&server);
        let ended = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await;
        assert!(matches!(ended, Err(EgressError::Dns(_))), "{ended:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp_and_judged_alike() {
    let server = Server::answering(OK).await;
    let inside = sentinel("127.0.0.6");
    let url = named(&server);
    let over_tcp = |address| Reply::OverTcp(Box::new(Reply::Addresses(vec![address])));
    let names = NameServer::start(vec![over_tcp(ip(127, 0, 0, 1))]).await;
    let response = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await.expect("a response");
    assert_eq!(response.body, "ok");
    let names = NameServer::start(vec![over_tcp(ip(127, 0, 0, 6))]).await;
    let ended = get(&granted(&gate(&config(&server, &names)), &url, "test"), &url).await;
    assert!(matches!(ended, Err(EgressError::Denied(_))), "{ended:?}");
    assert!(is_untouched(&inside) && server.connections() == 1);
}

#[tokio::test]
async fn an_alias_to_an_internal_name_or_address_opens_nothing() {
    let inside = sentinel("127.0.0.1");
    let port = inside.local_addr().expect("an address").port();
    let url = format!("http://api.partner.test:{port}");
    let opened = (Ipv4Addr::new(127, 0, 0, 9), port).into();
    for (alias, addresses) in [
        // What every resolver knows without asking.
        ("localhost", vec![]),
        ("metadata.google.internal", vec![ip(169, 254, 169, 254)]),
        ("instance-data.ec2.internal", vec![ip(10, 0, 0, 1)]),
        ("edge.partner.test", vec!["fd00:ec2::254".parse().expect("an address")]),
    ] {
        let names = NameServer::start(vec![Reply::Alias(alias, addresses)]).await;
        let gate = gate(&EgressConfig { dns_servers: vec![names.address], ..open(&[opened]) });
        let ended = get(&granted(&gate, &url, "test"), &url).await;
        assert!(matches!(ended, Err(EgressError::Denied(_) | EgressError::Dns(_))), "{alias}: {ended:?}");
    }
    assert!(is_untouched(&inside));
}

#[tokio::test]
async fn answers_that_are_none_are_not_believed() {
    let server = Server::answering(OK).await;
    let url = named(&server);
    for reply in [
        Reply::Garbage(Vec::new()),
        Reply::Garbage(vec![0xff; 600]),
        // A name that points to itself.
        Reply::Garbage([&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], &[0xc0, 12, 0, 1, 0, 1]].concat()),
        // Another question's answer.
        Reply::Foreign(vec![ip(127, 0, 0, 1)]),
    ] {
        let names = NameServer::start(vec![reply.clone()]).await;
        let outlet = granted(&gate(&config(&server, &names)), &url, "test");
        let ended = outlet.send(request("GET", &url, ""), Instant::now() + Duration::from_millis(300), caps()).await;
        assert!(matches!(ended, Err(EgressError::Dns(_) | EgressError::Timeout(_))), "{reply:?}: {ended:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn every_row_of_the_address_table_is_refused_as_literal_as_answer_and_as_manifest_entry() {
    let opened = Server::answering(OK).await;
    let manifest = |url: &str| {
        let text = format!("name = \"probe\"\nversion = \"1\"\nevents = [\"track\"]\negress.allow = [\"{url}\"]\n");
        tidegate::catalog::manifest::parse(&text).is_ok()
    };
    let mut rows = 0;
    for range in ranges() {
        for address in [range.first(), range.last()] {
            let literal = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            for scheme in ["https", "http"] {
                let url = format!("{scheme}://{literal}:9");
                // Manifests do not even name what no operator can open; other rows are refused when they are dialled.
                let named = ranges().find(|row| (row.first()..=row.last()).contains(&address)).expect("a row");
                assert_ne!(manifest(&url), named.always, "{named}: `{url}` in a manifest");
                let gate = gate(&open(&[opened.address]));
                let ended = get(&granted(&gate, &url, "test"), &url).await;
                assert!(matches!(ended, Err(EgressError::Denied(_))), "{range}: {url}: {ended:?}");
            }
            let names = NameServer::start(vec![Reply::Addresses(vec![address])]).await;
            let url = "https://api.partner.test";
            let ended = get(&granted(&gate(&config(&opened, &names)), url, "test"), url).await;
            // The answer was read, and it was the address that was refused.
            assert!(
                matches!(&ended, Err(EgressError::Denied(why)) if why.contains("not a public address")),
                "{range}: {address}: {ended:?}"
            );
        }
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
    assert_eq!(opened.connections(), 0);
}

#[tokio::test]
async fn a_late_answer_is_too_late_and_dials_nothing() {
    let server = Server::answering(OK).await;
    let late = Reply::Late(Duration::from_millis(500), Box::new(at([127, 0, 0, 1])));
    let names = NameServer::start(vec![late]).await;
    let url = named(&server);
    let outlet = granted(&gate(&config(&server, &names)), &url, "test");
    let ended = outlet.send(request("GET", &url, ""), Instant::now() + Duration::from_millis(200), caps()).await;
    assert!(matches!(ended, Err(EgressError::Timeout(_))), "{ended:?}");
    names.late().await;
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
    let names = NameServer::start(vec![at([127, 0, 0, 1])]).await;
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
