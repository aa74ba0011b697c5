//! The audit log from outside: every change has its line, nobody reads another's, and a forged line is found.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::tenancy::{Neighbours, call};
use super::{Apis, send};

/// Calls that change nothing although they are no `GET`.
const HARMLESS: [&str; 2] = ["/api/v1/functions/{id}/test", "/api/v1/destinations/{id}/test"];

async fn lines(apis: &Apis, query: &str) -> Vec<Value> {
    let answer = apis.control("GET", &format!("/api/v1/audit?limit=1000{query}"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_call_that_changes_something_leaves_a_line_and_no_other_does() {
    let bed = Neighbours::new().await;
    let apis = &bed.apis;
    let api = send(apis.admin, "GET", "/openapi.json", &[], b"").await.json();
    let at = [("tidegate-workspace", "theirs"), ("tidegate-partner", "theirs")];
    let mut changed = 0;
    let all = api["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/"));
    // What deletes comes last, so that the others still find it.
    for deleting in [false, true] {
        for (path, operations) in all.clone() {
            for method in operations.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()) {
                if (method == "DELETE") != deleting {
                    continue;
                }
                let before = lines(apis, "").await.len();
                let mut body = bed.body(&method, path);
                if body.get("name").is_some() {
                    body["name"] = json!(format!("made by {}", path.len()));
                }
                let answer = call(apis, &apis.token, &at, &method, &bed.fill(path), &body).await;
                let fresh = lines(apis, "").await.len() - before;
                let changes = method != "GET" && answer.status < 300 && !HARMLESS.contains(&path.as_str());
                assert_eq!(fresh > 0, changes, "{method} {path}: {} {}", answer.status, answer.text());
                changed += usize::from(changes);
            }
        }
    }
    assert!(changed >= 18, "{changed} calls changed something");
    let verdict = apis.control("GET", "/api/v1/audit/verify", None).await.json();
    assert_eq!((&verdict["ok"], &verdict["wrong"]), (&json!(true), &Value::Null), "{verdict}");
    assert_eq!(verdict["lines"], lines(apis, "").await.len());
}

#[tokio::test]
async fn a_line_says_who_did_what_to_what_and_has_no_secret() {
    let apis = Apis::start(&[]).await;
    let me = apis.control("GET", "/api/v1/whoami", None).await.json();
    let (source, write_key) = apis.source("web").await;
    let path = format!("/api/v1/sources/{source}");
    apis.control("PATCH", &path, Some(&json!({"name": "web 2"}))).await;
    apis.control("PATCH", &path, Some(&json!({"name": "web"}))).await;
    let key = apis.make("/api/v1/keys", &json!({"name": "k", "role": "operator"})).await;
    let all = lines(&apis, &format!("&id={source}")).await;
    let actions: Vec<_> = all.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["source.update", "source.update", "source.create"], "newest first");
    let [back, away, made] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&made["key"], &made["role"]), (&me["key"], &json!("operator")));
    assert_eq!((&made["before"], &made["after"]), (&Value::Null, &away["before"]));
    assert_eq!((&away["after"], &back["after"]), (&back["before"], &made["after"]), "equal things, equal digests");
    assert_eq!(lines(&apis, "&action=key.create").await.len(), 2, "the first key, and this one");
    let text = json!(lines(&apis, "").await).to_string();
    for secret in [write_key.as_str(), key["token"].as_str().unwrap(), "web 2"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn an_admin_reads_the_lines_of_their_own_tenant_only() {
    let bed = Neighbours::new().await;
    for role in ["workspace-admin", "partner-admin"] {
        let answer = call(&bed.apis, &bed.mine[role], &[], "GET", "/api/v1/audit", &Value::Null).await;
        let items = answer.json()["items"].as_array().unwrap().clone();
        let actions: std::collections::BTreeSet<_> =
            items.iter().map(|line| line["action"].as_str().unwrap()).collect();
        let tenant = if role == "workspace-admin" { "workspace.create" } else { "partner.create" };
        assert_eq!(actions, [tenant, "key.create"].into_iter().collect(), "{role}");
        let verify = call(&bed.apis, &bed.mine[role], &[], "GET", "/api/v1/audit/verify", &Value::Null).await;
        assert_eq!(verify.status, 403);
    }
}

#[tokio::test]
async fn a_line_that_was_changed_removed_or_put_in_is_found() {
    let apis = Apis::start(&[]).await;
    for name in ["a", "b", "c"] {
        apis.source(name).await;
    }
    let sql = Connection::open(apis.dir.path().join("tidegate.db")).unwrap();
    let refused = sql.execute("UPDATE audit SET id = 'x' WHERE no = 2", []).unwrap_err();
    assert!(refused.to_string().contains("audit lines are never changed"), "{refused}");
    sql.execute_batch("DROP TRIGGER audit_lines_stay; DROP TRIGGER audit_lines_remain").unwrap();
    let wrong = async || apis.control("GET", "/api/v1/audit/verify", None).await.json()["wrong"].clone();
    let copy = "CREATE TEMP TABLE kept AS SELECT * FROM audit";
    sql.execute_batch(copy).unwrap();
    let restore = "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept";
    let cases = [
        ("UPDATE audit SET action = 'source.delete' WHERE no = 2", "line 2 was changed"),
        ("UPDATE audit SET at = at + 1 WHERE no = 4", "line 4 was changed"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE no = 1", "line 1 was changed"),
        ("UPDATE audit SET hash = x'00' WHERE no = 1", "line 1 was changed"),
        ("DELETE FROM audit WHERE no = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE no = 1", "line 1 is missing"),
        ("DELETE FROM audit WHERE no = 4", "ends with line 3, but line 4 was the last"),
        ("DELETE FROM audit WHERE no = 3; UPDATE audit SET no = 3 WHERE no = 4", "line 3 was changed or put in"),
        (
            "INSERT INTO audit SELECT 5, at, key, role, action, id, workspace, partner, before, after, hash FROM audit WHERE no = 4",
            "line 5 was changed or put in",
        ),
        (
            "UPDATE audit SET no = 5 WHERE no = 4; INSERT INTO audit SELECT 4, at, key, role, action, id, workspace, partner, before, after, hash FROM audit WHERE no = 3",
            "line 4 was changed or put in",
        ),
    ];
    for (forgery, expected) in cases {
        assert_eq!(wrong().await, Value::Null);
        sql.execute_batch(forgery).unwrap();
        let found = wrong().await;
        assert!(found.as_str().is_some_and(|found| found.contains(expected)), "{forgery}: {found}");
        sql.execute_batch(restore).unwrap();
    }
    sql.execute_batch("DELETE FROM audit WHERE no = 2").unwrap();
    let verify = |more: &[&str]| {
        let mut command = std::process::Command::new(crate::host::program());
        command.args(["audit", "verify"]).args(more).env("TIDEGATE_SERVER", format!("http://{}", apis.admin));
        command.env("TIDEGATE_TOKEN", &apis.token);
        let run = move || command.output().unwrap();
        tokio::task::spawn_blocking(run)
    };
    let found = verify(&[]).await.unwrap();
    assert_eq!(found.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&found.stdout).contains("line 2 is missing"), "{found:?}");
    sql.execute_batch(restore).unwrap();
    let hash = apis.control("GET", "/api/v1/audit/verify", None).await.json()["hash"].as_str().unwrap().to_owned();
    apis.source("d").await;
    assert_eq!(verify(&["--expect", &hash]).await.unwrap().status.code(), Some(0));
    assert_eq!(verify(&["--expect", &"0".repeat(64)]).await.unwrap().status.code(), Some(1));
}
