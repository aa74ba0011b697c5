//! A value inside an event, by which events are grouped or kept in order.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Event;

/// Characters of a field's path: some names of nested objects.
const MAX_PATH: usize = 128;

/// The name of a value inside an event: `userId`, `anonymousId`, `event` (its name), `type`, or a path such as
/// `context.groupId`. Text and JSON are that name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventField(Box<str>);

/// Text that names no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no value of an event: use `userId`, `anonymousId`, `event`, `type`, or a path of names that are joined by \
     dots, such as `context.groupId`, {MAX_PATH} characters at most"
)]
pub struct BadField(String);

/// What stands for all events with the same value of a field, or of several. Two values share one only by rare
/// chance, which groups or orders more than was asked for, never less. Never changes for a value, since it is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderKey(pub u64);

impl EventField {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its value in this event as text; none where it is absent, `null` or empty.
    fn value<'a>(&self, event: &'a Event, parsed: &'a mut Option<Value>) -> Option<std::borrow::Cow<'a, str>> {
        let found = match &*self.0 {
            "userId" => event.user_id.as_deref().map(Into::into),
            "anonymousId" => event.anonymous_id.as_deref().map(Into::into),
            "event" => event.name.as_deref().map(Into::into),
            "type" => Some(event.event_type.as_str().into()),
            path => {
                let parsed = parsed.get_or_insert_with(|| serde_json::from_slice(&event.json).unwrap_or(Value::Null));
                match path.split('.').try_fold(&*parsed, |value, name| value.get(name))? {
                    Value::Null => None,
                    Value::String(text) => Some(text.as_str().into()),
                    other => Some(other.to_string().into()),
                }
            }
        };
        found.filter(|text: &std::borrow::Cow<'_, str>| !text.is_empty())
    }
}

impl OrderKey {
    /// The key of an event among those with the same `scope`; none where the field has no value.
    pub fn of(field: &EventField, event: &Event, scope: &[u8]) -> Option<Self> {
        let mut parsed = None;
        let value = field.value(event, &mut parsed)?;
        Some(Self(fnv(fnv(FNV_START, scope), value.as_bytes())))
    }

    /// The key of an event's values in several fields; absent values are alike.
    pub fn of_all(fields: &[EventField], event: &Event) -> Self {
        let mut hash = FNV_START;
        for field in fields {
            let mut parsed = None;
            let value = field.value(event, &mut parsed).unwrap_or_default();
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            hash = fnv(fnv(hash, &(value.len() as u64).to_le_bytes()), value.as_bytes());
        }
        Self(hash)
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, which is the same in every version and on every machine.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl TryFrom<String> for EventField {
    type Error = BadField;

    fn try_from(text: String) -> Result<Self, BadField> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | ' ');
        let name = |name: &str| !name.is_empty() && name.chars().all(plain);
        if text.len() > MAX_PATH || !text.split('.').all(name) {
            return Err(BadField(text.chars().take(MAX_PATH).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl From<EventField> for String {
    fn from(field: EventField) -> String {
        field.0.into()
    }
}

impl fmt::Display for EventField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::model::{EventType, Timestamp};

    fn event(user: Option<&str>, json: Value) -> Event {
        Event {
            message_id: "m".into(),
            event_type: EventType::Track,
            user_id: user.map(Into::into),
            anonymous_id: None,
            name: Some("Bought".into()),
            received_at: Timestamp::from_millis(1),
            json: Bytes::from(json.to_string()),
        }
    }

    fn field(name: &str) -> EventField {
        name.to_owned().try_into().unwrap()
    }

    #[test]
    fn the_same_value_has_the_same_key_within_its_scope_for_ever() {
        let (one, two) = (event(Some("u1"), json!({})), event(Some("u2"), json!({})));
        let of = |event, scope: &[u8]| OrderKey::of(&field("userId"), event, scope);
        assert_eq!(of(&one, b"c"), Some(OrderKey(0xf5ba_3a19_0cc1_f4bc)));
        assert_ne!(of(&one, b"c"), of(&two, b"c"));
        assert_ne!(of(&one, b"c"), of(&one, b"d"));
        assert_eq!(of(&event(None, json!({})), b"c"), None);
    }

    #[test]
    fn a_path_leads_into_the_event_and_absent_values_group_together() {
        let with = |group: Value| event(None, json!({"context": {"groupId": group}}));
        let of = |event: &Event| OrderKey::of_all(&[field("context.groupId"), field("event")], event);
        assert_eq!(of(&with(json!("a"))), of(&with(json!("a"))));
        assert_ne!(of(&with(json!("a"))), of(&with(json!("b"))));
        assert_ne!(of(&with(json!(7))), of(&with(json!(8))));
        assert_eq!(of(&with(json!(null))), of(&event(None, json!({}))));
    }

    #[test]
    fn a_name_is_a_path_of_plain_words() {
        for bad in ["", ".", "a..b", "a.", "a\nb", "a/b", &"x".repeat(129)] {
            assert!(EventField::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_value(field("properties.order id")).unwrap(), "properties.order id");
    }
}
