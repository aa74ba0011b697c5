use proptest::prelude::*;

use super::*;

fn authority(url: &str) -> Option<String> {
    Target::parse(url).ok().map(|target| target.origin.to_string())
}

#[test]
fn plain_urls_are_read() {
    for (url, origin, path) in [
        ("https://hooks.slack.com", "https://hooks.slack.com", "/"),
        ("HTTPS://Hooks.Slack.COM./services?x=1#frag", "https://hooks.slack.com", "/services?x=1"),
        ("https://a.example:8443/%7Bid%7D", "https://a.example:8443", "/%7Bid%7D"),
        ("https://a.example:443/", "https://a.example", "/"),
        ("http://a.example:443/", "http://a.example:443", "/"),
        ("https://a.example?q=/..//", "https://a.example", "/?q=/..//"),
        ("https://a.example#x", "https://a.example", "/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example", "/"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9", "/"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443", "/"),
    ] {
        let target = Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!((target.origin.to_string().as_str(), target.path.as_str()), (origin, path), "{url}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for url in [
        "",
        "hooks.slack.com",
        "//a.example/",
        "https:/a.example",
        "https:a.example",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://",
        "https:///",
        "https://user@a.example/",
        "https://user:pw@a.example/",
        "https://a.example@b.example/",
        "https://a.example\\@b.example/",
        "https://a.example/\\b",
        "https://a.example:/",
        "https://a.example:0/",
        "https://a.example:0443/",
        "https://a.example:65536/",
        "https://a.example:65616/",
        "https://a.example:+443/",
        "https://a.example:443:443/",
        "https://a.example:44 3/",
        "https://a..example/",
        "https://.a.example/",
        "https://a.example../",
        "https://-a.example/",
        "https://a-.example/",
        "https://a_b.example/",
        "https://a%2eexample/",
        "https://b\u{fc}cher.example/",
        "https://a\u{3002}example/",
        "https://a.example\u{0}/",
        "https://a.example/\r\nx: y",
        "https://a.example/a b",
        "https://a.example/\t",
        " https://a.example/",
        "https://localhost/",
        "https://intranet/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://Router.LAN/",
        "https://1.0.0.127.in-addr.arpa/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0251.0376.0251.0376/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://127.0.0.01/",
        "https://127.0.0.256/",
        "https://1.2.3.4.5/",
        "https://a.0x1/",
        "https://a.0x/",
        "https://a.123/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[v1.a]/",
        "https://[127.0.0.1]/",
        "https://::1/",
        "https://[::ffff:7f00:1]/",
    ] {
        assert_eq!(authority(url), None, "{url:?}");
    }
}

#[test]
fn lengths_are_bounded() {
    let label = "a".repeat(63);
    assert!(authority(&format!("https://{label}.example/")).is_some());
    assert!(authority(&format!("https://{label}a.example/")).is_none());
    let name = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert!(authority(&format!("https://{name}/")).is_some());
    assert!(authority(&format!("https://{name}b/")).is_none());
    let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES - 18));
    assert!(authority(&long).is_some());
    assert!(authority(&format!("{long}x")).is_none());
}

#[test]
fn an_origin_has_nothing_after_its_port() {
    assert!(Origin::parse("https://a.example").is_ok());
    assert!(Origin::parse("https://a.example/").is_ok());
    assert!(Origin::parse("https://a.example/x").is_err());
    assert!(Origin::parse("https://a.example?x").is_err());
}

/// Pieces that URLs are attacked with, glued in any order.
fn hostile_url() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "https://",
        "http://",
        "HTTPS:",
        "//",
        "/",
        "\\",
        "?",
        "#",
        "@",
        ":",
        ".",
        "..",
        "-",
        "_",
        "[",
        "]",
        "%",
        "%2e",
        "a.example",
        "b.example",
        "localhost",
        "127.0.0.1",
        "0x7f",
        "1",
        "0",
        "::1",
        "::ffff:",
        "443",
        "65616",
        "0443",
        "\t",
        "\r\n",
        " ",
        "\u{0}",
        "\u{fc}",
        "\u{3002}",
        "\u{ff0e}",
        "xn--",
        "A",
        "user",
        ";",
        "=",
        "&",
        "*",
        "{",
        "|",
        "^",
        "+",
    ]);
    let tail = prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
    prop_oneof![tail.clone(), tail.prop_map(|tail| format!("https://{tail}")), any::<String>(), "https://[ -~]{0,24}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever the gate takes, two foreign parsers read as the same host and port.
    #[test]
    fn other_parsers_read_the_same_host_and_port(text in hostile_url()) {
        if let Ok(target) = Target::parse(&text) {
            let origin = &target.origin;
            // Only bad Punycode, which to the gate is a name like any other, is too much for a browser.
            let Ok(whatwg) = url::Url::parse(&text) else {
                prop_assert!(origin.host.to_string().contains("xn--"), "{} is no URL to a browser", text);
                return Ok(());
            };
            prop_assert_eq!(whatwg.scheme(), origin.scheme.as_str());
            prop_assert_eq!(whatwg.port_or_known_default(), Some(origin.port));
            prop_assert_eq!(whatwg.host_str().unwrap_or_default().trim_end_matches('.'), origin.host.to_string());
            prop_assert_eq!(whatwg.username(), "");
            if let Ok(uri) = text.parse::<http::Uri>() {
                let host = uri.host().unwrap_or_default().to_ascii_lowercase();
                prop_assert_eq!(host.trim_end_matches('.'), origin.host.to_string());
                prop_assert_eq!(uri.port_u16().unwrap_or(origin.scheme.default_port()), origin.port);
            }
        }
    }

    /// The `host` header and the TLS name come from the same value, and read back as themselves.
    #[test]
    fn what_is_sent_reads_back_as_what_was_judged(text in hostile_url()) {
        if let Ok(target) = Target::parse(&text) {
            prop_assert_eq!(&Origin::parse(&target.origin.to_string()).expect("canonical"), &target.origin);
            prop_assert!(http::HeaderValue::from_str(&target.origin.authority()).is_ok());
            let name = rustls::pki_types::ServerName::try_from(target.origin.host.to_string().trim_matches(['[', ']']).to_owned());
            prop_assert!(name.is_ok());
        }
    }
}
