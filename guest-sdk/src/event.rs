//! One customer event.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::tidegate::destination::types as wit;
use crate::{Error, Result};

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

    /// The event as a type of your own.
    ///
    /// # Errors
    /// [`Error::Rejected`], if the event has not that form.
    ///
    /// ```
    /// use tidegate_sdk::{Event, Result};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Purchase { properties: Properties }
    /// #[derive(serde::Deserialize)]
    /// struct Properties { revenue: f64 }
    ///
    /// fn revenue(event: &Event) -> Result<f64> {
    ///     Ok(event.parse::<Purchase>()?.properties.revenue)
    /// }
    /// ```
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.json).map_err(|error| Error::Rejected(error.to_string()))
    }
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
