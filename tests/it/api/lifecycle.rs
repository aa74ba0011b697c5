//! A function's way to customers from outside: who sees it when, what is looked at, who decides, and who is asked again.

use serde_json::{Value, json};
use tidegate::catalog::component_from_core;

use super::tenancy::call;
use super::{Answer, Apis, send};

const WAT: &str = include_str!("../../guests/delivered.wat");

const LISTING: &str = "[listing]\ncategory = \"Messaging\"\ndocs = \"https://mail.partner.dev/docs\"\n\
    logo = \"https://mail.partner.dev/logo.svg\"\nsupport = \"help@mail.partner.dev\"\n";

/// A manifest that a review takes, with what it may reach.
fn manifest(version: &str, reads: &str, hosts: &[&str]) -> String {
    format!(
        "name = \"mailer\"\nversion = \"{version}\"\ndescription = \"Sends mail\"\nevents = [\"track\"]\nreads = {reads}\n\
         [egress]\nallow = {hosts:?}\n{LISTING}"
    )
}

/// A form with a component and cases.
pub(super) async fn upload(apis: &Apis, token: &str, more: &[(&str, &str)], manifest: &str, cases: &[&str]) -> Answer {
    let component = component_from_core(WAT.as_bytes(), manifest).unwrap();
    let mut body = b"--e\r\ncontent-disposition: form-data; name=\"component\"\r\n\r\n".to_vec();
    body.extend(component);
    for (at, case) in cases.iter().enumerate() {
        body.extend(
            format!("\r\n--e\r\ncontent-disposition: form-data; name=\"cases/{at}.json\"\r\n\r\n{case}").bytes(),
        );
    }
    body.extend(b"\r\n--e--\r\n");
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
    headers.extend_from_slice(more);
    send(apis.admin, "POST", "/api/v1/functions", &headers, &body).await
}

pub(super) const CASE: &str = r#"{"name": "a track is delivered", "event": {"type": "track", "messageId": "m"}, "outcome": {"code": "delivered"}}"#;

/// A host with a partner and two customers.
struct Bed {
    apis: Apis,
    partner: String,
    customer: String,
    other: String,
}

impl Bed {
    async fn new() -> Self {
        let apis = Apis::start(&[]).await;
        let mut tokens = Vec::new();
        for (kind, name, role) in [
            ("partner", "mailers", "partner-admin"),
            ("workspace", "acme", "workspace-editor"),
            ("workspace", "other", "workspace-editor"),
        ] {
            apis.make(&format!("/api/v1/{kind}s"), &json!({ "name": name })).await;
            let header = format!("tidegate-{kind}");
            let key = json!({"name": "k", "role": role});
            let made = call(&apis, &apis.token, &[(&header, name)], "POST", "/api/v1/keys", &key).await;
            tokens.push(made.json()["token"].as_str().unwrap().to_owned());
        }
        let [partner, customer, other] = tokens.try_into().unwrap();
        Self { apis, partner, customer, other }
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        call(&self.apis, token, &[], method, &format!("/api/v1/{path}"), &body).await
    }

    /// A call that must succeed.
    async fn done(&self, token: &str, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(token, method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text());
        answer.json()
    }

    async fn push(&self, version: &str, reads: &str, hosts: &[&str]) -> Value {
        let pushed = upload(&self.apis, &self.partner, &[], &manifest(version, reads, hosts), &[CASE]).await;
        assert_eq!(pushed.status, 201, "{}", pushed.text());
        pushed.json()
    }

    async fn sees(&self, token: &str) -> u16 {
        self.call(token, "GET", "functions/mailer", Value::Null).await.status
    }

    /// A review of the newest version that an operator approves.
    async fn release(&self, stage: &str) -> Value {
        let review = self.done(&self.partner, "POST", "functions/mailer/submit", json!({ "stage": stage })).await;
        let path = format!("reviews/{}/approve", review["id"].as_str().unwrap());
        self.done(&self.apis.token, "POST", &path, json!({})).await
    }

