//! One immutable customer fact.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Timestamp;

/// The kind of an event, from its `type` field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// Something a user did.
    Track,
    /// Who a user is.
    Identify,
    /// A web page that was viewed.
    Page,
    /// A screen of an app that was viewed.
    Screen,
    /// The account or team that a user belongs to.
    Group,
    /// Two ids that are the same user.
    Alias,
    /// A user whose data the partner must erase.
    Delete,
}

/// A `type` that is none of the seven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event type: use track, identify, page, screen, group, alias or delete")]
pub struct UnknownEventType(pub String);

impl EventType {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 7] =
        [Self::Track, Self::Identify, Self::Page, Self::Screen, Self::Group, Self::Alias, Self::Delete];

    /// The value of the `type` field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownEventType(text.chars().take(80).collect()))
    }
}

/// One accepted event. Immutable; cloning is cheap where it matters (`json` is shared).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The client's id, made by the host where the client sent none. Under 100 characters.
    pub message_id: String,
    /// Which kind.
    pub event_type: EventType,
    /// The customer's id for the user.
    pub user_id: Option<String>,
    /// The id of a user who is not known yet.
    pub anonymous_id: Option<String>,
    /// `event` of a track, `name` of a page or screen.
    pub name: Option<String>,
    /// When the host took it.
    pub received_at: Timestamp,
    /// The whole event as one JSON object, with the fields that the host adds.
    pub json: Bytes,
}

/// JSON that is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// No type.
    #[error(
        "an event is an object with a `type`, such as `{{\"type\":\"track\",\"event\":\"Signed Up\",\"userId\":\"u1\"}}`"
    )]
    NoType,
    /// Not one of the types.
    #[error(transparent)]
    UnknownType(#[from] UnknownEventType),
}

impl Event {
    /// An event as a guest sees it, for trying a function. Unlike ingest, this adds nothing to it: what is in the object
    /// is what the guest gets.
    ///
    /// # Errors
    /// If it has no `type`, or an unknown one.
    pub fn from_json(json: &Map<String, Value>, received_at: Timestamp) -> Result<Self, BadEvent> {
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        let event_type: EventType = text("type").ok_or(BadEvent::NoType)?.parse()?;
        let name = match event_type {
            EventType::Track => text("event"),
            EventType::Identify
            | EventType::Page
            | EventType::Screen
            | EventType::Group
            | EventType::Alias
            | EventType::Delete => text("name"),
        };
        Ok(Self {
            message_id: text("messageId").unwrap_or_else(|| "local-run".to_owned()),
            event_type,
            user_id: text("userId"),
            anonymous_id: text("anonymousId"),
            name,
            received_at,
            json: serde_json::json!(json).to_string().into(),
        })
    }
}

/// What an event's `integrations` object says about who may have it. Keys are case-sensitive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Integrations {
    /// The value of `All`: what holds for destinations that are not named. Absent means on.
    pub all: Option<bool>,
    /// Destinations by name. An object or any other value that is not `false` means on.
    pub named: BTreeMap<String, bool>,
}

impl Integrations {
    /// Whether a destination of this name may have the event.
    pub fn allows(&self, name: &str) -> bool {
        self.named.get(name).copied().or(self.all).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_survive_their_text_and_nothing_else_is_one() {
        for kind in EventType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("Track".parse::<EventType>().is_err());
    }

    #[test]
    fn a_named_integration_wins_over_all() {
        let case = |all, named: &[(&str, bool)]| Integrations {
            all,
            named: named.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect(),
        };
        assert!(case(None, &[]).allows("Slack"));
        assert!(!case(Some(false), &[]).allows("Slack"));
        assert!(case(Some(false), &[("Slack", true)]).allows("Slack"));
        assert!(!case(Some(true), &[("Slack", false)]).allows("Slack"));
        assert!(case(None, &[("slack", false)]).allows("Slack"));
    }
}
