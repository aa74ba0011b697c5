//! One customer event.

use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::bindings::tidegate::destination::types as wit;
use crate::{Error, Result, civil};

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A user whose data must be erased.
    Delete,
}

/// One customer event, owed to one destination.
#[derive(Debug, Clone)]
pub struct Event {
    /// The client's id of this event: the same on every attempt, so it is the key for idempotency.
    pub message_id: String,
    /// Which kind of event this is.
    pub event_type: EventType,
    /// The id that the customer gave the user, if any.
    pub user_id: Option<String>,
    /// The id of a user who is not known yet, if any.
    pub anonymous_id: Option<String>,
    /// The name of what happened: `event` of a track, `name` of a page or screen.
    pub name: Option<String>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When the host accepted the event, in milliseconds since 1970 UTC.
    pub received_at: u64,
    /// The whole event as JSON text.
    pub json: String,
    parsed: OnceLock<Value>,
}

impl Event {
    /// The user's id, or the anonymous one, or `nobody`.
    pub fn who(&self) -> &str {
        self.user_id.as_deref().or(self.anonymous_id.as_deref()).unwrap_or("nobody")
    }

    /// The whole event as a JSON value; parsed on first use.
    pub fn value(&self) -> &Value {
        // The host sends only what it has parsed itself.
        self.parsed.get_or_init(|| serde_json::from_str(&self.json).unwrap_or_default())
    }

    /// What stands at a JSON pointer such as `/properties/revenue`; null if nothing does.
    pub fn get(&self, pointer: &str) -> &Value {
        self.value().pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The text at a JSON pointer, if there is one and it is not empty.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.get(pointer).as_str().filter(|text| !text.is_empty())
    }

    /// The text at a JSON pointer, which the partner cannot do without.
    ///
    /// # Errors
    /// [`Error::Rejected`], which names the place.
    pub fn required(&self, pointer: &str) -> Result<&str> {
        let missing = || Error::Rejected(format!("`{}` must be a text that is not empty", dotted(pointer)));
        self.text(pointer).ok_or_else(missing)
    }

    /// The number at a JSON pointer, which may be written as a text.
    pub fn number(&self, pointer: &str) -> Option<f64> {
        let value = self.get(pointer);
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number: &f64| number.is_finite())
    }

    /// When it happened, since 1970: its `timestamp`, or where that is no time, when the host accepted it.
    pub fn timestamp(&self) -> Duration {
        let told = self.text("/timestamp").and_then(civil::parse);
        told.unwrap_or(Duration::from_millis(self.received_at))
    }

    /// The whole event as a type of your own.
    ///
    /// # Errors
    /// [`Error::Rejected`], which names the field, if the event has not that form.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        read("", self.value())
    }

    /// The `properties` as a type of your own; an event without any has empty ones.
    ///
    /// # Errors
    /// [`Error::Rejected`], which names the field, if they have not that form.
    ///
    /// ```
    /// use tidegate_sdk::{Event, Result};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Purchase {
    ///     revenue: f64,
    ///     currency: Option<String>,
    /// }
    ///
    /// fn revenue(event: &Event) -> Result<f64> {
    ///     // Of an event with a text there: "`properties.revenue`: invalid type: string "9", expected f64".
    ///     Ok(event.properties::<Purchase>()?.revenue)
    /// }
    /// ```
    pub fn properties<T: DeserializeOwned>(&self) -> Result<T> {
        read("properties", self.get("/properties"))
    }

    /// The `traits` as a type of your own: those of an identify or group, else those in the context.
    ///
    /// # Errors
    /// [`Error::Rejected`], which names the field, if they have not that form.
    pub fn traits<T: DeserializeOwned>(&self) -> Result<T> {
        match self.get("/traits") {
            Value::Null => read("context.traits", self.get("/context/traits")),
            traits => read("traits", traits),
        }
    }

    /// A key that is the same whenever this event is sent for this purpose: on each attempt, alone or in a batch, by
    /// each version of the function. Partners that know `Idempotency-Key` take a request with the same key once.
    ///
    /// It has the form of a UUID. Name a purpose of its own for each request that an event causes.
    pub fn idempotency_key(&self, purpose: &str) -> String {
        let mut hash = Sha256::new();
        // The length keeps apart what would read the same when joined.
        hash.update((self.message_id.len() as u64).to_be_bytes());
        hash.update(&self.message_id);
        hash.update(purpose);
        let digest = hash.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        // Version 8, RFC 9562: the bits mean what the writer likes; and the variant of that document.
        let bits = u128::from_be_bytes(half) & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
        let text = format!("{bits:032x}");
        [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
    }
}

