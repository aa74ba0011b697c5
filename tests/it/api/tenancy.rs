//! Tenants from outside: every described call is made by every role with the ids of another tenant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;

use super::lifecycle::{CASE, upload};
use super::{Answer, Apis, send};

const WAT: &str = include_str!("../../guests/delivered.wat");

/// Two tenants of each kind on one host: keys of all roles in the first, things in the second.
pub(super) struct Neighbours {
    pub(super) apis: Apis,
    /// By role.
    pub(super) mine: BTreeMap<&'static str, String>,
    /// By the first word of a path: the id of another tenant's thing.
    pub(super) theirs: BTreeMap<&'static str, String>,
    version: String,
    invitation: String,
    /// What is wished for is for all to see.
    wish: String,
}

/// That of RFC 8032's first example.
const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

const ROLES: [&str; 5] =
    ["partner-admin", "partner-developer", "workspace-admin", "workspace-editor", "workspace-viewer"];

/// A call with this token; `more` are further headers.
pub(super) async fn call(
    apis: &Apis,
    token: &str,
    more: &[(&str, &str)],
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend_from_slice(more);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(apis.admin, method, path, &headers, body.as_bytes()).await
}

/// What an operator makes in a tenant that is named by a header.
async fn make(apis: &Apis, at: &(&str, &str), path: &str, body: Value) -> Value {
    let answer = call(apis, &apis.token, &[*at], "POST", path, &body).await;
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    answer.json()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

impl Neighbours {
    pub(super) async fn new() -> Self {
        let apis = Apis::start(&[]).await;
        let mut theirs = BTreeMap::new();
        for (kind, name) in
            [("workspaces", "mine"), ("workspaces", "theirs"), ("partners", "mine"), ("partners", "theirs")]
        {
            let made = apis.make(&format!("/api/v1/{kind}"), &json!({ "name": name })).await;
            theirs.insert(kind, text(&made, "id"));
        }
        let workspace = ("tidegate-workspace", "theirs");
        let partner = ("tidegate-partner", "theirs");
        let manifest = "name = \"theirs\"\nversion = \"1\"\ndescription = \"D\"\nevents = [\"track\"]\n[listing]\n\
                        category = \"C\"\ndocs = \"https://a.partner.dev\"\nlogo = \"https://a.partner.dev\"\nsupport = \"a@b.dev\"\n";
        let uploaded = upload(&apis, &apis.token, &[partner], manifest, &[CASE]).await.json();
        theirs.insert("functions", text(&uploaded["function"], "id"));
        assert_eq!(uploaded["function"]["partner"], theirs["partners"]);
        let key = json!({"name": "k", "public_key": PUBLIC_KEY});
        let key = make(&apis, &("tidegate-partner", "theirs"), "/api/v1/signing-keys", key).await;
        theirs.insert("signing-keys", text(&key, "id"));
        let source = make(&apis, &workspace, "/api/v1/sources", json!({"name": "web"})).await;
        theirs.insert("sources", text(&source, "id"));
        let destination = json!({"name": "d", "function": "theirs"});
        let destination = make(&apis, &workspace, "/api/v1/destinations", destination).await;
        theirs.insert("destinations", text(&destination, "id"));
        let connection = json!({"source": source["id"], "destination": destination["id"]});
        let connection = make(&apis, &workspace, "/api/v1/connections", connection).await;
        theirs.insert("connections", text(&connection, "id"));
        let key = json!({"name": "k", "role": "workspace-admin"});
        theirs.insert("keys", text(&make(&apis, &workspace, "/api/v1/keys", key).await, "id"));
        let link = json!({"name": "l", "role": "workspace-viewer"});
        theirs.insert("links", text(&make(&apis, &workspace, "/api/v1/links", link).await, "id"));
        let event = json!({"writeKey": source["write_key"], "event": "E", "userId": "u"}).to_string();
        assert_eq!(send(apis.public, "POST", "/v1/track", &[], event.as_bytes()).await.status, 200);
        let deliveries = call(&apis, &apis.token, &[workspace], "GET", "/api/v1/deliveries", &Value::Null).await.json();
        theirs.insert("deliveries", text(&deliveries["items"][0], "id"));
        let replay = make(&apis, &workspace, "/api/v1/replays", json!({"destination": destination["id"]})).await;
        theirs.insert("replays", text(&replay, "id"));
        let review = make(&apis, &partner, "/api/v1/functions/theirs/submit", json!({})).await;
        theirs.insert("reviews", text(&review, "id"));
        let invitation = make(&apis, &partner, "/api/v1/functions/theirs/invitations", json!({})).await;
        let users = json!({"user_ids": ["ada"]});
        let suppressed = make(&apis, &workspace, "/api/v1/suppressions", users).await;
        theirs.insert("suppressions", text(&suppressed["items"][0], "id"));
        let wish = make(&apis, &workspace, "/api/v1/wishes", json!({"name": "HubSpot"})).await;
        let mut mine = BTreeMap::new();
        for role in ROLES {
            let at = if role.starts_with("partner") { "tidegate-partner" } else { "tidegate-workspace" };
            let key = make(&apis, &(at, "mine"), "/api/v1/keys", json!({"name": role, "role": role})).await;
            mine.insert(role, text(&key, "token"));
        }
        let version = text(&uploaded["version"], "id");
        let (invitation, wish) = (text(&invitation, "id"), text(&wish, "id"));
        Self { apis, mine, theirs, version, invitation, wish }
    }

    /// A described path with their ids in it.
    pub(super) fn fill(&self, path: &str) -> String {
        let resource = path.split('/').nth(3).unwrap();
        let filled = match self.theirs.get(resource) {
            Some(id) => path.replace("{id}", id),
            None => path.to_owned(),
        };
        let filled = filled.replace("{version}", &self.version).replace("{invitation}", &self.invitation);
        let filled = filled.replace("/wishes/{id}", &format!("/wishes/{}", self.wish));
        assert!(!filled.contains('{'), "{path}: say in `Neighbours` whose id is meant");
        filled
    }

    /// A body that is right for this call, with their ids wherever a body names one.
    pub(super) fn body(&self, method: &str, path: &str) -> Value {
        let theirs = &self.theirs;
        match (method, path) {
            ("POST", "/api/v1/connections") => {
                json!({"source": theirs["sources"], "destination": theirs["destinations"]})
            }
            ("POST", "/api/v1/replays") => json!({"destination": theirs["destinations"]}),
            ("POST", "/api/v1/destinations") => json!({"name": "d", "function": theirs["functions"]}),
            ("POST", "/api/v1/sources" | "/api/v1/workspaces" | "/api/v1/partners" | "/api/v1/wishes") => {
                json!({"name": "n"})
            }
            ("POST", "/api/v1/functions/{id}/stage") => json!({"stage": "deprecated"}),
            ("POST", "/api/v1/suppressions") => json!({"user_ids": ["u"]}),
            ("POST", "/api/v1/reviews/{id}/comments") => json!({"text": "t"}),
            ("POST", "/api/v1/invitations/redeem") => json!({"code": "tgi_x"}),
            ("POST", "/api/v1/functions/{id}/test") => json!({"event": {"type": "track"}, "answers": []}),
            ("POST", "/api/v1/keys") => {
                json!({"name": "n", "role": "workspace-viewer", "workspace": theirs["workspaces"]})
            }
            ("POST", "/api/v1/links") => {
                json!({"name": "n", "role": "workspace-viewer", "destination": theirs["destinations"]})
            }
            ("POST", "/api/v1/workspaces/{id}/destroy") => json!({"confirm": "theirs"}),
            ("POST", "/api/v1/functions/{id}/choices" | "/api/v1/destinations/{id}/choices") => json!({"setting": "x"}),
            ("POST", "/api/v1/signing-keys") => json!({"name": "k", "public_key": PUBLIC_KEY}),
            ("PATCH", "/api/v1/signature-policy") => json!({"required": false}),
            ("POST", "/api/v1/sessions") => json!({"link": "tgl_none"}),
            ("GET" | "DELETE", _) => Value::Null,
            _ => json!({}),
        }
    }
}

/// An id of the same kind that nothing has.
fn unknown(id: &str) -> String {
    let last = if id.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &id[..id.len() - 1])
}

