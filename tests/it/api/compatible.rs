//! The calls that tools for another host's functions make, in the form that they know.

use serde_json::{Value, json};

use super::tenancy::call;
use super::{Answer, Apis, send};

const CODE: &str = "async function onTrack(event, settings) {\n  await fetch('https://api.example.com/v1', { method: 'POST', \
                    headers: { authorization: settings.apiKey } });\n}\n";

const MEDIA: &str = "application/vnd.segment.v1+json";

async fn make(apis: &Apis, token: &str, body: &Value) -> Answer {
    call(apis, token, &[], "POST", "/functions", body).await
}

fn function(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"]["function"].clone()
}

fn to_make() -> Value {
    json!({"code": CODE, "resourceType": "DESTINATION", "displayName": "My Partner", "description": "Posts events",
        "settings": [{"name": "apiKey", "label": "API key", "description": "", "type": "STRING", "required": true, "sensitive": true}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_writes_changes_deploys_and_restores_a_function_as_on_the_host_it_was_made_for() {
    let apis = Apis::start(&[]).await;
    let (token, root) = (apis.token.clone(), apis.token.clone());
    let made = function(&make(&apis, &token, &to_make()).await);
    assert_eq!(made["displayName"], "my-partner");
    assert_eq!(made["code"], CODE);
    assert_eq!(made["isLatestVersion"], true);
    assert_eq!(made["settings"][0]["sensitive"], true);
    let at = format!("/functions/{}", made["id"].as_str().unwrap());
    // What the code names is what the function may reach, and no more.
    let access = apis.control("GET", &format!("/api/v1{at}/access"), None).await.text();
    assert!(access.contains("https://api.example.com"), "{access}");

    let code = CODE.replace("onTrack", "onIdentify");
    let changed = function(&call(&apis, &token, &[], "PATCH", &at, &json!({ "code": code })).await);
    assert_eq!((&changed["code"], &changed["isLatestVersion"]), (&json!(code), &json!(false)));
    assert_eq!(changed["settings"], made["settings"]);
    let shown = apis.control("GET", &format!("/api/v1{at}"), None).await.json();
    assert_eq!(shown["version"], "1", "it runs once it is deployed");
    let deployed = call(&apis, &token, &[], "POST", &format!("{at}/deploy"), &json!({})).await;
    assert_eq!(deployed.json()["data"]["functionDeployment"]["status"], "SUCCESS", "{}", deployed.text());
    let shown = apis.control("GET", &format!("/api/v1{at}"), None).await.json();
    assert_eq!(shown["version"], "2");

    let versions = call(&apis, &root, &[], "GET", &format!("{at}/versions"), &Value::Null).await.json();
    let versions = versions["data"]["versions"].as_array().unwrap().clone();
    let live: Vec<_> = versions.iter().map(|version| version["isDeployed"].clone()).collect();
    assert_eq!(live, [false, true]);
    let first = json!({"versionId": versions[0]["id"]});
    let restored = call(&apis, &token, &[], "POST", &format!("{at}/versions"), &first).await.json();
    assert_eq!(restored["data"]["version"]["isDeployed"], true, "{restored}");
    assert_eq!(restored["data"]["version"]["code"], CODE);
    let one = format!("{at}/versions/{}", versions[1]["id"].as_str().unwrap());
    let one = call(&apis, &token, &[], "GET", &one, &Value::Null).await.json();
    assert_eq!(one["data"]["version"]["code"], code);

    let media = [("accept", MEDIA), ("content-type", MEDIA)];
    let bearer = format!("Bearer {token}");
    let headers = [&media[..], &[("authorization", bearer.as_str())]].concat();
    let body = json!({"description": "Another text"}).to_string();
    let answer = send(apis.admin, "PATCH", &at, &headers, body.as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MEDIA)), "{}", answer.text());
    assert!(answer.header("x-ratelimit-remaining").is_some());
    let list = "/functions?resourceType=DESTINATION&pagination.count=1";
    let listed = call(&apis, &token, &[], "GET", list, &Value::Null).await.json();
    assert_eq!(listed["data"]["functions"][0]["description"], "Another text", "{listed}");
    assert_eq!(listed["data"]["functions"][0].get("code"), None);
    let none = call(&apis, &token, &[], "GET", "/functions?resourceType=SOURCE", &Value::Null).await.json();
    assert_eq!(none["data"]["functions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_function_at_the_same_moment_are_all_made_one_upon_the_other() {
    let apis = Apis::start(&[]).await;
    let made = function(&make(&apis, &apis.token, &to_make()).await);
    let at = format!("/functions/{}", made["id"].as_str().unwrap());
    let code = CODE.replace("onTrack", "onIdentify");
    let changes = [
        json!({ "code": code }),
        json!({"description": "Another text"}),
        json!({"logoUrl": "https://example.com/logo.svg"}),
        json!({"settings": [{"name": "region", "type": "STRING"}, {"name": "apiKey", "type": "STRING", "sensitive": true}]}),
    ];
    let change = async |body: &Value| loop {
        let answer = call(&apis, &apis.token, &[], "PATCH", &at, body).await;
        // One upload of a partner is built at a time; whoever has waited too long for that is told to come again.
        if answer.status != 503 {
            break answer;
        }
    };
    let (one, two, three, four) =
        tokio::join!(change(&changes[0]), change(&changes[1]), change(&changes[2]), change(&changes[3]));
    for answer in [one, two, three, four] {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let shown = function(&call(&apis, &apis.token, &[], "GET", &at, &Value::Null).await);
    assert_eq!((&shown["code"], &shown["description"]), (&json!(code), &json!("Another text")), "{shown}");
    assert_eq!(shown["logoUrl"], "https://example.com/logo.svg", "{shown}");
    assert_eq!(shown["settings"].as_array().map(Vec::len), Some(2), "{shown}");
    let versions = call(&apis, &apis.token, &[], "GET", &format!("{at}/versions"), &Value::Null).await.json();
    assert_eq!(versions["data"]["versions"].as_array().map(Vec::len), Some(5), "{versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_is_refused_has_the_form_that_it_knows_whoever_refuses_it() {
    let apis = Apis::start(&[]).await;
    let token = apis.token.clone();
    let with = |change: Value| {
        let mut body = to_make();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    assert_eq!(make(&apis, &token, &to_make()).await.status, 200);
    let unknown = format!("/functions/fn_{}", "0".repeat(32));
    let cases = [
        ("POST", "/functions", to_make(), 409, "name_taken", "PATCH /functions/fn_"),
        ("POST", "/functions", with(json!({"resourceType": "SOURCE"})), 400, "invalid_field", "`SOURCE`"),
        ("POST", "/functions", with(json!({"colour": 1})), 400, "invalid_field", "colour"),
        (
            "POST",
            "/functions",
            with(json!({"displayName": "b", "settings": [{"name": "a", "type": "DATE"}]})),
            400,
            "invalid_field",
            "settings.a.type",
        ),
        (
            "POST",
            "/functions",
            with(json!({"displayName": "b", "code": "async function ("})),
            422,
            "invalid_source",
            "",
        ),
        ("PATCH", "/functions/my-partner", json!({"displayName": "x"}), 422, "invalid_name", "my-partner"),
        ("GET", &unknown, Value::Null, 404, "not_found", ""),
        ("DELETE", "/functions/my-partner", Value::Null, 405, "method_not_allowed", "deprecated"),
        ("GET", "/functions/a/b/c/d", Value::Null, 404, "not_found", ""),
        ("GET", "/functions?pagination.count=0", Value::Null, 400, "invalid_query", "`0`"),
    ];
    for (method, path, body, status, code, named) in cases {
        let answer = call(&apis, &token, &[], method, path, &body).await;
        let error = &answer.json()["errors"][0];
        assert_eq!((answer.status, &error["status"]), (status, &json!(status)), "{method} {path}: {}", answer.text());
        assert_eq!(error["type"], code, "{method} {path}");
        assert!(error["message"].as_str().unwrap().contains(named), "{method} {path}: {error}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
    }
    let place = make(&apis, &token, &with(json!({"displayName": "b", "code": "async function ("}))).await.json();
    assert!(place["errors"][1]["message"].as_str().unwrap().starts_with("handler.js:1:"), "{place}");
    let nobody = send(apis.admin, "GET", "/functions", &[], b"").await;
    assert_eq!((nobody.status, &nobody.json()["errors"][0]["type"]), (401, &json!("missing_token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_code_is_its_partners_and_nobody_elses_sees_or_changes_it() {
    let apis = Apis::start(&[]).await;
    let mut tokens = Vec::new();
    for (kind, role, name) in [
        ("partner", "partner-developer", "a"),
        ("partner", "partner-admin", "b"),
        ("workspace", "workspace-admin", "c"),
    ] {
        apis.make(&format!("/api/v1/{kind}s"), &json!({ "name": name })).await;
        let header = [(if kind == "partner" { "tidegate-partner" } else { "tidegate-workspace" }, name)];
        let key = json!({"name": "k", "role": role});
        let key = call(&apis, &apis.token, &header, "POST", "/api/v1/keys", &key).await.json();
        tokens.push(key["token"].as_str().unwrap().to_owned());
    }
    let [own, other, customer] = <[String; 3]>::try_from(tokens).unwrap();
    let made = function(&make(&apis, &own, &to_make()).await);
    let at = format!("/functions/{}", made["id"].as_str().unwrap());
    let script = format!("/api/v1{at}/versions/1/script");
    let script = |token: String| {
        let (apis, script) = (&apis, &script);
        async move { call(apis, &token, &[], "GET", script, &Value::Null).await }
    };
    assert_eq!(script(own.clone()).await.json()["text"], CODE);
    for token in [&other, &customer] {
        for (method, path, body) in [
            ("GET", at.clone(), Value::Null),
            ("PATCH", at.clone(), json!({"code": CODE})),
            ("POST", format!("{at}/deploy"), json!({})),
            ("GET", format!("{at}/versions"), Value::Null),
            ("DELETE", at.clone(), Value::Null),
        ] {
            let answer = call(&apis, token, &[], method, &path, &body).await;
            assert!([403, 404].contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("api.example.com"), "{}", answer.text());
        }
        assert!([403, 404].contains(&script(token.clone()).await.status));
    }
    // What everybody may use shows what it is, not how it is written.
    let public = function(&make(&apis, &apis.token, &to_make()).await);
    let at = format!("/functions/{}", public["id"].as_str().unwrap());
    let seen = function(&call(&apis, &customer, &[], "GET", &at, &Value::Null).await);
    assert_eq!((&seen["code"], &seen["displayName"]), (&json!(""), &json!("my-partner")));
}