/// `/properties/email` as a person writes it.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// Reads a part of an event. Nothing there counts as an empty object, so that the message names what is missing.
fn read<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T> {
    let empty = Value::Object(serde_json::Map::new());
    let value = if value.is_null() { &empty } else { value };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let path = match (at, inner.as_str()) {
            (at, ".") => at.to_owned(),
            ("", inner) => inner.to_owned(),
            (at, inner) => format!("{at}.{inner}"),
        };
        let path = if path.is_empty() { "the event".to_owned() } else { format!("`{path}`") };
        Error::Rejected(format!("{path}: {}", error.into_inner()))
    })
}

impl From<wit::Event> for Event {
    fn from(event: wit::Event) -> Self {
        let event_type = match event.event_type {
            wit::EventType::Track => EventType::Track,
            wit::EventType::Identify => EventType::Identify,
            wit::EventType::Page => EventType::Page,
            wit::EventType::Screen => EventType::Screen,
            wit::EventType::Group => EventType::Group,
            wit::EventType::Alias => EventType::Alias,
            wit::EventType::Delete => EventType::Delete,
        };
        Self {
            message_id: event.message_id,
            event_type,
            user_id: event.user_id,
            anonymous_id: event.anonymous_id,
            name: event.name,
            attempt: event.attempt,
            received_at: event.received_at,
            json: event.json,
            parsed: OnceLock::new(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde::Deserialize;

    use super::*;

    pub(crate) fn event(json: &str) -> Event {
        wit::Event {
            message_id: "m1".to_owned(),
            event_type: wit::EventType::Track,
            user_id: None,
            anonymous_id: None,
            name: None,
            attempt: 1,
            received_at: 0,
            json: json.to_owned(),
        }
        .into()
    }

    #[derive(Debug, Deserialize)]
    struct Order {
        #[allow(dead_code, reason = "only read")]
        revenue: f64,
        #[serde(default)]
        #[allow(dead_code, reason = "only read")]
        products: Vec<Product>,
    }

    #[derive(Debug, Deserialize)]
    struct Product {
        #[allow(dead_code, reason = "only read")]
        price: f64,
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
        let Err(Error::Rejected(message)) = result else { panic!("{result:?}") };
        message
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_place() {
        let properties = |json: &str| refusal(event(json).properties::<Order>());
        assert_eq!(
            properties(r#"{"properties": {"revenue": 1, "products": [{"price": 1}, {"price": "x"}]}}"#),
            "`properties.products[1].price`: invalid type: string \"x\", expected f64"
        );
        assert_eq!(properties("{}"), "`properties`: missing field `revenue`");
        assert_eq!(
            properties(r#"{"properties": 3}"#),
            "`properties`: invalid type: integer `3`, expected struct Order"
        );
        assert_eq!(
            refusal(event(r#"{"context": {"traits": {"revenue": []}}}"#).traits::<Order>()),
            "`context.traits.revenue`: invalid type: sequence, expected f64"
        );
        assert_eq!(refusal(event("{}").parse::<Order>()), "the event: missing field `revenue`");
        assert_eq!(refusal(event("{}").required("/traits/email")), "`traits.email` must be a text that is not empty");
    }

    #[test]
    fn an_event_whose_timestamp_is_none_happened_when_it_was_accepted() {
        let at = |json: &str| event(json).timestamp().as_millis();
        assert_eq!(at(r#"{"timestamp": "1970-01-01T00:00:01.5Z"}"#), 1_500);
        assert_eq!(at(r#"{"timestamp": "yesterday"}"#), 0);
        assert_eq!(at("{}"), 0);
    }

    #[test]
    fn numbers_may_be_texts_and_are_finite() {
        let event = event(r#"{"a": 2, "b": " 2.5 ", "c": "x", "d": "inf", "e": null}"#);
        let found = ["/a", "/b", "/c", "/d", "/e"].map(|pointer| event.number(pointer));
        assert_eq!(found, [Some(2.0), Some(2.5), None, None, None]);
    }

    #[test]
    fn a_key_for_idempotency_depends_on_message_and_purpose_alone() {
        let (mut one, mut other) = (event("{}"), event(r#"{"attempt": 2}"#));
        other.attempt = 2;
        // Pinned: a new version of this library must not make partners take everything twice.
        assert_eq!(one.idempotency_key("order"), "6db03b43-3965-8797-b933-15b6b71192fb");
        assert_eq!(one.idempotency_key("order"), other.idempotency_key("order"));
        assert_ne!(one.idempotency_key("order"), one.idempotency_key("refund"));
        one.message_id = "m1o".to_owned();
        assert_ne!(one.idempotency_key("rder"), other.idempotency_key("order"));
    }
}
