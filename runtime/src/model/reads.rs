//! The fields of an event that a function reads, and the event with nothing but those.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Event, EventType};

/// What the contract gives with every event; none of it is about a person.
const ALWAYS: [&str; 3] = ["messageId", "type", "receivedAt"];

/// Names in one path. Each is a pass over what is below it, so this also bounds the work.
const MAX_NAMES: usize = 8;

/// Characters of one path.
const MAX_PATH: usize = 128;

/// Paths in one declaration: more than there are fields in the events of most customers.
const MAX_PATHS: usize = 64;

/// The fields of an event that a function reads: `*` for all, or paths such as `userId`, `properties.*` (which is
/// `properties`) and `properties.products.price`, which leads into each object of a list.
///
/// `messageId`, `type` and `receivedAt` are always among them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Reads {
    paths: Vec<String>,
    /// None: everything.
    tree: Option<Branches>,
}

type Branches = BTreeMap<Box<str>, Branch>;

/// What of a value is read.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Branch {
    /// All of it.
    Whole,
    /// These of its members, or of those of the objects in it if it is a list.
    Members(Branches),
}

/// A list that declares no fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReads {
    /// Not a path.
    #[error(
        "`{0}` names no field of an event: use `*` for all, or names that are joined by dots, such as `userId`, \
         `properties.*` or `context.page.url`, {MAX_NAMES} names and {MAX_PATH} characters at most"
    )]
    Path(String),
    /// Too many.
    #[error("{0} fields are named: name at most {MAX_PATHS}, or what they are in, such as `properties.*`")]
    Many(usize),
}

impl Default for Reads {
    /// Everything: what a function reads that does not say it.
    fn default() -> Self {
        Self { paths: vec!["*".to_owned()], tree: None }
    }
}

impl Reads {
    /// Whether it reads whole events.
    pub const fn is_everything(&self) -> bool {
        self.tree.is_none()
    }

    /// The paths as they were declared.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The paths that `other` does not read: what comes with this instead of `other`.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let Some(known) = &other.tree else { return Vec::new() };
        self.paths.iter().filter(|path| !covers(known, path)).cloned().collect()
    }

    /// The event as the function gets it. Costs nothing more than a clone where it reads everything.
    pub fn of(&self, event: &Event) -> Event {
        let Some(tree) = &self.tree else { return event.clone() };
        let whole = |name: &str| matches!(tree.get(name), Some(Branch::Whole));
        let named = match event.event_type {
            EventType::Track => whole("event"),
            EventType::Identify
            | EventType::Page
            | EventType::Screen
            | EventType::Group
            | EventType::Alias
            | EventType::Delete => whole("name"),
        };
        Event {
            message_id: event.message_id.clone(),
            event_type: event.event_type,
            user_id: event.user_id.clone().filter(|_| whole("userId")),
            anonymous_id: event.anonymous_id.clone().filter(|_| whole("anonymousId")),
            name: event.name.clone().filter(|_| named),
            received_at: event.received_at,
            json: projected(tree, event).into(),
        }
    }
}

impl TryFrom<Vec<String>> for Reads {
    type Error = BadReads;

    fn try_from(paths: Vec<String>) -> Result<Self, BadReads> {
        if paths.len() > MAX_PATHS {
            return Err(BadReads::Many(paths.len()));
        }
        let mut tree = Branches::new();
        for name in ALWAYS {
            tree.insert(name.into(), Branch::Whole);
        }
        for path in paths.iter().filter(|path| *path != "*") {
            let names: Vec<&str> = names(path).collect();
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ' ');
            let fits = |name: &&str| !name.is_empty() && name.chars().all(plain);
            if path.len() > MAX_PATH || names.len() > MAX_NAMES || !names.iter().all(fits) {
                return Err(BadReads::Path(path.chars().take(MAX_PATH).collect()));
            }
            insert(&mut tree, &names);
        }
        let tree = Some(tree).filter(|_| !paths.iter().any(|path| path == "*"));
        Ok(Self { paths, tree })
    }
}

impl From<Reads> for Vec<String> {
    fn from(reads: Reads) -> Self {
        reads.paths
    }
}

/// The names of a path. `properties.*` is all that is in `properties`, which is `properties`.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.strip_suffix(".*").unwrap_or(path).split('.')
}

fn insert(tree: &mut Branches, names: &[&str]) {
    let [first, rest @ ..] = names else { return };
    if rest.is_empty() {
        tree.insert((*first).into(), Branch::Whole);
        return;
    }
    let branch = tree.entry((*first).into()).or_insert_with(|| Branch::Members(Branches::new()));
    if let Branch::Members(members) = branch {
        insert(members, rest);
    }
}

/// Whether everything at this path is in the tree.
fn covers(tree: &Branches, path: &str) -> bool {
    let mut at = tree;
    for name in names(path) {
        match at.get(name) {
            Some(Branch::Whole) => return true,
            Some(Branch::Members(members)) => at = members,
            None => return false,
        }
    }
    false
}

