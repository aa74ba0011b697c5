//! *Permit*: a guest's request becomes a [`PermittedRequest`], or is refused. Pure: no IO, no DNS.
//!
//! Guarantees: a permitted request was parsed once, has a method that functions may use, carries no header that
//! belongs to the host, and goes to an origin that its grant names. Nothing else can be sent: the constructor is private.
//!
//! Leaves to others: names and addresses (`resolve`, `reach`), sending (`send`).

use std::{
    fmt,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT_ENCODING, HOST, USER_AGENT},
    uri::PathAndQuery,
};

use super::{
    OutboundRequest,
    grant::Grant,
    origin::{BadUrl, Host, Origin, SHOWN, Scheme, Target},
    reach::Reach,
    secrets::Secrets,
    verdict::{Denial, Rule},
};

/// Header fields of one request: as many as a response may have.
pub const MAX_HEADERS: usize = 64;
/// Bytes of header names and values of one request: common servers take 8 to 32 KiB.
pub const MAX_HEADER_BYTES: usize = 32 << 10;

/// What partners' APIs use. CONNECT and TRACE would make a partner's server a tool; the rest is nobody's API.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

/// Fields that say how bytes travel between two machines, not what they mean: the host's business.
const HOST_FIELDS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A request that the rules and the policy let pass. Only [`permit`] makes one.
pub struct PermittedRequest {
    pub(super) grant: Grant,
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The name of a secret that has been written into it, if one was.
    pub(super) secret: Option<Box<str>>,
}

/// Without what may hold a secret.
impl fmt::Debug for PermittedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.origin)
    }
}

/// The origin that one grant and reach let pass last: nearly all functions send everything to one.
#[derive(Default)]
pub struct LastOrigin(Mutex<Option<Allowed>>);

/// An origin that was let pass.
struct Allowed {
    /// As the guest wrote it.
    written: Box<str>,
    origin: Origin,
    /// The `host` header.
    host: HeaderValue,
}

impl LastOrigin {
    fn find(&self, written: &str) -> Option<(Origin, HeaderValue)> {
        let last = self.lock();
        let last = last.as_ref().filter(|last| *last.written == *written)?;
        Some((last.origin.clone(), last.host.clone()))
    }

