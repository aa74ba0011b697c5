//! What the description of the API says of texts: forms of ids, names and cursors, and the words that a field may be.
//!
//! The handlers' types are plain texts to the generator. Their forms are said here once for all fields of a name, so that whoever fills in a
//! request by the description alone, program or person, makes one that is taken.

use serde_json::{Map, Value, json};

use super::keys::MAX_OVERLAP_S;
use crate::api::policy;
use crate::catalog::manifest::MAX_NAME;
use crate::model::{DeliveryState, EventType, OutcomeCode, ReplayState, ReviewState, Role, Stage};

/// A name for people, as `check_name` has it: no control character, no space around it.
const NAME: &str = r"^(?!ws_|prt_)[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";

/// Text without control characters.
const ONE_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// Text of several lines in which something is said.
const LINES: &str = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x08\x0b-\x1f\x7f-\x9f]*$";

/// Moments that there are here: milliseconds since 1970.
const SINCE_1970: &str = "^(19[7-9][0-9]|[2-9][0-9]{3})-";

/// A path of names in an event.
const FIELD: &str = r"^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$";

/// The field of a form that is a case, by its file's name.
const CASE_FIELD: &str = "^cases/[A-Za-z0-9._-]{1,64}$";

/// An ed25519 public key in hexadecimal digits, or in PEM: 32 bytes behind the bytes that say what they are.
const PUBLIC_KEY: &str = "^([0-9a-fA-F]{64}|-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n-----END PUBLIC KEY-----\n?)$";

/// Fields that are ids wherever a request has them, and how the ids begin.
const IDS: &[(&str, &str)] = &[
    ("source", "src_"),
    ("destination", "dst_"),
    ("connection", "con_"),
    ("delivery", "dlv_"),
    ("workspace", "ws_"),
    ("partner", "prt_"),
];

/// By the first word of a list's path: what its cursors look like. Lists go on behind an id, or behind a number.
const CURSORS: &[(&str, &str)] = &[
    ("workspaces", "^ws_[0-9a-f]{32}$"),
    ("partners", "^prt_[0-9a-f]{32}$"),
    ("keys", "^key_[0-9a-f]{32}$"),
    ("links", "^lnk_[0-9a-f]{32}$"),
    ("signing-keys", "^sgk_[0-9a-f]{32}$"),
    ("sources", "^src_[0-9a-f]{32}$"),
    ("destinations", "^dst_[0-9a-f]{32}$"),
    ("connections", "^con_[0-9a-f]{32}$"),
    ("deliveries", "^[0-9]{1,18}[.][0-9]{1,4}$"),
    ("replays", "^[0-9]{1,18}$"),
    ("reviews", "^rev_[0-9a-f]{32}$"),
    ("wishes", "^wsh_[0-9a-f]{32}$"),
    ("suppressions", "^sup_[0-9a-f]{32}$"),
    ("audit", "^[0-9]{1,18}$"),
];

fn id(prefix: &str) -> String {
    format!("^{prefix}[0-9a-f]{{32}}$")
}

fn put(schema: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    schema.entry(key).or_insert(value.into());
}

/// An object that may not be there. Looking for it with an index would make it.
fn objects(value: Option<&mut Value>) -> Option<&mut Map<String, Value>> {
    value.and_then(Value::as_object_mut)
}

/// Adds the forms to a description.
pub(super) fn narrow(mut api: Value, most_events_per_s: u32) -> Value {
    for (path, operations) in objects(api.get_mut("paths")).into_iter().flatten() {
        for operation in objects(Some(operations)).into_iter().flat_map(Map::values_mut) {
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                narrow_parameter(path, parameter, most_events_per_s);
            }
        }
    }
    for (name, schema) in objects(api.pointer_mut("/components/schemas")).into_iter().flatten() {
        // Fields of which there must be one of several.
        let one_of: &[&[&str]] = match name.as_str() {
            "Form" => &[&["component"], &["handler.js"], &["handler.ts"], &["bundle"]],
            "CaseFile" => &[&["event", "outcome"], &["events", "outcomes"]],
            _ => &[],
        };
        if let (Some(schema), false) = (schema.as_object_mut(), one_of.is_empty()) {
            let one_of: Vec<_> = one_of.iter().map(|fields| json!({ "required": fields })).collect();
            put(schema, if name == "Form" { "anyOf" } else { "oneOf" }, one_of);
            put(schema, "additionalProperties", false);
            if name == "Form" {
                put(schema, "patternProperties", json!({ CASE_FIELD: {"$ref": "#/components/schemas/CaseFile"} }));
            }
        }
        // Only what is sent here: an answer is whatever it is.
        let asked = [
            "ToMake",
            "Change",
            "NewSource",
            "NewReplayBody",
            "ToTry",
            "Reason",
            "Rotation",
            "ToWish",
            "ToSay",
            "ToSubmit",
            "ToPut",
            "ToInvite",
            "Decision",
        ]
        .iter()
        .any(|ending| name.ends_with(ending));
        for (field, schema) in objects(schema.get_mut("properties")).into_iter().flatten().filter(|_| asked) {
            if let Some(schema) = schema.as_object_mut() {
                narrow_field(name, field, schema, most_events_per_s);
            }
        }
    }
    api
}