    async fn destination(&self, token: &str) -> Value {
        self.done(token, "POST", "destinations", json!({"name": "Mail", "function": "mailer"})).await
    }

    async fn look(&self, token: &str, destination: &Value) -> Value {
        let path = format!("destinations/{}", destination["id"].as_str().unwrap());
        self.done(token, "GET", &path, Value::Null).await
    }
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn nobody_sees_a_function_before_its_stage_lets_them() {
    let bed = Bed::new().await;
    let (partner, customer, other, operator) = (&bed.partner, &bed.customer, &bed.other, &bed.apis.token);
    let pushed = bed.push("1", "[\"userId\"]", &["https://a.example.com"]).await;
    assert_eq!((&pushed["function"]["stage"], &pushed["version"]["approved"]), (&json!("building"), &json!(false)));
    let id = pushed["function"]["id"].as_str().unwrap();

    // What is not seen is answered like what does not exist, by name and by id, and cannot be used.
    let hidden = bed.call(customer, "GET", "functions/mailer", Value::Null).await;
    let nothing = bed.call(customer, "GET", "functions/mailex", Value::Null).await;
    assert_eq!(hidden.text().replace("mailer", "mailex"), nothing.text());
    for path in [format!("functions/{id}"), format!("functions/{id}/access"), format!("functions/{id}/versions")] {
        assert_eq!(code(&bed.call(customer, "GET", &path, Value::Null).await), (404, "not_found".to_owned()), "{path}");
    }
    let make = json!({"name": "Mail", "function": id});
    assert_eq!(bed.call(customer, "POST", "destinations", make).await.status, 404);
    assert_eq!(bed.done(customer, "GET", "functions", Value::Null).await["items"], json!([]));
    assert_eq!((bed.sees(partner).await, bed.sees(operator).await), (200, 200));

    let review = bed.done(partner, "POST", "functions/mailer/submit", json!({"comment": "Please look"})).await;
    assert_eq!((&review["stage"], &review["state"]), (&json!("private-beta"), &json!("open")));
    assert_eq!(bed.done(partner, "GET", "functions/mailer", Value::Null).await["stage"], "submitted");
    let twice = bed.call(partner, "POST", "functions/mailer/submit", json!({})).await;
    assert_eq!(code(&twice), (409, "not_now".to_owned()), "{}", twice.text());
    let path = format!("reviews/{}", review["id"].as_str().unwrap());
    bed.done(operator, "POST", &format!("{path}/comments"), json!({"text": "Looks fine"})).await;
    assert_eq!(bed.call(customer, "GET", &path, Value::Null).await.status, 403);
    assert_eq!(bed.call(partner, "POST", &format!("{path}/approve"), json!({})).await.status, 403);
    let open = bed.done(operator, "GET", "reviews?state=open", Value::Null).await;
    assert_eq!(open["items"].as_array().unwrap().len(), 1);
    let approved = bed.done(operator, "POST", &format!("{path}/approve"), json!({"comment": "Welcome"})).await;
    let said: Vec<_> =
        approved["comments"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert_eq!(said, ["Please look", "Looks fine", "Welcome"]);
    assert_eq!(bed.call(operator, "POST", &format!("{path}/reject"), json!({})).await.status, 409, "decided once");

    // A private beta is for those who follow its link.
    assert_eq!(bed.sees(customer).await, 404);
    let link = bed.done(partner, "POST", "functions/mailer/invitations", json!({})).await;
    let wrong = bed.call(customer, "POST", "invitations/redeem", json!({"code": "tgi_wrong"})).await;
    assert_eq!(code(&wrong), (404, "not_found".to_owned()));
    let redeem = json!({"code": link["code"]});
    assert_eq!(bed.done(customer, "POST", "invitations/redeem", redeem.clone()).await["id"], id);
    assert_eq!((bed.sees(customer).await, bed.sees(other).await), (200, 404));
    bed.destination(customer).await;
    let path = format!("functions/mailer/invitations/{}", link["id"].as_str().unwrap());
    assert_eq!(bed.call(partner, "DELETE", &path, Value::Null).await.status, 204);
    assert_eq!(bed.call(other, "POST", "invitations/redeem", redeem).await.text(), wrong.text(), "it is taken back");
    let links = bed.done(partner, "GET", "functions/mailer/invitations", Value::Null).await;
    assert_eq!((&links["items"][0]["redeemed"], links["items"][0].get("code")), (&json!(1), None));

    bed.release("public").await;
    assert_eq!(bed.sees(other).await, 200);
    let back = bed.call(partner, "POST", "functions/mailer/submit", json!({"stage": "private-beta"})).await;
    assert_eq!(code(&back), (422, "invalid_stage".to_owned()));
    let own = bed.call(partner, "POST", "functions/mailer/stage", json!({"stage": "building"})).await;
    assert_eq!(code(&own), (422, "invalid_stage".to_owned()));
    bed.done(partner, "POST", "functions/mailer/stage", json!({"stage": "deprecated"})).await;
    let late = bed.call(other, "POST", "destinations", json!({"name": "Mail", "function": "mailer"})).await;
    assert_eq!(code(&late), (409, "not_now".to_owned()), "{}", late.text());
    assert!(late.text().contains("deprecated"), "{}", late.text());
    assert!(bed.done(operator, "GET", "audit/verify", Value::Null).await["ok"] == true);
}

#[tokio::test]
async fn the_host_looks_before_an_operator_does() {
    let bed = Bed::new().await;
    let (partner, operator) = (&bed.partner, &bed.apis.token);
    let bare = "name = \"mailer\"\nversion = \"1\"\nevents = [\"track\", \"page\"]\n";
    let fails = CASE.replace("\"delivered\"}", "\"retry\"}");
    let pushed = upload(&bed.apis, partner, &[], bare, &[CASE, &fails]).await.json();
    let passed: Vec<_> = pushed["cases"].as_array().unwrap().iter().map(|case| case["passed"] == true).collect();
    assert_eq!(passed, [true, false], "{pushed}");
    assert_eq!(pushed["cases"][1]["differences"], json!(["outcome.code: expected \"retry\", got \"delivered\""]));
    let shown = bed.done(partner, "GET", "functions/mailer/versions/1", Value::Null).await;
    assert_eq!(shown["inspection"]["cases"], pushed["cases"], "they are part of what was found");
    let refused = bed.call(partner, "POST", "functions/mailer/submit", json!({})).await;
    assert_eq!(code(&refused), (409, "checklist_failed".to_owned()));
    let text = refused.text();
    for missing in ["1 of 2 fail", "of the type page", "`description`", "`category`", "`docs`", "`logo`", "`support`"] {
        assert!(text.contains(missing), "{missing}: {text}");
    }
    let broken = upload(&bed.apis, partner, &[], bare, &["{}"]).await;
    assert_eq!(code(&broken), (422, "invalid_case".to_owned()));

    // The same bytes again with cases that pass are the same version, looked at anew.
    let good = manifest("2", "[\"*\"]", &[]);
    assert_eq!(upload(&bed.apis, partner, &[], &good, &[]).await.status, 201);
    let list = bed.done(partner, "GET", "functions/mailer/checklist", Value::Null).await;
    assert_eq!((&list["ok"], &list["items"][1]["check"]), (&json!(false), &json!("cases")));
    upload(&bed.apis, partner, &[], &good, &[CASE]).await;
    assert_eq!(bed.done(partner, "GET", "functions/mailer/checklist", Value::Null).await["ok"], true);

    // Rejected, it is worked on again; withdrawn too.
    for end in ["reject", "withdraw"] {
        let review = bed.done(partner, "POST", "functions/mailer/submit", json!({})).await;
        let path = format!("reviews/{}/{end}", review["id"].as_str().unwrap());
        let ended = bed.done(operator, "POST", &path, json!({"comment": "Not yet"})).await;
        assert_eq!(ended["comments"][0]["text"], "Not yet");
        assert_eq!(bed.done(partner, "GET", "functions/mailer", Value::Null).await["stage"], "building");
    }
}

#[tokio::test]
async fn nobody_approves_what_they_submitted_themselves() {
    let bed = Bed::new().await;
    bed.push("1", "[\"*\"]", &[]).await;
    let operator = &bed.apis.token;
    let second = bed.done(operator, "POST", "keys", json!({"name": "second", "role": "operator"})).await;
    let second = second["token"].as_str().unwrap();
    let review = bed.done(operator, "POST", "functions/mailer/submit", json!({})).await;
    let path = format!("reviews/{}/approve", review["id"].as_str().unwrap());
    let own = bed.call(operator, "POST", &path, json!({})).await;
    assert_eq!(code(&own), (409, "not_now".to_owned()));
    assert!(own.text().contains("another person"), "{}", own.text());
    // Nor with the key that took the place of theirs.
    let me = bed.done(operator, "GET", "whoami", Value::Null).await["key"].clone();
    let rotate = format!("keys/{}/rotate", me.as_str().unwrap());
    let turned = bed.done(operator, "POST", &rotate, json!({})).await["token"].clone();
    let still = bed.call(turned.as_str().unwrap(), "POST", &path, json!({})).await;
    assert_eq!(code(&still), (409, "not_now".to_owned()), "{}", still.text());
    assert_eq!(bed.done(second, "POST", &path, json!({})).await["state"], "approved");
}

#[tokio::test]
async fn only_a_version_that_may_do_more_needs_an_approval_and_the_customers_consent() {
    let bed = Bed::new().await;
    let (partner, customer) = (&bed.partner, &bed.customer);
    let (one, two) = (&["https://a.example.com"][..], &["https://a.example.com", "https://b.example.com"][..]);
    bed.push("1", "[\"userId\"]", one).await;
    bed.release("public").await;
    let destination = bed.destination(customer).await;
    let first = bed.done(partner, "GET", "functions/mailer", Value::Null).await["current"].clone();

    // A change of code alone is the partner's own affair, and everybody follows.
    let pushed = bed.push("1.1", "[\"userId\"]", one).await;
    assert_eq!((&pushed["version"]["approved"], &pushed["wider"]), (&json!(true), &json!([])));
    bed.done(partner, "POST", "functions/mailer/versions/1.1/promote", json!({})).await;
    assert_eq!(bed.look(customer, &destination).await["held"], Value::Null);
    bed.done(partner, "POST", "functions/mailer/rollback", json!({})).await;

    // One that reaches and reads further waits for both.
    let wide = bed.push("2", "[\"userId\", \"traits.email\"]", two).await;
    let more = json!(["It also sends to https://b.example.com.", "It also reads traits.email of each event."]);
    assert_eq!((&wide["version"]["approved"], &wide["wider"]), (&json!(false), &more));
    assert_eq!(bed.call(customer, "GET", "functions/mailer/versions/2", Value::Null).await.status, 404);
    let pin = json!({"name": "pinned", "function": "mailer", "pinned": wide["version"]["id"]});
    assert_eq!(bed.call(customer, "POST", "destinations", pin).await.status, 404);
    let refused = bed.call(partner, "POST", "functions/mailer/versions/2/promote", json!({})).await;
    assert_eq!(code(&refused), (409, "approval_needed".to_owned()));
    assert_eq!(refused.json()["errors"], more);
    assert_eq!(bed.release("public").await["wider"], more);
    let function = bed.done(partner, "GET", "functions/mailer", Value::Null).await;
    assert_eq!(function["current"], first, "when to turn stays the partner's affair");
    bed.done(partner, "POST", "functions/mailer/versions/2/promote", json!({})).await;
    let held = bed.look(customer, &destination).await;
    assert_eq!((&held["held"], &held["asks"]), (&first, &more));

    // Who begins now agrees by that; who was asked agrees by saying so, once.
    let new = bed.destination(&bed.other).await;
    assert_eq!(bed.look(&bed.other, &new).await["held"], Value::Null);
    bed.push("2.1", "[\"userId\", \"traits.email\"]", two).await;
    bed.done(partner, "POST", "functions/mailer/versions/2.1/promote", json!({})).await;
    assert_eq!(bed.look(customer, &destination).await["held"], first, "still");
    assert_eq!(bed.look(&bed.other, &new).await["held"], Value::Null);
    let path = format!("destinations/{}", destination["id"].as_str().unwrap());
    let pin = bed.call(customer, "PATCH", &path, json!({"pinned": "2"})).await;
    assert_eq!(code(&pin), (409, "consent_needed".to_owned()));
    assert_eq!(pin.json()["errors"], more);
    let agreed = bed.done(customer, "PATCH", &path, json!({"consent": true})).await;
    assert_eq!((&agreed["held"], &agreed["asks"]), (&Value::Null, &json!([])));
    for how in ["versions/1/promote", "versions/2/promote"] {
        bed.done(partner, "POST", &format!("functions/mailer/{how}"), json!({})).await;
        assert_eq!(bed.look(customer, &destination).await["held"], Value::Null, "{how}");
    }
    let audit = bed.done(&bed.apis.token, "GET", "audit?action=destination.consent", Value::Null).await;
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_an_operator_pushes_is_for_everybody_at_once() {
    let bed = Bed::new().await;
    let operator = &bed.apis.token;
    let push = async |version: &str, hosts: &[&str]| {
        upload(&bed.apis, operator, &[], &manifest(version, "[\"*\"]", hosts), &[]).await.json()
    };
    let pushed = push("1", &[]).await;
    assert_eq!((&pushed["function"]["stage"], &pushed["version"]["approved"]), (&json!("public"), &json!(true)));
    let (own, theirs) = (bed.destination(operator).await, bed.destination(&bed.customer).await);
    let second = push("2", &["https://a.example.com"]).await;
    bed.done(operator, "POST", "functions/mailer/versions/2/promote", json!({})).await;
    assert_eq!(bed.look(operator, &own).await["held"], Value::Null, "an operator is their own customer");
    let held = bed.look(&bed.customer, &theirs).await;
    assert_eq!((&held["held"], &held["asks"]), (&pushed["version"]["id"], &second["wider"]), "others are asked");
    assert_eq!(second["version"]["approved"], true);
}

#[tokio::test]
async fn customers_wish_for_destinations_and_each_workspace_has_one_vote() {
    let bed = Bed::new().await;
    let (customer, other) = (&bed.customer, &bed.other);
    let wish = bed.done(customer, "POST", "wishes", json!({"name": "HubSpot"})).await;
    assert_eq!((&wish["votes"], &wish["voted"]), (&json!(1), &json!(true)));
    let again = bed.done(customer, "POST", "wishes", json!({"name": "hubspot"})).await;
    assert_eq!((&again["id"], &again["votes"]), (&wish["id"], &json!(1)), "one vote each, whatever the case");
    let path = format!("wishes/{}/vote", wish["id"].as_str().unwrap());
    assert_eq!(bed.done(other, "POST", &path, json!({})).await["votes"], 2);
    let seen = bed.done(&bed.partner, "GET", "wishes", Value::Null).await;
    assert_eq!((&seen["items"][0]["votes"], &seen["items"][0]["voted"]), (&json!(2), &json!(false)));
    assert_eq!(bed.call(&bed.partner, "POST", &path, json!({})).await.status, 403);
    for (token, left) in [(customer, 1), (other, 0)] {
        assert_eq!(bed.done(token, "DELETE", &path, Value::Null).await["votes"], left);
    }
    assert_eq!(bed.done(customer, "GET", "wishes", Value::Null).await["items"], json!([]));
    assert_eq!(bed.call(customer, "POST", &path, json!({})).await.status, 404);
}

#[tokio::test]
async fn what_is_refused_is_named_with_what_there_is_instead() {
    let bed = Bed::new().await;
    bed.push("1", "[\"userId\"]", &[]).await;
    let says = |answer: Answer, status: u16, words: &[&str]| {
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{detail}");
        for word in words {
            assert!(detail.contains(word), "no `{word}` in {detail}");
        }
        detail
    };
    let submit =
        async |stage: &str| bed.call(&bed.partner, "POST", "functions/mailer/submit", json!({ "stage": stage })).await;
    for stage in ["publik", "building", "deprecated"] {
        let said =
            says(submit(stage).await, 422, &["`private-beta`, `public-beta` or `public`", &format!("`{stage}`")]);
        assert!(!said.contains("`submitted`"), "{said}");
    }
    let put = |stage: &str| json!({ "stage": stage });
    let early = bed.call(&bed.partner, "POST", "functions/mailer/stage", put("deprecated")).await;
    says(early, 422, &["`mailer` is in `building`", "nothing to deprecate"]);
    let skipped = bed.call(&bed.partner, "POST", "functions/mailer/stage", put("public")).await;
    says(skipped, 422, &["tidegate function submit"]);
    // A customer's hint names nothing that is a partner's.
    let wrong = bed.call(&bed.customer, "POST", "invitations/redeem", json!({"code": "tgi_wrong"})).await;
    let said = says(wrong, 404, &["ask the partner"]);
    assert!(!said.contains("tidegate function invitations"), "{said}");
    // Nobody can delete a function.
    let owned = bed.call(&bed.apis.token, "DELETE", "partners/mailers", Value::Null).await;
    let said = says(owned, 409, &["functions (1)", "deprecated"]);
    assert!(!said.contains("delete them"), "{said}");
    // What is said of a version stays, also if it is said again.
    bed.push("2", "[\"userId\"]", &[]).await;
    let yank = async |body: Value| bed.done(&bed.partner, "POST", "functions/mailer/versions/2/yank", body).await;
    assert_eq!(yank(json!({"reason": "sends twice"})).await["reason"], "sends twice");
    assert_eq!(yank(json!({})).await["reason"], "sends twice");
    assert_eq!(yank(json!({"reason": "three times"})).await["reason"], "three times");
    let restored = bed.done(&bed.partner, "POST", "functions/mailer/versions/2/restore", json!({})).await;
    assert_eq!(restored["reason"], Value::Null);
    // A case that ends otherwise says why.
    let elsewhere = r#"{"name": "c", "event": {"type": "track"}, "outcome": {"code": "retry"}}"#;
    let pushed = upload(&bed.apis, &bed.partner, &[], &manifest("3", "[\"userId\"]", &[]), &[elsewhere]).await.json();
    assert_eq!(pushed["cases"][0]["differences"], json!(["outcome.code: expected \"retry\", got \"delivered\""]));
}

#[tokio::test]
async fn the_form_of_an_upload_is_described_as_it_is_taken() {
    let apis = Apis::start(&[]).await;
    let schemas = send(apis.admin, "GET", "/openapi.json", &[], b"").await.json()["components"]["schemas"].clone();
    let form = &schemas["Form"];
    let one_of = json!([{"required": ["component"]}, {"required": ["handler.js"]}, {"required": ["handler.ts"]},
        {"required": ["bundle"]}]);
    assert_eq!(form["anyOf"], one_of);
    assert!(!form.to_string().contains("null"), "a field of a form is there or not: {form}");
    assert_eq!(form["properties"]["cases/NAME.json"]["$ref"], "#/components/schemas/CaseFile", "{form}");
    // What the description names is what a case may have.
    let case = &schemas["CaseFile"];
    assert_eq!((&case["additionalProperties"], &case["required"]), (&json!(false), &json!(["name"])));
    let mut full = json!({"name": "all", "event": {"type": "track"}, "settings": {}, "answers": [{"status": 200}],
        "requests": [], "outcome": {"code": "delivered"}, "outcomes": []});
    let known: std::collections::BTreeSet<_> = case["properties"].as_object().unwrap().keys().cloned().collect();
    let mut given: std::collections::BTreeSet<_> = full.as_object().unwrap().keys().cloned().collect();
    given.insert("events".to_owned());
    assert_eq!(known, given);
    let pushed = upload(&apis, &apis.token, &[], &manifest("1", "[\"userId\"]", &[]), &[&full.to_string()]).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    full["other"] = json!(1);
    let refused = upload(&apis, &apis.token, &[], &manifest("2", "[\"userId\"]", &[]), &[&full.to_string()]).await;
    assert_eq!(code(&refused), (422, "invalid_case".to_owned()));
}

#[tokio::test]
async fn a_replay_runs_no_version_that_its_customer_may_not_choose() {
    let bed = Bed::new().await;
    bed.push("1", "[\"userId\"]", &[]).await;
    bed.release("public").await;
    let destination = bed.destination(&bed.customer).await;
    let replay = async |token: &str, version: &Value, whole: bool| {
        let mut body = json!({"version": version, "dry_run": true});
        if whole {
            body["destination"] = destination["id"].clone();
        }
        bed.call(token, "POST", "replays", body).await
    };
    let wider = bed.push("2", "[\"userId\"]", &["https://more.example.com"]).await["version"]["id"].clone();
    let nothing = json!(format!("fnv_{}", "0".repeat(32)));
    for whole in [false, true] {
        // What nobody approved is answered like what does not exist.
        let (one, other) = (replay(&bed.customer, &wider, whole).await, replay(&bed.customer, &nothing, whole).await);
        assert_eq!((one.status, other.status), (404, 404), "{}", one.text());
        let detail =
            |answer: &Answer, id: &Value| answer.json()["detail"].as_str().unwrap().replace(id.as_str().unwrap(), "ID");
        assert_eq!(detail(&one, &wider), detail(&other, &nothing));
    }
    // Approved, it may still do more than this customer agreed to.
    bed.release("public").await;
    let asked = replay(&bed.customer, &wider, true).await;
    assert_eq!(code(&asked), (409, "consent_needed".to_owned()), "{}", asked.text());
    assert_eq!(asked.json()["errors"], json!(["It also sends to https://more.example.com."]));
    let path = format!("destinations/{}", destination["id"].as_str().unwrap());
    bed.done(&bed.customer, "PATCH", &path, json!({"pinned": wider, "consent": true})).await;
    assert_eq!(replay(&bed.customer, &wider, true).await.status, 200);
    bed.done(&bed.partner, "POST", "functions/mailer/versions/2/yank", json!({})).await;
    assert_eq!(code(&replay(&bed.customer, &wider, true).await), (409, "not_now".to_owned()));
}

#[tokio::test]
async fn a_field_that_a_form_does_not_take_is_named() {
    let apis = Apis::start(&[]).await;
    let body = b"--e\r\ncontent-disposition: form-data; name=\"componnent\"\r\n\r\nx\r\n--e--\r\n";
    let bearer = format!("Bearer {}", apis.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/form-data; boundary=e")];
    let refused = send(apis.admin, "POST", "/api/v1/functions", &headers, body).await;
    assert_eq!(code(&refused), (400, "invalid_form".to_owned()));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`componnent`") && detail.contains("`component`"), "{detail}");
}