    fn keep(&self, allowed: Allowed) {
        *self.lock() = Some(allowed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Allowed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies every rule that needs no network, in order: URL, method, headers, policy, scheme, literal address. What a refusal
/// quotes has no part of these secrets. `last` is always of the same grant and reach.
pub fn permit(
    request: &OutboundRequest,
    (grant, reach): (&Grant, &Reach),
    last: &LastOrigin,
    secrets: &Secrets,
) -> Result<PermittedRequest, Denial> {
    let (mut known, mut written) = (None, 0);
    let target = Target::parse_with(&request.url, |text| {
        written = text.len();
        let (origin, host) = last.find(text)?;
        known = Some(host);
        Some(origin)
    });
    let Target { origin, path } = target.map_err(|bad| without(bad, secrets))?;
    let method = method(&request.method, secrets)?;
    let mut headers = headers(&request.headers, secrets)?;
    let host = match known {
        Some(host) => host,
        None => {
            allowed(&origin, grant, reach)?;
            let host = HeaderValue::try_from(origin.authority()).map_err(|error| {
                Denial::new(Rule::Host, format!("the host `{}` cannot be sent: {error}", origin.host))
            })?;
            let written = request.url[..written].into();
            last.keep(Allowed { written, origin: origin.clone(), host: host.clone() });
            host
        }
    };
    headers.insert(HOST, host);
    headers.entry(USER_AGENT).or_insert(AGENT);
    headers.entry(ACCEPT_ENCODING).or_insert(GZIP);
    Ok(PermittedRequest {
        grant: grant.clone(),
        origin,
        method,
        path,
        headers,
        body: request.body.clone(),
        secret: None,
    })
}

/// The part of the policy that speaks about origins. Answers before any DNS query: a name is a channel too.
pub(super) fn allowed(origin: &Origin, grant: &Grant, reach: &Reach) -> Result<(), Denial> {
    grant.judge(origin).map_err(|reason| Denial::new(Rule::Policy, reason))?;
    if let Host::Address(address) = origin.host {
        let address = SocketAddr::new(address, origin.port);
        if grant.is_filled(origin) && !reach.opens(address) {
            return Err(Denial::new(
                Rule::Address,
                format!(
                    "`{origin}` stands in a setting: an address goes there only if the operator lists `{address}` in \
                     `allow_addresses`; use a host's name"
                ),
            ));
        }
        return reach.judge(address, origin.scheme).map_err(|reason| Denial::new(Rule::Address, reason));
    }
    if origin.scheme == Scheme::Http && !reach.opens_port(origin.port) {
        return Err(Denial::new(
            Rule::Scheme,
            format!(
                "`{origin}` is plain `http`, which goes only to addresses in the operator's `allow_addresses`; use `https`"
            ),
        ));
    }
    Ok(())
}

/// What is shown of a URL is cut here, since nobody later could tell that its end is the beginning of a secret.
fn without(bad: BadUrl, secrets: &Secrets) -> BadUrl {
    match bad {
        BadUrl::Malformed { url, reason } if !secrets.is_empty() => {
            BadUrl::Malformed { url: secrets.excerpt(&url, SHOWN), reason }
        }
        bad => bad,
    }
}

/// So many bytes of what a guest wrote, for one line of a log.
fn quoted(text: &str, most: usize, secrets: &Secrets) -> String {
    secrets.shown(text, most).chars().flat_map(char::escape_debug).collect()
}

fn method(text: &str, secrets: &Secrets) -> Result<Method, Denial> {
    METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let text = quoted(text, 32, secrets);
        Denial::new(
            Rule::Method,
            format!("the method `{text}` is not one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        )
    })
}

/// Whether functions must leave a header to the host.
pub fn belongs_to_host(field: &HeaderName) -> bool {
    HOST_FIELDS.contains(&field.as_str())
}

fn headers(fields: &[(String, String)], secrets: &Secrets) -> Result<HeaderMap, Denial> {
    let refuse = |reason: String| Err(Denial::new(Rule::Header, reason));
    if fields.len() > MAX_HEADERS {
        return refuse(format!("the request has {} header fields; {MAX_HEADERS} is the most", fields.len()));
    }
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return refuse(format!("the request's header fields have {bytes} bytes; {MAX_HEADER_BYTES} is the most"));
    }
    // Three more are the host's own, and one says how long the body is.
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for (name, value) in fields {
        let Ok(field) = HeaderName::from_bytes(name.as_bytes()) else {
            return refuse(format!("`{}` is not the name of a header field", quoted(name, 64, secrets)));
        };
        if belongs_to_host(&field) {
            return refuse(format!("the header `{field}` belongs to the host; leave it out"));
        }
        let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
            return refuse(format!("the value of the header `{field}` has a control character such as CR, LF or NUL"));
        };
        headers.append(field, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::EgressConfig;

    fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> OutboundRequest {
        OutboundRequest {
            method: method.into(),
            url: url.into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            body: Bytes::new(),
        }
    }

    fn ask(request: OutboundRequest) -> Result<PermittedRequest, Denial> {
        let allow = [
            "https://a.example",
            "http://a.example",
            "http://127.0.0.1:9",
            "http://b.example:9",
            "https://169.254.169.254",
        ];
        let allow: Vec<String> = allow.iter().map(|text| (*text).to_owned()).collect();
        let grant = Grant::new(&allow, &serde_json::Map::new(), "test").expect("a grant");
        let open = vec![SocketAddr::from(([127, 0, 0, 1], 9))];
        let reach = Reach::new(&EgressConfig { allow_addresses: open, ..EgressConfig::default() }).expect("a reach");
        permit(&request, (&grant, &reach), &LastOrigin::default(), &Secrets::default())
    }

    #[test]
    fn each_rule_answers_for_itself() {
        for (method, url, headers, rule) in [
            ("GET", "https://a.example/x", &[][..], None),
            ("get", "https://a.example/x", &[("X-Key", "v"), ("x-key", "w")], None),
            ("GET", "http://127.0.0.1:9/", &[], None),
            ("GET", "http://b.example:9/", &[], None),
            ("GET", "a.example", &[], Some(Rule::Url)),
            ("GET", "https://localhost/", &[], Some(Rule::Host)),
            ("CONNECT", "https://a.example/", &[], Some(Rule::Method)),
            ("TRACE", "https://a.example/", &[], Some(Rule::Method)),
            ("GET /x HTTP/1.1\r\n", "https://a.example/", &[], Some(Rule::Method)),
            ("", "https://a.example/", &[], Some(Rule::Method)),
            ("GET", "https://a.example/", &[("Host", "b.example")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("content-length", "0")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("Transfer-Encoding", "chunked")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("upgrade", "h2c")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("x", "a\r\nhost: b")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("x", "a\nb")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("x", "a\0b")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("x y", "a")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("x:", "a")], Some(Rule::Header)),
            ("GET", "https://a.example/", &[("", "a")], Some(Rule::Header)),
            ("GET", "https://c.example/", &[], Some(Rule::Policy)),
            ("GET", "http://a.example/", &[], Some(Rule::Scheme)),
            ("GET", "https://169.254.169.254/", &[], Some(Rule::Address)),
        ] {
            assert_eq!(
                ask(request(method, url, headers)).err().map(|denial| denial.rule),
                rule,
                "{method} {url} {headers:?}"
            );
        }
    }

    #[test]
    fn an_address_in_a_setting_is_reached_only_if_the_operator_names_it() {
        let open = vec![SocketAddr::from(([127, 0, 0, 1], 9)), SocketAddr::from(([93, 184, 215, 14], 443))];
        let reach = Reach::new(&EgressConfig { allow_addresses: open, ..EgressConfig::default() }).expect("a reach");
        let allow = ["{settings.url}".to_owned(), "https://1.1.1.1".to_owned()];
        for (url, permitted) in [
            ("https://hooks.a.example", true),
            ("http://127.0.0.1:9", true),
            ("http://127.0.0.1:8", false),
            ("https://93.184.215.14", true),
            ("https://93.184.215.14:8443", false),
            ("https://93.184.215.15", false),
            ("https://[2606:4700::1111]", false),
            // The manifest names this one itself.
            ("https://1.1.1.1", true),
        ] {
            let settings = serde_json::Map::from_iter([("url".to_owned(), url.into())]);
            let grant = Grant::new(&allow, &settings, "test").expect("a grant");
            let request = request("GET", &format!("{url}/x"), &[]);
            let denial = permit(&request, (&grant, &reach), &LastOrigin::default(), &Secrets::default()).err();
            assert_eq!(denial.as_ref().is_none(), permitted, "{url}: {denial:?}");
            assert!(denial.is_none_or(|denial| denial.rule == Rule::Address), "{url}");
        }
    }

    #[test]
    fn an_origin_that_was_let_pass_opens_no_other() {
        let grant = Grant::new(&["https://a.example".to_owned()], &serde_json::Map::new(), "test").expect("a grant");
        let (reach, last) = (Reach::default(), LastOrigin::default());
        for _ in 0..2 {
            for (url, sent) in [
                ("https://a.example/x", Some(("a.example", "/x"))),
                ("https://A.example:443?y", Some(("a.example", "/?y"))),
                ("https://a.example#z", Some(("a.example", "/"))),
                ("https://a.example.b.example/x", None),
                ("https://a.example:444/x", None),
                ("http://a.example/x", None),
                ("https://a.example\\@b.example/", None),
                ("https://a.example@b.example/", None),
            ] {
                let permitted = permit(&request("GET", url, &[]), (&grant, &reach), &last, &Secrets::default()).ok();
                let seen = permitted
                    .as_ref()
                    .map(|permitted| (permitted.headers[HOST].to_str().expect("a host"), permitted.path.as_str()));
                assert_eq!(seen, sent, "{url}");
            }
        }
    }

    #[test]
    fn header_fields_are_bounded_in_number_and_bytes() {
        let most: Vec<(&str, &str)> = vec![("x", "y"); MAX_HEADERS];
        assert!(ask(request("GET", "https://a.example/", &most)).is_ok());
        let more: Vec<(&str, &str)> = vec![("x", "y"); MAX_HEADERS + 1];
        assert!(ask(request("GET", "https://a.example/", &more)).is_err());
        let value = "v".repeat(MAX_HEADER_BYTES - 1);
        assert!(ask(request("GET", "https://a.example/", &[("x", &value)])).is_ok());
        assert!(ask(request("GET", "https://a.example/", &[("xx", &value)])).is_err());
    }

    #[test]
    fn the_host_adds_its_own_fields_and_keeps_the_guests() {
        let permitted = ask(request("post", "http://127.0.0.1:9/p?q", &[("user-agent", "mine")])).expect("permitted");
        assert_eq!(permitted.headers[HOST], "127.0.0.1:9");
        assert_eq!(permitted.headers[USER_AGENT], "mine");
        assert_eq!(permitted.headers[ACCEPT_ENCODING], "gzip");
        assert_eq!((permitted.method.as_str(), permitted.path.as_str()), ("POST", "/p?q"));
    }
}