/// The status and the form of a refusal, without the ids in it.
fn refusal(answer: &Answer, ids: &BTreeSet<String>) -> (u16, String) {
    let problem = answer.json();
    let fields: Vec<_> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["type", "title", "status", "code", "detail"], "{problem}");
    let hidden = ids.iter().fold(answer.text(), |text, id| text.replace(id, "ID").replace(&unknown(id), "ID"));
    (answer.status, hidden)
}

#[tokio::test]
async fn no_role_sees_or_changes_what_is_another_tenants() {
    let bed = Neighbours::new().await;
    let api = send(bed.apis.admin, "GET", "/openapi.json", &[], b"").await.json();
    let ids: BTreeSet<String> = bed.theirs.values().chain([&bed.version, &bed.invitation]).cloned().collect();
    let mut tried = 0;
    for (path, operations) in api["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/")) {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()) {
            let (filled, body) = (bed.fill(path), bed.body(&method, path));
            let absent = ids.iter().fold(filled.clone(), |path, id| path.replace(id, &unknown(id)));
            let other = ids.iter().fold(body.to_string(), |body, id| body.replace(id, &unknown(id)));
            let other: Value = serde_json::from_str(&other).unwrap();
            for (role, token) in &bed.mine {
                let what = format!("{role}: {method} {filled}");
                // The catalogue is for every workspace: what a partner publishes is meant to be found.
                let public = role.starts_with("workspace") && path.starts_with("/api/v1/functions");
                let public = public || (role.starts_with("workspace") && path == "/api/v1/destinations");
                let answer = call(&bed.apis, token, &[], &method, &filled, &body).await;
                tried += 1;
                if (filled == absent && other == body) || (public && ![403, 404].contains(&answer.status)) {
                    // It names nothing of theirs, and so must its answer, whatever it is.
                    let shown = ids.iter().any(|id| answer.text().contains(id.as_str()));
                    assert!(public || !shown, "{what}: {}", answer.text());
                    continue;
                }
                assert!([403, 404].contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
                let nothing = call(&bed.apis, token, &[], &method, &absent, &other).await;
                assert_eq!(refusal(&answer, &ids), refusal(&nothing, &ids), "{what}");
            }
        }
    }
    assert!(tried > 200, "{tried} calls");
    for (resource, id) in &bed.theirs {
        let path = format!("/api/v1/{resource}/{id}");
        let at = [("tidegate-workspace", "theirs"), ("tidegate-partner", "theirs")];
        let still = call(&bed.apis, &bed.apis.token, &at, "GET", &path, &Value::Null).await;
        assert_eq!(still.status, 200, "{path}: {}", still.text());
        assert!(still.json().get("revoked_at").is_none_or(Value::is_null), "{}", still.text());
    }
}

