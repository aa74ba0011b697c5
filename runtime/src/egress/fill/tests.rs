use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::egress::{EgressConfig, HandleKey};

const MANIFEST: &str = r#"{"name": "f", "version": "1", "events": ["track"],
    "egress": {"allow": ["https://a.example", "https://b.example", "http://127.0.0.1:9", "http://10.0.0.1:9", "{settings.own}"]},
    "settings": {
        "own": {"type": "string"},
        "s": {"type": "string", "secret": true, "bind": [
            {"origin": "https://a.example", "place": "bearer"},
            {"origin": "https://a.example", "place": "header", "name": "X-Key"},
            {"origin": "https://a.example", "place": "query", "name": "the key"},
            {"origin": "https://a.example", "place": "body"},
            {"origin": "http://127.0.0.1:9", "place": "bearer"},
            {"origin": "http://10.0.0.1:9", "place": "bearer"},
            {"origin": "{settings.own}", "place": "bearer"}]},
        "user": {"type": "string", "secret": true, "bind": [
            {"origin": "https://a.example", "place": "basic-user"},
            {"origin": "https://a.example", "place": "header", "name": "authorization"},
            {"origin": "https://b.example", "place": "basic-user"}]},
        "pass": {"type": "string", "secret": true, "bind": [{"origin": "https://a.example", "place": "basic-password"}]},
        "path": {"type": "string", "secret": true, "bind": [{"origin": "https://a.example", "place": "path"}]},
        "lost": {"type": "string", "secret": true},
        "shown": {"type": "string", "secret": true, "reveal": true}}}"#;

struct Bench {
    secrets: Secrets,
    grant: Grant,
    reach: Reach,
    settings: Map<String, Value>,
}

impl Bench {
    fn new(values: Value) -> Self {
        let manifest = serde_json::from_str(MANIFEST).expect("a manifest");
        let mut settings = values.as_object().expect("an object").clone();
        let grant =
            Grant::new(&crate::model::Manifest::clone(&manifest).egress.allow, &settings, "dst").expect("a grant");
        let secrets = Secrets::take(&manifest, &mut settings, "dst", &HandleKey::random()).expect("secrets");
        let open = ["127.0.0.1:9", "10.0.0.1:9"].map(|address| address.parse().expect("an address")).to_vec();
        let reach = Reach::new(&EgressConfig { allow_addresses: open, ..EgressConfig::default() }).expect("a reach");
        Self { secrets, grant, reach, settings }
    }

    fn usual() -> Self {
        Self::new(json!({"s": "v\"1 ü/&", "user": "us er", "pass": "p:w", "path": "/T0/B 0?x/%2f%", "lost": "lost-1",
            "shown": "shown-1", "own": "https://own.example/x"}))
    }

    /// A text with `{NAME}` as the function would write it.
    fn with_handles(&self, text: &str) -> String {
        self.settings.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default())
        })
    }

    fn ask(&self, url: &str, headers: &[(&str, &str)], body: &str) -> Result<PermittedRequest, Denial> {
        let headers = headers.iter().map(|(name, value)| (self.with_handles(name), self.with_handles(value)));
        let headers = headers.map(|(name, value)| match value.strip_prefix("Basic ") {
            Some(plain) if !plain.starts_with('!') => (name, format!("Basic {}", STANDARD.encode(plain))),
            _ => (name, value),
        });
        let request = OutboundRequest {
            method: "POST".into(),
            url: self.with_handles(url),
            headers: headers.collect(),
            body: self.with_handles(body).into(),
        };
        permitted(&request, (&self.grant, &self.reach), &LastOrigin::default(), &self.secrets)
    }
}