/// The event's JSON with nothing but what is in the tree. What cannot be read, which an accepted event never is, gives
/// the contract's fields alone.
fn projected(tree: &Branches, event: &Event) -> String {
    let mut out = String::with_capacity(event.json.len());
    let text = std::str::from_utf8(&event.json).unwrap_or_default();
    if object(text, tree, &mut out).is_err() {
        out = serde_json::json!({"messageId": event.message_id, "type": event.event_type}).to_string();
    }
    out
}

/// Writes the members of an object that are in the tree, in their order and as they were written.
fn object(text: &str, tree: &Branches, out: &mut String) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(text).deserialize_map(Object { tree, out })
}

/// Writes what a branch leaves of a value; false, and nothing written, where that is nothing.
fn value(text: &str, branch: &Branch, out: &mut String) -> serde_json::Result<bool> {
    match (branch, text.as_bytes().first()) {
        (Branch::Whole, _) => out.push_str(text),
        (Branch::Members(members), Some(b'{')) => object(text, members, out)?,
        (Branch::Members(tree), Some(b'[')) => {
            serde_json::Deserializer::from_str(text).deserialize_seq(List { tree, out })?;
        }
        (Branch::Members(_), _) => return Ok(false),
    }
    Ok(true)
}

struct Object<'t, 'o> {
    tree: &'t Branches,
    out: &'o mut String,
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tree, out } = self;
        out.push('{');
        let empty = out.len();
        while let Some(member) = map.next_key_seed(Member(tree))? {
            let Some((name, branch)) = member else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let text: &RawValue = map.next_value()?;
            let before = out.len();
            if before > empty {
                out.push(',');
            }
            // Names in a tree have no character that JSON escapes.
            out.extend(["\"", name, "\":"]);
            if !value(text.get(), branch, out).map_err(serde::de::Error::custom)? {
                out.truncate(before);
            }
        }
        out.push('}');
        Ok(())
    }
}

struct List<'t, 'o> {
    tree: &'t Branches,
    out: &'o mut String,
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    /// Only objects have members: a list in a list is left out, which also bounds how deep this goes.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { tree, out } = self;
        out.push('[');
        let empty = out.len();
        while let Some(text) = list.next_element::<&RawValue>()? {
            if text.get().starts_with('{') {
                if out.len() > empty {
                    out.push(',');
                }
                object(text.get(), tree, out).map_err(serde::de::Error::custom)?;
            }
        }
        out.push(']');
        Ok(())
    }
}

/// Looks a member's name up while it is read: it need not be kept.
struct Member<'t>(&'t Branches);