#[tokio::test]
async fn naming_another_tenant_in_a_header_or_a_query_finds_nothing() {
    let bed = Neighbours::new().await;
    for (role, token) in &bed.mine {
        for (header, kind) in [("tidegate-workspace", "workspaces"), ("tidegate-partner", "partners")] {
            for name in ["theirs", bed.theirs[kind].as_str(), "nobody"] {
                let answer = call(&bed.apis, token, &[(header, name)], "GET", "/api/v1/functions", &Value::Null).await;
                assert_eq!((answer.status, text(&answer.json(), "code").as_str()), (404, "not_found"), "{role} {name}");
            }
        }
    }
    let viewer = &bed.mine["workspace-viewer"];
    let look = async |query: String| {
        call(&bed.apis, viewer, &[], "GET", &format!("/api/v1/ledger?{query}"), &Value::Null).await
    };
    assert_eq!(look(format!("workspace={}", bed.theirs["workspaces"])).await.status, 404);
    for query in [format!("source={}", bed.theirs["sources"]), format!("destination={}", bed.theirs["destinations"])] {
        assert_eq!(look(query).await.json()["accepted"], 0);
    }
    let query = format!("/api/v1/deliveries?source={}", bed.theirs["sources"]);
    let none = call(&bed.apis, viewer, &[], "GET", &query, &Value::Null).await.json();
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_role_may_do_what_it_is_for_and_is_told_what_it_may_not() {
    let bed = Neighbours::new().await;
    let cases = [
        ("workspace-viewer", "GET", "/api/v1/sources", json!(null), 200),
        ("workspace-viewer", "POST", "/api/v1/sources", json!({"name": "a"}), 403),
        ("workspace-editor", "POST", "/api/v1/sources", json!({"name": "a"}), 201),
        ("workspace-editor", "GET", "/api/v1/keys", json!(null), 403),
        ("workspace-admin", "POST", "/api/v1/keys", json!({"name": "b", "role": "workspace-viewer"}), 201),
        ("workspace-admin", "POST", "/api/v1/keys", json!({"name": "b", "role": "operator"}), 403),
        ("workspace-admin", "POST", "/api/v1/keys", json!({"name": "b", "role": "partner-admin"}), 403),
        ("workspace-admin", "POST", "/api/v1/workspaces", json!({"name": "c"}), 403),
        ("workspace-admin", "GET", "/api/v1/partners", json!(null), 403),
        ("workspace-viewer", "POST", "/api/v1/functions", json!({}), 403),
        ("partner-developer", "GET", "/api/v1/sources", json!(null), 403),
        ("partner-developer", "POST", "/api/v1/functions", json!({}), 415),
        ("partner-developer", "POST", "/api/v1/keys", json!({"name": "b", "role": "partner-developer"}), 403),
        ("partner-admin", "POST", "/api/v1/keys", json!({"name": "b", "role": "partner-developer"}), 201),
        ("partner-admin", "POST", "/api/v1/keys", json!({"name": "b", "role": "workspace-admin"}), 403),
        ("partner-admin", "GET", "/api/v1/ledger", json!(null), 403),
    ];
    for (role, method, path, body, expected) in cases {
        let answer = call(&bed.apis, &bed.mine[role], &[], method, path, &body).await;
        assert_eq!(answer.status, expected, "{role} {method} {path}: {}", answer.text());
        if expected == 403 {
            assert_eq!(answer.json()["code"], "forbidden");
            assert!(text(&answer.json(), "detail").contains(role), "{}", answer.text());
        }
    }
    let list =
        call(&bed.apis, &bed.mine["workspace-admin"], &[], "GET", "/api/v1/workspaces", &Value::Null).await.json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| text(one, "name")).collect();
    assert_eq!(names, ["mine"]);
    let me = call(&bed.apis, &bed.mine["partner-admin"], &[], "GET", "/api/v1/whoami", &Value::Null).await.json();
    assert_eq!((&me["role"], &me["workspace"]), (&json!("partner-admin"), &Value::Null));
}

