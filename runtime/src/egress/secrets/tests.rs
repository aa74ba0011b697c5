use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::super::echo::STEP;
use super::*;

fn manifest() -> Manifest {
    serde_json::from_value(json!({"name": "f", "version": "1", "events": ["track"],
        "settings": {
            "key": {"type": "string", "secret": true, "bind": [{"origin": "https://a.example", "place": "bearer"}]},
            "path": {"type": "string", "secret": true, "bind": [{"origin": "https://a.example", "place": "path"}]},
            "shown": {"type": "string", "secret": true, "reveal": true},
            "plain": {"type": "string"}}}))
    .expect("a manifest")
}

fn take(settings: &Value, key: &HandleKey, scope: &str) -> (Secrets, Map<String, Value>) {
    let mut settings = settings.as_object().expect("an object").clone();
    (Secrets::take(&manifest(), &mut settings, scope, key).expect("secrets"), settings)
}

/// As it comes in the end, and between how many steps others had the processor.
fn in_steps(
    secrets: &Secrets,
    from: &Origin,
    response: InboundResponse,
) -> (Result<InboundResponse, EgressError>, usize) {
    let mut masked = std::pin::pin!(secrets.masked(from, response));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut pauses = 0;
    loop {
        match masked.as_mut().poll(&mut context) {
            std::task::Poll::Ready(masked) => return (masked, pauses),
            std::task::Poll::Pending => pauses += 1,
        }
    }
}

fn at_once(secrets: &Secrets, from: &Origin, response: InboundResponse) -> Result<InboundResponse, EgressError> {
    in_steps(secrets, from, response).0
}

