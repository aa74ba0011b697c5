//! Events as Personalize wants them, within its bounds.

use std::collections::BTreeMap;

use tidegate_sdk::{Error, Event, EventType, Result, Value, json};

use crate::settings::Settings;

/// Characters of a user's, item's, session's or event's id, and of an event's type.
const MAX_ID: usize = 256;
/// Characters of an interaction's properties, as JSON text.
const MAX_EVENT_PROPERTIES: usize = 1_024;
/// Characters of a user's properties, as JSON text.
const MAX_USER_PROPERTIES: usize = 24_000;

/// Interactions that may share a request: those of one user in one session.
#[derive(PartialEq)]
pub struct Session {
    /// Absent for somebody who is not known yet.
    pub user: Option<String>,
    pub id: String,
}

/// Whose interaction it is, and the interaction.
pub fn interaction(event: &Event, settings: &Settings) -> Result<(Session, Value)> {
    let name = match event.event_type {
        EventType::Track => event.required("/event")?,
        EventType::Page => "page",
        _ => "screen",
    };
    let properties = event.get("/properties");
    let sent_at = event.timestamp().as_secs();
    let mut interaction = json!({"eventId": id("messageId", &event.message_id)?, "eventType": id("event", name)?});
    interaction["sentAt"] = json!(sent_at);
    if let Some(item) = text(&properties[settings.item_property.as_str()]) {
        interaction["itemId"] = json!(id(&settings.item_property, &item)?);
    }
    if let Some(value) = event.number(&format!("/properties/{}", escape(&settings.value_property))) {
        interaction["eventValue"] = json!(value);
    }
    if let Some(fields) = mapped(properties, &settings.fields, MAX_EVENT_PROPERTIES)? {
        interaction["properties"] = json!(fields);
    }
    Ok((session(event)?, interaction))
}

/// A user of the users dataset.
pub fn user(event: &Event, settings: &Settings) -> Result<Value> {
    let mut user = json!({"userId": id("userId", event.required("/userId")?)?});
    if let Some(fields) = mapped(event.get("/traits"), &settings.user_fields, MAX_USER_PROPERTIES)? {
        user["properties"] = json!(fields);
    }
    Ok(user)
}

/// The session, where the source knows it, else the person stands for it: Personalize ties together by it what
/// somebody did before and after they were known.
fn session(event: &Event) -> Result<Session> {
    let known = ["/properties/session_id", "/context/sessionId", "/context/session_id"];
    let told = known.iter().find_map(|pointer| text(event.get(pointer)));
    let session = told.as_deref().or(event.anonymous_id.as_deref()).or(event.user_id.as_deref());
    let Some(session) = session else {
        return Err(Error::Rejected("an interaction needs a `userId` or an `anonymousId`".to_owned()));
    };
    let user = event.user_id.as_deref().map(|user| id("userId", user)).transpose()?;
    Ok(Session { user, id: id("the session", session)? })
}

/// The fields that the customer named, as JSON text; none if there are none.
fn mapped(values: &Value, fields: &BTreeMap<String, String>, most: usize) -> Result<Option<String>> {
    let found = fields.iter().filter_map(|(from, to)| match &values[from.as_str()] {
        Value::Null | Value::Object(_) => None,
        // A field with several categories has them in one text.
        Value::Array(items) => Some((to.clone(), json!(items.iter().filter_map(text).collect::<Vec<_>>().join("|")))),
        plain => Some((to.clone(), plain.clone())),
    });
    let found: BTreeMap<String, Value> = found.collect();
    let text = json!(found).to_string();
    if text.chars().count() > most {
        return Err(Error::Rejected(format!("the mapped fields have more than {most} characters as JSON")));
    }
    Ok((!found.is_empty()).then_some(text))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn id(what: &str, text: &str) -> Result<String> {
    if text.chars().count() > MAX_ID {
        return Err(Error::Rejected(format!("`{what}` has more than {MAX_ID} characters")));
    }
    Ok(text.to_owned())
}

/// A property's name inside a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