#[test]
fn values_are_written_where_the_manifest_binds_them_and_encoded_for_their_place() {
    let bench = Bench::usual();
    let header = |name: &str, value: &str| {
        let sent = bench.ask("https://a.example/", &[(name, value)], "").expect("permitted");
        String::from_utf8(sent.headers[name].as_bytes().to_vec()).expect("UTF-8")
    };
    let path = |url: &str| bench.ask(url, &[], "").expect("permitted").path.to_string();
    let body = |kind: &str, body: &str| {
        let sent = bench.ask("https://a.example/", &[("content-type", kind)], body).expect("permitted");
        String::from_utf8(sent.body.to_vec()).expect("UTF-8")
    };
    assert_eq!(header("authorization", "Bearer {s}"), "Bearer v\"1 ü/&");
    assert_eq!(header("x-key", "Key={s};"), "Key=v\"1 ü/&;");
    assert_eq!(header("authorization", "Token {user}"), "Token us er");
    assert_eq!(header("authorization", "Basic {user}:{pass}"), format!("Basic {}", STANDARD.encode("us er:p:w")));
    assert_eq!(path("https://a.example{path}/x"), "/T0/B%200%3Fx/%2f%25/x");
    assert_eq!(
        path("https://a.example/x?a=1&the%20key={s}&b={own}"),
        "/x?a=1&the%20key=v%221%20%C3%BC%2F%26&b=https://own.example/x"
    );
    assert_eq!(path("https://a.example/?the+key={s}"), "/?the+key=v%221%20%C3%BC%2F%26");
    assert_eq!(body("application/json", r#"{"a": ["x{s}"]}"#), r#"{"a": ["xv\"1 ü/&"]}"#);
    assert_eq!(
        body("text/plain", "{\"a\": \"{s}\"}\n{\"a\": \"{s}\"}"),
        "{\"a\": \"v\\\"1 ü/&\"}\n{\"a\": \"v\\\"1 ü/&\"}"
    );
    assert_eq!(body("application/x-www-form-urlencoded; charset=utf-8", "a=1&k={s}"), "a=1&k=v%221%20%C3%BC%2F%26");
}

#[test]
fn a_handle_anywhere_else_is_refused_by_its_settings_name() {
    let bench = Bench::usual();
    for (url, header, body, expected) in [
        (
            "https://b.example/",
            ("authorization", "Bearer {s}"),
            "",
            "`s` may not go to `https://b.example`: the manifest binds it to `https://a.example`",
        ),
        (
            "https://a.example/",
            ("authorization", "Bearer {lost}"),
            "",
            "binds it nowhere; write `bind = [{ origin = \"https://a.example\", place = \"bearer\" }]`",
        ),
        ("https://a.example/", ("x-other", "{s}"), "", "may not stand in the header `x-other`"),
        (
            "https://a.example/",
            ("authorization", "Bearer {path}"),
            "",
            "`path` may not stand in the bearer token of a request to `https://a.example`: the manifest binds it to the path",
        ),
        ("https://b.example/", ("authorization", "Basic x:{user}"), "", "may not stand in the password"),
        ("https://a.example/", ("authorization", "Basic {pass}:x"), "", "may not stand in the user"),
        ("https://a.example/", ("x-{s}", "x"), "", "stands in the name of a header"),
        ("https://a.example/{s}", ("x", "x"), "", "may not stand in the path"),
        ("https://a.example/?key={s}", ("x", "x"), "", "may not stand in the query parameter `key`"),
        ("https://a.example/?{s}", ("x", "x"), "", "in the name of a parameter"),
        ("https://a.example/?{s}=the+key", ("x", "x"), "", "in the name of a parameter"),
        ("https://{s}.a.example/", ("x", "x"), "", "`s` stands in the scheme, host or port"),
        ("https://a.example:{s}/", ("x", "x"), "", "`s` stands in the scheme, host or port"),
        ("https://{s}@a.example/", ("x", "x"), "", "`s` stands in the scheme, host or port"),
        ("https://a.example/", ("x", "x"), "{\"a\": \"{path}\"}", "`path` may not stand in the body"),
        ("https://a.example/", ("x", "x"), "a={s}", "neither JSON nor"),
        ("https://a.example/", ("x", "x"), "{\"a\": {s}}", "neither JSON nor"),
        (
            "https://a.example/",
            ("content-type", "application/x-www-form-urlencoded"),
            "{s}=1",
            "in the name of a parameter",
        ),
        ("http://10.0.0.1:9/", ("authorization", "Bearer {s}"), "", "does not travel over plain `http`"),
    ] {
        let denial = bench.ask(url, &[header], body).expect_err(expected);
        assert_eq!(denial.rule, Rule::Secret, "{denial:?}");
        assert!(denial.reason.contains(expected), "{}", denial.reason);
        assert!(!denial.reason.contains("v\"1") && !denial.reason.contains("lost-1"), "{}", denial.reason);
    }
}

#[test]
fn what_is_no_place_for_a_secret_is_sent_as_it_is() {
    let bench = Bench::usual();
    let sent = bench.ask("https://b.example/#{s}", &[("x", "tgs_{shown}")], "tgs_ tgs_0123").expect("permitted");
    assert_eq!((sent.path.as_str(), &sent.body[..]), ("/", &b"tgs_ tgs_0123"[..]));
    assert_eq!(sent.headers["x"], "tgs_shown-1", "a revealed secret is a text like any other");
    assert!(sent.secret.is_none());
    let escape = bench.with_handles(r#"{"a": "\{s}"}"#);
    let sent = bench.ask("https://a.example/", &[], &escape).expect("permitted");
    assert_eq!(sent.body, escape, "the first letter belongs to an escape");
}

#[test]
fn a_part_of_an_answer_in_which_a_secret_could_be_cut_in_two_is_not_asked_for() {
    let bench = Bench::usual();
    for name in ["range", "Range", "if-range"] {
        let ask = |url: &str| bench.ask(url, &[(name, "bytes=0-9")], "").map_err(|denial| denial.reason);
        let refused =
            ask("https://a.example/").expect_err("a secret is bound to it, whether this request has it or not");
        assert!(
            refused.contains(&format!("`{}`", name.to_lowercase())) && refused.contains("leave it out"),
            "{refused}"
        );
        assert!(ask("https://own.example/").is_err(), "an origin of the settings");
    }
    let free = Bench::new(json!({"s": "", "user": "", "pass": "", "path": ""}));
    assert!(
        free.ask("https://a.example/", &[("range", "bytes=0-9")], "").is_ok(),
        "there is nothing to read in pieces"
    );
}

#[test]
fn secrets_go_over_plain_http_to_this_machine_only() {
    let bench = Bench::usual();
    let header = [("authorization", "Bearer {s}")];
    let sent = bench.ask("http://127.0.0.1:9/", &header, "").expect("permitted");
    assert_eq!(sent.secret.as_deref(), Some("s"));
    assert!(bench.ask("https://own.example/", &header, "").is_ok(), "an origin of the settings");
    assert!(bench.ask("http://10.0.0.1:9/", &[], "").is_ok(), "without a secret");
    for address in ["10.0.0.1", "192.168.0.1", "fd00::1", "93.184.215.14"] {
        let address = address.parse().expect("an address");
        assert!(travels("s", Scheme::Http, address).is_err() && travels("s", Scheme::Https, address).is_ok());
    }
}

#[test]
fn values_that_would_break_out_of_their_place_are_refused_without_being_shown() {
    for (value, header, url, body) in [
        ("a\r\nx: y", "Bearer {s}", "https://a.example/", ""),
        ("a\nb", "Bearer x", "https://a.example/?the%20key={s}", ""),
        ("a\0b", "Bearer {s}", "https://a.example/", ""),
        ("/a/../b", "x", "https://a.example{path}", ""),
        ("/a/%2E./b", "x", "https://a.example{path}", ""),
        ("/a\r\nHost: x", "x", "https://a.example{path}", ""),
        ("us:er", "Basic {user}:", "https://b.example/", ""),
    ] {
        let bench = Bench::new(json!({"s": value, "user": value, "path": value}));
        let denial = bench.ask(url, &[("authorization", header)], body).expect_err(value);
        assert!(!denial.reason.contains(value), "{}", denial.reason);
    }
    let bench = Bench::new(json!({"s": "a\r\n\"\\\u{0}"}));
    let sent = bench.ask("https://a.example/", &[], "[\"{s}\"]").expect("JSON holds any text");
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).expect("JSON"), json!(["a\r\n\"\\\u{0}"]));
}

#[test]
fn a_request_is_bounded_with_its_values_too() {
    let bench = Bench::new(json!({"s": "x".repeat(16_000), "path": format!("/{}", "x".repeat(9_000))}));
    let body = format!("[{}\"\"]", "\"{s}\",".repeat(80));
    for (url, headers, body) in [
        ("https://a.example/", &[][..], &*body),
        ("https://a.example{path}", &[], ""),
        ("https://a.example/", &[("x-key", "{s}{s}{s}")], ""),
    ] {
        let denial = bench.ask(url, headers, body).expect_err("too large");
        assert!(denial.reason.contains("more than") && denial.reason.len() < 300, "{}", denial.reason);
    }
}

#[test]
fn an_answer_that_is_to_be_searched_is_asked_for_in_a_form_that_can_be_read() {
    let bench = Bench::usual();
    for (url, expected) in
        [("https://a.example/", "gzip"), ("https://b.example/", "gzip"), ("http://10.0.0.1:9/", "gzip")]
    {
        let sent = bench.ask(url, &[("accept-encoding", "br, zstd")], "").expect("permitted");
        assert_eq!(sent.headers[ACCEPT_ENCODING], expected, "{url}");
    }
    let free = Bench::new(json!({"shown": "shown-1"}));
    assert_eq!(
        free.ask("https://a.example/", &[("accept-encoding", "br")], "").expect("permitted").headers[ACCEPT_ENCODING],
        "br"
    );
}

proptest! {
    /// Whatever the value, what is around it stays what it was.
    #[test]
    fn no_value_changes_the_structure_around_it(value in "\\PC{1,30}|[\\x00-\\x7f]{1,20}") {
        let bench = Bench::new(json!({"s": value, "path": value}));
        let sent = bench.ask("https://a.example/", &[], r#"{"a": "{s}", "b": 1}"#).expect("JSON holds any text");
        prop_assert_eq!(serde_json::from_slice::<Value>(&sent.body).expect("JSON"), json!({"a": value, "b": 1}));
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let sent = bench.ask("https://a.example/", &form, "a={s}&b=1").expect("a form holds any text");
        let pairs: Vec<_> = url::form_urlencoded::parse(&sent.body).into_owned().collect();
        prop_assert_eq!(pairs, [("a".to_owned(), value.clone()), ("b".to_owned(), "1".to_owned())]);
        if let Ok(sent) = bench.ask("https://a.example/x?the%20key={s}&b=1", &[], "") {
            let read = url::Url::parse(&format!("https://a.example{}", sent.path)).expect("a URL");
            let pairs: Vec<_> = read.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [("the key".to_owned(), value.clone()), ("b".to_owned(), "1".to_owned())]);
        }
        if let Ok(sent) = bench.ask("https://a.example/x/{path}/y?q", &[], "") {
            let path = sent.path.path();
            prop_assert!(path.starts_with("/x/") && path.ends_with("/y"), "{}", path);
            prop_assert_eq!(sent.path.query(), Some("q"));
            let read = url::Url::parse(&format!("https://a.example{}", sent.path)).expect("a URL");
            prop_assert_eq!(read.path(), path);
        }
        if let Ok(sent) = bench.ask("https://a.example/", &[("x-key", "a{s}b")], "") {
            let whole = format!("a{value}b");
            prop_assert_eq!(sent.headers["x-key"].as_bytes(), whole.as_bytes());
        }
    }

    /// Whatever a function puts around a handle, the value is sent in no other place than a bound one, or not at all.
    #[test]
    fn no_request_brings_a_value_where_it_is_not_bound(before in "[ -~]{0,12}", after in "[ -~]{0,12}", place in 0_usize..4) {
        let bench = Bench::new(json!({"path": "/the-value"}));
        let around = format!("{before}{}{after}", bench.settings["path"].as_str().expect("a handle"));
        let sent = match place {
            0 => bench.ask(&format!("https://a.example/?{around}"), &[], ""),
            1 => bench.ask("https://a.example/", &[("authorization", &around)], ""),
            2 => bench.ask("https://a.example/", &[], &around),
            _ => bench.ask(&format!("https://a.example:{around}"), &[], ""),
        };
        if let Ok(sent) = sent {
            let head = format!("{}{:?}", sent.path.query().unwrap_or_default(), sent.headers);
            prop_assert!(!head.contains("the-value") && memchr::memmem::find(&sent.body, b"the-value").is_none());
        }
    }
}

#[test]
fn a_request_without_handles_is_not_copied() {
    let bench = Bench::usual();
    let body = Bytes::from_static(b"{\"a\": \"tgs_\"}");
    let request = OutboundRequest {
        method: "POST".into(),
        url: "https://a.example/".into(),
        headers: Default::default(),
        body: body.clone(),
    };
    let sent =
        permitted(&request, (&bench.grant, &bench.reach), &LastOrigin::default(), &bench.secrets).expect("permitted");
    assert_eq!(sent.body.as_ptr(), body.as_ptr());
}