#[test]
fn a_guest_gets_handles_and_only_what_is_revealed_or_no_secret_as_it_is() {
    let given = json!({"key": "/k-123456", "path": "/p/123456", "shown": "shown-1", "plain": "plain-1"});
    let (_, settings) = take(&given, &HandleKey::random(), "dst_1");
    assert_eq!((&settings["shown"], &settings["plain"]), (&json!("shown-1"), &json!("plain-1")));
    let handle = settings["key"].as_str().expect("a text");
    assert!(handle.len() == LENGTH && handle.starts_with(PREFIX), "{handle}");
    assert!(handle.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{handle}");
    let path = settings["path"].as_str().expect("a text");
    assert!(path.len() == LENGTH + 1 && path.starts_with("/tgs_"), "a path begins with its slash: {path}");
    let (_, empty) = take(&json!({"key": "", "path": 7, "shown": null}), &HandleKey::random(), "dst_1");
    assert_eq!(Value::Object(empty), json!({"key": "", "path": null, "shown": null}));
}

#[test]
fn a_handle_is_the_same_until_key_destination_setting_or_value_change() {
    let (one, other) = (HandleKey::random(), HandleKey::random());
    let handle = |key: &HandleKey, scope: &str, value: &str| {
        take(&json!({"key": value}), key, scope).1["key"].as_str().expect("a handle").to_owned()
    };
    let first = handle(&one, "dst_1", "v-1");
    assert_eq!(first, handle(&one, "dst_1", "v-1"));
    assert_ne!(first, handle(&one, "dst_1", "v-2"));
    assert_ne!(first, handle(&one, "dst_2", "v-1"));
    assert_ne!(first, handle(&other, "dst_1", "v-1"));
    let both = take(&json!({"key": "v-1", "path": "v-1"}), &one, "dst_1").1;
    assert_ne!(both["key"], both["path"]);
}

#[test]
fn an_answer_that_repeats_a_secret_has_the_handle_in_its_place() {
    let (secrets, settings) = take(&json!({"key": "k-1234567890", "shown": "shown-1"}), &HandleKey::random(), "dst_1");
    let handle = settings["key"].as_str().expect("a handle");
    let response = || InboundResponse {
        status: 200,
        headers: vec![
            ("location".into(), "https://a.example/?k=k-1234567890".into()),
            ("content-length".into(), "99".into()),
        ],
        body: Bytes::from(format!("you sent k-1234567890, {}, shown-1", STANDARD.encode("user:k-1234567890"))),
    };
    let origin = |text: &str| Origin::parse(text).expect("an origin");
    let masked = at_once(&secrets, &origin("https://a.example"), response()).expect("readable");
    let body = String::from_utf8(masked.body.to_vec()).expect("text");
    assert_eq!(masked.headers, [("location".to_owned(), format!("https://a.example/?k={handle}"))]);
    assert!(body.starts_with(&format!("you sent {handle}, ")) && body.ends_with(", shown-1"), "{body}");
    assert_eq!(body.matches(handle).count(), 2, "{body}");
    // Whoever was not given it cannot try out what it is.
    let other = at_once(&secrets, &origin("https://b.example"), response()).expect("readable");
    assert_eq!(other, response());
}

#[test]
fn names_of_header_fields_are_searched_too_in_the_lower_case_in_which_they_come() {
    let (secrets, settings) = take(&json!({"key": "K-1234567890-Ab"}), &HandleKey::random(), "dst_1");
    let response =
        InboundResponse { status: 200, headers: vec![("x-k-1234567890-ab-y".into(), "1".into())], body: Bytes::new() };
    let masked =
        at_once(&secrets, &Origin::parse("https://a.example").expect("an origin"), response).expect("readable");
    assert_eq!(masked.headers[0].0, format!("x-{}-y", settings["key"].as_str().expect("a handle")));
}

#[test]
fn what_is_made_of_nothing_but_a_secret_is_no_answer_and_no_text() {
    let (secrets, _) = take(&json!({"key": "k-12"}), &HandleKey::random(), "dst_1");
    let text = "k-12".repeat(200_000);
    let response = InboundResponse { status: 200, headers: Vec::new(), body: Bytes::from(text.clone()) };
    let error =
        at_once(&secrets, &Origin::parse("https://a.example").expect("an origin"), response).expect_err("refused");
    assert!(matches!(&error, EgressError::Protocol(why) if why.contains("so often")), "{error}");
    assert_eq!(&*secrets.redacted(text.as_bytes()), b"(not shown: secrets stand in it too often)");
}

#[test]
fn an_answer_that_cannot_be_searched_is_refused() {
    let (secrets, _) = take(&json!({"key": "k-1234567890"}), &HandleKey::random(), "dst_1");
    let response = |coding: &str| InboundResponse {
        status: 200,
        headers: vec![("content-encoding".into(), coding.into())],
        body: Bytes::new(),
    };
    let origin = Origin::parse("https://a.example").expect("an origin");
    assert!(at_once(&secrets, &origin, response("identity")).is_ok());
    for coding in ["br", "gzip, br", "zstd"] {
        let error = at_once(&secrets, &origin, response(coding)).expect_err(coding);
        // The coding is the server's text, which may be a secret.
        assert!(matches!(&error, EgressError::Protocol(text) if !text.contains(coding)), "{error}");
    }
}

#[test]
fn texts_for_people_name_secrets() {
    let (secrets, settings) = take(&json!({"key": "k-1234567890", "shown": "shown-1"}), &HandleKey::random(), "dst_1");
    let handle = settings["key"].as_str().expect("a handle");
    let mut text = format!("{handle} k-1234567890 shown-1 tgs_");
    secrets.redact(&mut text);
    assert_eq!(text, "{secret.key} {secret.key} {secret.shown} tgs_");
    for (plain, shown) in [
        (format!("{handle}:x"), "Basic {secret.key}:x".to_owned()),
        ("shown-1:x".to_owned(), "Basic {secret.shown}:x".to_owned()),
        ("a:b".to_owned(), format!("Basic {}", STANDARD.encode("a:b"))),
    ] {
        let mut header = format!("Basic {}", STANDARD.encode(&plain));
        secrets.redact_authorization(&mut header);
        assert_eq!(header, shown);
    }
}

#[test]
fn a_huge_answer_is_searched_in_steps_between_which_others_run_and_none_hides_a_secret() {
    let value = (10..45).fold("k-".to_owned(), |value, number| format!("{value}{number}/"));
    let (secrets, settings) = take(&json!({"key": value}), &HandleKey::random(), "dst_1");
    let (handle, origin) =
        (settings["key"].as_str().expect("a handle"), Origin::parse("https://a.example").expect("one"));
    let json = value.replace('/', "\\/");
    // Wherever it begins beside the end of a step, in itself and in escapes.
    for at in (0..=value.len() + 2).step_by(5).map(|before| STEP * 2 - before) {
        for (written, least) in [(&value, 2), (&json, 8)] {
            let body = [&"x".repeat(at), written, &"y".repeat(STEP)].map(String::as_bytes).concat();
            let response = InboundResponse { status: 200, headers: Vec::new(), body: body.into() };
            let (masked, pauses) = in_steps(&secrets, &origin, response);
            let body = masked.expect("readable").body;
            let expected = [&"x".repeat(at), handle, &"y".repeat(STEP)].map(str::as_bytes).concat();
            assert!(body == expected, "at {at}: {}", String::from_utf8_lossy(&body).trim_matches(['x', 'y']));
            assert!(pauses >= least, "{pauses} pauses at {at}");
        }
    }
}

#[test]
fn a_text_that_ends_in_a_secret_ends_in_its_name() {
    let (secrets, _) = take(&json!({"key": "k-1234567890", "shown": "s€cret/1"}), &HandleKey::random(), "dst_1");
    for (text, most, shown) in [
        ("nothing of it", 7, "nothing"),
        ("nothing of it", 99, "nothing of it"),
        ("at k-1234567890 and on", 4, "at {"),
        ("at k-1234567890 and on", 15, "at {secret.key}"),
        ("at k-1234567890 and on", 18, "at {secret.key} an"),
        ("it was a long time k-1234567890", 22, "it was a long time {se"),
        ("it was s%e2%82%accret%2f1", 9, "it was {s"),
        ("it was s\\u20accret\\/1", 9, "it was {s"),
        // Never half of a character.
        ("s€x", 2, "s"),
        ("k-12k-12€€€", 9, "k-12k-12"),
    ] {
        assert_eq!(secrets.shown(text, most), shown, "{text} {most}");
        assert!(shown.len() <= most);
    }
}