fn narrow_parameter(path: &str, parameter: &mut Value, most_events_per_s: u32) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let query = parameter["in"] == "query";
    let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut) else { return };
    // What stands in a query or a header is there or not; there is no way to write `null`.
    if let Some(kinds) = schema.get("type").and_then(Value::as_array) {
        let only = kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
        schema.insert("type".to_owned(), only);
    }
    if !query {
        return;
    }
    let words = path.split('/').collect::<Vec<_>>();
    match (name.as_str(), &words[..]) {
        ("after", ["", "api", "v1", "functions", _, "versions"]) => put(schema, "pattern", id("fnv_")),
        ("after", ["", "api", "v1", "functions", _, "invitations"]) => put(schema, "pattern", id("inv_")),
        ("after", ["", "api", "v1", "functions"]) => put(schema, "pattern", id("fn_")),
        ("after", ["", "api", "v1", first]) => {
            let form = CURSORS.iter().find(|(list, _)| list == first);
            form.into_iter().for_each(|(_, form)| put(schema, "pattern", *form));
        }
        ("name", [.., "functions"]) => {
            put(schema, "maxLength", MAX_NAME);
            put(schema, "pattern", "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$");
        }
        ("cursor" | "since", [.., "logs"]) => put(schema, "pattern", "^[0-9]{1,18}$"),
        ("state", [.., "reviews"]) => put(schema, "enum", json!(ReviewState::ALL.map(ReviewState::as_str))),
        ("state", [.., "replays"]) => put(schema, "enum", json!(ReplayState::ALL.map(ReplayState::as_str))),
        _ => narrow_field("", &name, schema, most_events_per_s),
    }
}

fn narrow_field(schema_name: &str, field: &str, schema: &mut Map<String, Value>, most_events_per_s: u32) {
    // A field that may be absent may be `null` too, as far as it is a choice of words.
    let nullable =
        schema.get("type").is_some_and(|kind| kind.as_array().is_some_and(|all| all.contains(&"null".into())));
    let words = |all: &[&str]| {
        let mut all: Vec<Value> = all.iter().map(|word| Value::from(*word)).collect();
        all.extend(nullable.then_some(Value::Null));
        Value::from(all)
    };
    match (schema_name, field) {
        (_, "name") => {
            put(schema, "minLength", 1);
            put(schema, "maxLength", 100);
            put(schema, "pattern", NAME);
        }
        ("LinkToMake", "role") => {
            put(schema, "enum", words(&policy::LINKED.iter().map(|role| role.as_str()).collect::<Vec<_>>()))
        }
        (_, "role") => put(schema, "enum", words(&Role::ALL.map(Role::as_str))),
        (_, "outcome") => put(schema, "enum", words(&OutcomeCode::ALL.map(OutcomeCode::as_str))),
        (_, "type") => put(schema, "enum", words(&EventType::ALL.map(EventType::as_str))),
        ("", "state") => put(schema, "enum", words(&DeliveryState::ALL.map(DeliveryState::as_str))),
        (_, "from" | "to" | "expires_at" | "now") => {
            put(schema, "format", "date-time");
            put(schema, "pattern", SINCE_1970);
        }
        (_, "reason") => {
            put(schema, "maxLength", 200);
            put(schema, "pattern", ONE_LINE);
        }
        ("NewReplayBody", "version") => put(schema, "pattern", "^(current|old|fnv_[0-9a-f]{32})$"),
        ("NewReplayBody", "events_per_s") => {
            schema.insert("minimum".to_owned(), 1.into());
            schema.insert("maximum".to_owned(), most_events_per_s.into());
        }
        (_, "stage") => put(schema, "enum", words(&Stage::ALL.map(Stage::as_str))),
        (_, "text" | "comment") => {
            put(schema, "minLength", 1);
            put(schema, "maxLength", 4_000);
            put(schema, "pattern", LINES);
        }
        ("ToInvite", "days") => {
            schema.insert("minimum".to_owned(), 1.into());
            schema.insert("maximum".to_owned(), 366.into());
        }
        (_, "public_key") => put(schema, "pattern", PUBLIC_KEY),
        (_, "ordered_by") => {
            put(schema, "pattern", FIELD);
            put(schema, "maxLength", 128);
        }
        ("UsersToMake", "user_ids") => {
            if let Some(each) = objects(schema.get_mut("items")) {
                put(each, "minLength", 1);
                put(each, "maxLength", 256);
            }
        }
        (_, "overlap_s") => put(schema, "maximum", MAX_OVERLAP_S),
        _ => {
            if let Some((_, prefix)) = IDS.iter().find(|(name, _)| *name == field) {
                put(schema, "pattern", id(prefix));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_said_of_what_is_asked_and_not_of_what_is_answered() {
        let api = narrow(
            json!({
                "paths": {
                    "/api/v1/sources": {"get": {"parameters": [{"name": "after", "in": "query", "schema": {"type": ["string", "null"]}}]}},
                    "/api/v1/replays": {"get": {"parameters": [{"name": "state", "in": "query", "schema": {"type": "string"}}]}},
                },
                "components": {"schemas": {
                    "KeyToMake": {"properties": {"name": {"type": "string"}, "workspace": {"type": ["string", "null"]}}},
                    "KeyView": {"properties": {"name": {"type": "string"}}},
                }},
            }),
            10,
        );
        let after = &api["paths"]["/api/v1/sources"]["get"]["parameters"][0]["schema"];
        assert_eq!(*after, json!({"type": "string", "pattern": "^src_[0-9a-f]{32}$"}));
        assert_eq!(api["paths"]["/api/v1/replays"]["get"]["parameters"][0]["schema"]["enum"][0], "running");
        let schemas = &api["components"]["schemas"];
        assert_eq!(schemas["KeyToMake"]["properties"]["workspace"]["pattern"], "^ws_[0-9a-f]{32}$");
        assert_eq!(schemas["KeyToMake"]["properties"]["name"]["maxLength"], 100);
        assert_eq!(schemas["KeyView"]["properties"]["name"], json!({"type": "string"}));
    }
}