impl<'de, 't> DeserializeSeed<'de> for Member<'t> {
    type Value = Option<(&'t str, &'t Branch)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Member<'t> {
    type Value = Option<(&'t str, &'t Branch)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get_key_value(name).map(|(name, branch)| (&**name, branch)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::model::Timestamp;

    fn reads(paths: &[&str]) -> Reads {
        Reads::try_from(paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn event(json: &Value) -> Event {
        Event::from_json(json.as_object().unwrap(), Timestamp::from_millis(1)).unwrap()
    }

    fn left(paths: &[&str], json: &Value) -> Value {
        serde_json::from_slice(&reads(paths).of(&event(json)).json).unwrap()
    }

    #[test]
    fn a_function_gets_the_fields_that_it_declared_and_the_contracts() {
        let given = json!({
            "type": "track", "messageId": "m", "receivedAt": "2026", "userId": "u", "event": "Bought",
            "properties": {"total": 3, "card": "4111", "products": [{"sku": "a", "cost": 1}, 7, [{"sku": "x"}], {"cost": 2}]},
            "context": {"ip": "1.2.3.4", "page": {"url": "https://a", "title": "A"}},
        });
        let always = json!({"type": "track", "messageId": "m", "receivedAt": "2026"});
        let with = |more: Value| {
            let mut all = always.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let cases: [(&[&str], Value); 9] = [
            (&["*"], given.clone()),
            (&["userId", "*"], given.clone()),
            (&[], always.clone()),
            (&["userId", "nothing"], with(json!({"userId": "u"}))),
            (&["properties.*"], with(json!({"properties": given["properties"]}))),
            (&["properties", "properties.total"], with(json!({"properties": given["properties"]}))),
            (
                &["properties.total", "context.page.url"],
                with(json!({"properties": {"total": 3}, "context": {"page": {"url": "https://a"}}})),
            ),
            (&["properties.products.sku"], with(json!({"properties": {"products": [{"sku": "a"}, {}]}}))),
            // What is no object has no members.
            (&["event.name", "properties.total.net"], with(json!({"properties": {}}))),
        ];
        for (paths, expected) in cases {
            assert_eq!(left(paths, &given), expected, "{paths:?}");
        }
    }

    #[test]
    fn the_typed_fields_are_given_by_the_same_rule() {
        let typed = |paths: &[&str], kind: &str| {
            let given = event(&json!({"type": kind, "userId": "u", "anonymousId": "a", "event": "E", "name": "N"}));
            let left = reads(paths).of(&given);
            assert_eq!((left.message_id, left.event_type), (given.message_id, given.event_type));
            (left.user_id.is_some(), left.anonymous_id.is_some(), left.name)
        };
        assert_eq!(typed(&["userId"], "track"), (true, false, None));
        assert_eq!(typed(&["anonymousId", "event"], "track"), (false, true, Some("E".to_owned())));
        assert_eq!(typed(&["event"], "page"), (false, false, None));
        assert_eq!(typed(&["name"], "page"), (false, false, Some("N".to_owned())));
        assert_eq!(typed(&["*"], "screen"), (true, true, Some("N".to_owned())));
    }

    #[test]
    fn values_stay_as_they_were_written() {
        let text =
            r#"{"type":"track","properties":{"n":1.50e2,"big":123456789012345678901234567890,"t":"\u00e9","x":1}}"#;
        let given = Event { json: Bytes::from_static(text.as_bytes()), ..event(&json!({"type": "track"})) };
        let left = reads(&["properties.n", "properties.big", "properties.t"]).of(&given).json;
        assert_eq!(&left[..], text.replace(r#","x":1"#, "").as_bytes());
        let broken = Event { json: Bytes::from_static(b"{\"userId\":\"u\""), ..given };
        assert_eq!(reads(&["userId"]).of(&broken).json, r#"{"messageId":"local-run","type":"track"}"#);
    }

    #[test]
    fn what_is_beyond_another_declaration_is_named() {
        let cases: [(&[&str], &[&str], &[&str]); 7] = [
            (&["*"], &["userId", "properties.a"], &[]),
            (&["userId"], &["*"], &["*"]),
            (&["properties.*"], &["properties.a", "properties"], &[]),
            (&["properties.a"], &["properties.a.b", "properties.*", "userId"], &["properties.*", "userId"]),
            (&["*"], &["*"], &[]),
            (&[], &["messageId", "type"], &[]),
            (&["a.b"], &["a"], &["a"]),
        ];
        for (old, new, beyond) in cases {
            assert_eq!(reads(new).beyond(&reads(old)), beyond, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = "x".repeat(129);
        for bad in ["", ".", "a..b", "a.", "*.a", "a.*.b", "a\"b", "a/b", "a.b.c.d.e.f.g.h.i", &long] {
            assert!(Reads::try_from(vec![bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Reads::try_from(vec!["a".to_owned(); 65]).is_err());
        let kept: Reads = serde_json::from_value(json!(["userId", "properties.*"])).unwrap();
        assert_eq!(serde_json::to_value(&kept).unwrap(), json!(["userId", "properties.*"]));
    }

    /// Any JSON with few names, so that paths meet it.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 48, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("userId".to_owned()), "[\\PC\"\\\\]{0,3}"]
    }

    fn paths() -> impl Strategy<Value = Vec<String>> {
        let path = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("userId")], 1..4);
        let path = (path, any::<bool>()).prop_map(|(names, all)| names.join(".") + if all { ".*" } else { "" });
        prop::collection::vec(path, 0..5)
    }

    /// Every value without members that an object holds, by the names that lead to it; lists add none.
    fn leaves(value: &Value, at: &[&str], found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    leaves(member, &[at, &[name]].concat(), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| leaves(item, at, found)),
            plain => found.push((at.join("\u{1}"), plain.clone())),
        }
    }

    proptest! {
        #[test]
        fn nothing_outside_the_declaration_comes_through(members in prop::collection::vec((name(), values()), 0..6), paths in paths()) {
            let mut given: Map<String, Value> = members.into_iter().collect();
            given.insert("type".to_owned(), json!("track"));
            let reads = Reads::try_from(paths.clone()).unwrap();
            let left = reads.of(&event(&Value::Object(given.clone())));
            let text = std::str::from_utf8(&left.json).unwrap();
            let left: Value = serde_json::from_str(text).expect("it is JSON");
            let (mut before, mut after) = (Vec::new(), Vec::new());
            leaves(&Value::Object(given.clone()), &[], &mut before);
            leaves(&left, &[], &mut after);
            let declared = |at: &str| {
                let at: Vec<&str> = at.split('\u{1}').collect();
                ALWAYS.contains(&at[0]) || paths.iter().any(|path| at.starts_with(&names(path).collect::<Vec<_>>()))
            };
            for (at, value) in &after {
                prop_assert!(declared(at) && before.contains(&(at.clone(), value.clone())), "{at} {value} of {paths:?}");
            }
            // Whole fields at the top are all there.
            for path in paths.iter().filter(|path| names(path).count() == 1) {
                let name = names(path).next().unwrap();
                prop_assert_eq!(left.get(name), given.get(name));
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_give_what_is_no_json(bytes: Vec<u8>, paths in paths()) {
            let reads = Reads::try_from(paths).unwrap();
            let given = Event { json: Bytes::from(bytes), ..event(&json!({"type": "track"})) };
            let left: Value = serde_json::from_slice(&reads.of(&given).json).expect("it is JSON");
            prop_assert!(left.is_object());
        }
    }
}
