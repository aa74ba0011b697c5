use serde_json::{Map, json};

use super::*;
use crate::{
    egress::{Denial, Grant, HandleKey, OutboundRequest, Reach, Secrets, fill::permitted, permit::LastOrigin},
    model::Manifest,
};

/// The key of AWS's public test suite for Signature Version 4.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const ORIGIN: &str = "https://example.amazonaws.com";
const TIME: &str = "20150830T123600Z";
const CREDENTIAL: &str = "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";

/// A request as a function makes it: `SIGNATURE` in the header becomes the handle.
fn ask(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    authorization: &str,
    body: &str,
) -> Result<PermittedRequest, Denial> {
    let bind = |origin: &str| json!([{"origin": origin, "place": "sign-aws-sigv4"}]);
    let manifest: Manifest = serde_json::from_value(json!({"name": "f", "version": "1", "events": ["track"],
        "settings": {"key": {"type": "string", "secret": true, "bind": bind(ORIGIN)}}}))
    .expect("a manifest");
    let mut settings = json!({"key": SECRET}).as_object().expect("an object").clone();
    let allow = [ORIGIN.to_owned(), "https://other.example".to_owned()];
    let grant = Grant::new(&allow, &Map::new(), "dst").expect("a grant");
    let secrets = Secrets::take(&manifest, &mut settings, "dst", &HandleKey::random()).expect("secrets");
    let authorization = authorization.replace("SIGNATURE", settings["key"].as_str().expect("a handle"));
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut headers: Vec<_> = headers.iter().map(own).collect();
    headers.push(("authorization".to_owned(), authorization));
    let url = if path.starts_with('/') { format!("{ORIGIN}{path}") } else { path.to_owned() };
    let request = OutboundRequest { method: method.into(), url, headers: headers.into(), body: body.to_owned().into() };
    permitted(&request, (&grant, &Reach::default()), &LastOrigin::default(), &secrets)
}

#[test]
fn signatures_are_those_of_the_public_test_suite() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let header = |value| ("My-Header1", value);
    let (date, plain) = (("X-Amz-Date", TIME), "host;x-amz-date");
    for (name, method, path, headers, names, body, expected) in [
        (
            "get-vanilla",
            "GET",
            "/",
            vec![date],
            plain,
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/?Param2=value2&Param1=value1",
            vec![date],
            plain,
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-vanilla-empty-query-key",
            "GET",
            "/?Param1=value1",
            vec![date],
            plain,
            "",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "post-vanilla",
            "POST",
            "/",
            vec![date],
            plain,
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            vec![form, date],
            "content-type;host;x-amz-date",
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "post-header-value-case",
            "POST",
            "/",
            vec![header("VALUE1"), date],
            "host;my-header1;x-amz-date",
            "",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "post-header-key-sort",
            "POST",
            "/",
            vec![header("value1"), date],
            "host;my-header1;x-amz-date",
            "",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
    ] {
        let authorization = format!("{SCHEME}{CREDENTIAL}, SignedHeaders={names}, Signature=SIGNATURE");
        let sent = ask(method, path, &headers, &authorization, body).expect(name);
        let value = sent.headers["authorization"].to_str().expect("text");
        assert_eq!(value, authorization.replace("SIGNATURE", expected), "{name}");
        assert_eq!(sent.secret.as_deref(), Some("key"));
    }
}

#[test]
fn what_aws_would_refuse_or_what_would_leave_host_or_time_unsigned_is_refused() {
    let good = format!("{SCHEME}{CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature=SIGNATURE");
    let date = ("x-amz-date", TIME);
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], String, &'a str);
    let cases: [Case<'_>; 10] = [
        ("/", &[], good.clone(), "no header `x-amz-date`"),
        ("/", &[("x-amz-date", "20150831T123600Z")], good.clone(), "not that of"),
        ("/", &[date], good.replace("host;", ""), "have `host`"),
        ("/", &[date], good.replace("host;x-amz-date", "x-amz-date;host"), "sorted"),
        ("/", &[date], good.replace("host;x", "host;other;x"), "is not there"),
        ("/", &[date], good.replace("/aws4_request", ""), "is not `KEY/"),
        ("/", &[date], good.replace("Signature=SIGNATURE", "Signature=x, Other=SIGNATURE"), "must stand once"),
        ("/", &[date], good.replace("AKIDEXAMPLE", "SIGNATURE"), "must stand once"),
        ("/?a=b+c", &[date], good.clone(), "`%20`"),
        ("https://other.example/", &[date], good.clone(), "may not go to `https://other.example`"),
    ];
    for (path, headers, authorization, expected) in cases {
        let denial = ask("GET", path, headers, &authorization, "").expect_err(expected);
        assert!(denial.reason.contains(expected) && !denial.reason.contains(SECRET), "{}", denial.reason);
    }
    let denial = ask("GET", "/", &[("x-amz-date", TIME)], "Bearer SIGNATURE", "").expect_err("no place");
    assert!(denial.reason.contains("may not stand in the bearer token"), "{}", denial.reason);
}

#[test]
fn a_query_is_encoded_and_sorted_as_aws_does() {
    for (given, expected) in [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a&b=", "a=&b="),
        ("k=a%2fb%7Ec~&k=A", "k=A&k=a%2Fb~c~"),
        ("k=%&l=%zz", "k=%25&l=%25zz"),
        ("k=a:b,c", "k=a%3Ab%2Cc"),
    ] {
        assert_eq!(query(given).as_deref(), Ok(expected));
    }
}