#[tokio::test]
async fn functions_of_one_name_are_told_apart_by_their_partner() {
    let bed = Neighbours::new().await;
    let manifest = "name = \"theirs\"\nversion = \"1\"\nevents = [\"track\"]\n";
    let component = component_from_core(WAT.as_bytes(), manifest).unwrap();
    let bearer = format!("Bearer {}", bed.mine["partner-developer"]);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/wasm")];
    let own = send(bed.apis.admin, "POST", "/api/v1/functions", &headers, &component).await;
    assert_eq!(own.status, 201, "{}", own.text());
    let own = text(&own.json()["function"], "id");
    assert_ne!(own, bed.theirs["functions"]);
    // Before it is released only its partner sees it.
    let seen =
        call(&bed.apis, &bed.mine["workspace-editor"], &[], "GET", "/api/v1/functions/theirs", &Value::Null).await;
    assert_eq!(seen.json()["id"], bed.theirs["functions"]);
    let release = format!("/api/v1/functions/{own}/stage");
    assert_eq!(bed.apis.control("POST", &release, Some(&json!({"stage": "public"}))).await.status, 200);
    let show = async |role: &str, key: &str| {
        call(&bed.apis, &bed.mine[role], &[], "GET", &format!("/api/v1/functions/{key}"), &Value::Null).await
    };
    assert_eq!(show("partner-developer", "theirs").await.json()["id"], own);
    let several = show("workspace-editor", "theirs").await;
    assert_eq!((several.status, several.json()["code"].clone()), (409, json!("not_now")), "{}", several.text());
    assert_eq!(show("workspace-editor", &own).await.status, 200);
    let list =
        call(&bed.apis, &bed.mine["workspace-editor"], &[], "GET", "/api/v1/functions", &Value::Null).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_tenant_is_renamed_and_deleted_only_once_it_owns_nothing() {
    let bed = Neighbours::new().await;
    let apis = &bed.apis;
    let control = async |method: &str, path: &str, body: Value| apis.control(method, path, Some(&body)).await;
    let renamed = control("PATCH", "/api/v1/workspaces/theirs", json!({"name": "acme"})).await;
    assert_eq!(renamed.json()["name"], "acme");
    let taken = control("PATCH", "/api/v1/workspaces/acme", json!({"name": "mine"})).await;
    assert_eq!((taken.status, taken.json()["code"].clone()), (409, json!("name_taken")));
    for name in ["ws_1", "", " a"] {
        let answer = control("POST", "/api/v1/workspaces", json!({ "name": name })).await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
    }
    for path in ["/api/v1/workspaces/acme", "/api/v1/workspaces/default", "/api/v1/partners/theirs"] {
        let refused = apis.control("DELETE", path, None).await;
        assert_eq!((refused.status, refused.json()["code"].clone()), (409, json!("not_now")), "{}", refused.text());
    }
    let viewer = &bed.mine["workspace-viewer"];
    assert_eq!(apis.control("DELETE", "/api/v1/workspaces/mine", None).await.status, 204);
    assert_eq!(apis.control("GET", "/api/v1/workspaces/mine", None).await.status, 404);
    assert_eq!(call(apis, viewer, &[], "GET", "/api/v1/sources", &Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_key_is_rotated_with_an_overlap_revoked_at_once_and_its_use_is_seen() {
    let apis = Apis::start(&[]).await;
    let made = apis.make("/api/v1/keys", &json!({"name": "ci", "role": "workspace-viewer"})).await;
    let (id, token) = (text(&made, "id"), text(&made, "token"));
    assert!(token.starts_with(&text(&made, "prefix")) && text(&made, "prefix").len() == 8);
    let works = async |token: &str| call(&apis, token, &[], "GET", "/api/v1/sources", &Value::Null).await;
    let path = format!("/api/v1/keys/{id}");
    assert_eq!(apis.control("GET", &path, None).await.json()["last_used_at"], Value::Null);
    assert_eq!(works(&token).await.status, 200);
    let shown = apis.control("GET", &path, None).await;
    assert!(shown.json()["last_used_at"].is_string() && shown.json().get("token").is_none(), "{}", shown.text());

    let next = apis.make(&format!("{path}/rotate"), &json!({})).await;
    assert_eq!(
        (&next["replaces"], &next["role"], &next["name"]),
        (&json!(id), &json!("workspace-viewer"), &json!("ci"))
    );
    assert_eq!((works(&token).await.status, works(&text(&next, "token")).await.status), (200, 200));
    assert!(apis.control("GET", &path, None).await.json()["expires_at"].is_string());
    apis.make(&format!("{path}/rotate"), &json!({"overlap_s": 0})).await;
    let ended = works(&token).await;
    assert_eq!((ended.status, ended.json()["code"].clone()), (401, json!("expired_token")));
    let again = apis.control("POST", &format!("{path}/rotate"), Some(&json!({}))).await;
    assert_eq!(again.status, 409, "{}", again.text());
    let long = apis.control("POST", &format!("{path}/rotate"), Some(&json!({"overlap_s": 9_999_999}))).await;
    assert_eq!((long.status, long.json()["code"].clone()), (422, json!("invalid_overlap")));

    let second = format!("/api/v1/keys/{}", text(&next, "id"));
    assert_eq!(apis.control("DELETE", &second, None).await.status, 204);
    let revoked = works(&text(&next, "token")).await;
    assert_eq!((revoked.status, revoked.json()["code"].clone()), (401, json!("unknown_token")));
    assert_eq!(apis.control("DELETE", &second, None).await.status, 204, "twice is as once");
    let gone = apis.control("GET", &second, None).await;
    assert_eq!((gone.status, gone.json()["code"].clone()), (410, json!("revoked")));
    let keys = apis.control("GET", "/api/v1/keys", None).await.json();
    let kept = keys["items"].as_array().unwrap().iter().find(|key| key["id"] == next["id"]).unwrap();
    assert!(kept["revoked_at"].is_string(), "the list still says since when");
}

#[tokio::test]
async fn the_last_operators_key_stays_and_wrong_keys_to_be_are_named() {
    let apis = Apis::start(&[]).await;
    let me = text(&apis.control("GET", "/api/v1/whoami", None).await.json(), "key");
    let revoke = async |id: &str| apis.control("DELETE", &format!("/api/v1/keys/{id}"), None).await;
    let last = revoke(&me).await;
    assert_eq!((last.status, last.json()["code"].clone()), (409, json!("not_now")), "{}", last.text());
    let partner = apis.make("/api/v1/partners", &json!({"name": "p"})).await;
    let cases = [
        (json!({"name": "x", "role": "root"}), 400, "invalid_field"),
        (json!({"name": "", "role": "operator"}), 422, "invalid_name"),
        (json!({"name": "x", "role": "operator", "expires_at": "2020-01-01T00:00:00Z"}), 409, "invalid_expiry"),
        (json!({"name": "x", "role": "workspace-admin", "partner": partner["id"]}), 409, "invalid_tenant"),
        (
            json!({"name": "x", "role": "workspace-admin", "workspace": "ws_00000000000000000000000000000000"}),
            404,
            "not_found",
        ),
    ];
    for (body, status, code) in cases {
        let answer = apis.control("POST", "/api/v1/keys", Some(&body)).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (status, json!(code)), "{body}: {}", answer.text());
    }
    apis.make("/api/v1/keys", &json!({"name": "second", "role": "operator"})).await;
    assert_eq!(revoke(&me).await.status, 204);
    assert_eq!(apis.control("GET", "/api/v1/whoami", None).await.status, 401);
}

#[tokio::test]
async fn an_address_with_too_many_wrong_keys_is_told_to_wait_and_a_right_key_still_works() {
    let apis = Apis::start(&[("TIDEGATE__CONTROL__WRONG_KEYS", "3")]).await;
    let wrong = async || call(&apis, "tgk_wrong", &[], "GET", "/api/v1/sources", &Value::Null).await;
    for _ in 0..3 {
        assert_eq!(wrong().await.status, 401);
    }
    let refused = wrong().await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (429, json!("too_many_wrong_tokens")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(apis.control("GET", "/api/v1/sources", None).await.status, 200);
}
