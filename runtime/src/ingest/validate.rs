//! Whether one raw event is an event, and what identifies it. Pure.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Code;
use super::fields::{Fields, Shape, shape, text};
use crate::model::EventType;

/// A `messageId` has fewer characters than this, as clients and their documentation agree.
const MESSAGE_ID_CHARS: usize = 100;

/// The track event for which consent fields are checked.
const CONSENT_EVENT: &str = "Segment Consent Preference Updated";

/// What a valid event says about itself.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub event_type: EventType,
    pub message_id: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    pub anonymous_id: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
}

/// Checks one event. `called` is the type that the request's path names, if it names one; `context` is the
/// event's own context over its batch's.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn validate<'a>(
    event: &Fields<'a>,
    context: &Fields<'a>,
    called: Option<EventType>,
) -> Result<Checked<'a>, Code> {
    let event_type = match called {
        Some(event_type) => event_type,
        None => {
            let named = event.get("type").and_then(text);
            named.and_then(|name| name.parse().ok()).ok_or(Code::BadRequest)?
        }
    };
    let message_id = id(event, "messageId")?;
    if message_id.as_ref().is_some_and(|id| id.chars().count() >= MESSAGE_ID_CHARS) {
        return Err(Code::MessageIdTooLong);
    }
    let user_id = id(event, "userId")?;
    let anonymous_id = id(event, "anonymousId")?;
    if user_id.is_none() && anonymous_id.is_none() {
        return Err(Code::NoUserAnonId);
    }
    let group_id = id(event, "groupId")?;
    let previous_id = id(event, "previousId")?;
    object(event.get("properties"), Code::PropertiesNotObject)?;
    object(event.get("traits"), Code::TraitsNotObject)?;
    let name = match event_type {
        EventType::Track => Some(event_name(event, context)?),
        EventType::Page | EventType::Screen => {
            string(event.get("category"), Code::CategoryNotString)?;
            string(event.get("name"), Code::NameNotString)?
        }
        EventType::Group if group_id.is_none() => return Err(Code::IdRequired),
        EventType::Alias if user_id.is_none() || previous_id.is_none() => return Err(Code::IdRequired),
        EventType::Identify | EventType::Group | EventType::Alias | EventType::Delete => None,
    };
    Ok(Checked { event_type, message_id, user_id, anonymous_id, name })
}

/// An id: absent, `null` and empty mean the same.
fn id<'a>(event: &Fields<'a>, name: &str) -> Result<Option<Cow<'a, str>>, Code> {
    Ok(string(event.get(name), Code::IdNotString)?.filter(|id| !id.is_empty()))
}

fn string(value: Option<&RawValue>, otherwise: Code) -> Result<Option<Cow<'_, str>>, Code> {
    value.map(|value| text(value).ok_or(otherwise)).transpose()
}

fn object(value: Option<&RawValue>, otherwise: Code) -> Result<(), Code> {
    match value {
        Some(value) if shape(value) != Shape::Object => Err(otherwise),
        _ => Ok(()),
    }
}

fn event_name<'a>(event: &Fields<'a>, context: &Fields<'a>) -> Result<Cow<'a, str>, Code> {
    let name = string(event.get("event"), Code::EventNotString)?
        .filter(|name| !name.is_empty())
        .ok_or(Code::EventNotDefined)?;
    if name == CONSENT_EVENT {
        consent(context)?;
    }
    Ok(name)
}

fn consent(context: &Fields<'_>) -> Result<(), Code> {
    let consent = context.get("consent").and_then(Fields::of).unwrap_or_default();
    let preferences = consent.get("categoryPreferences").ok_or(Code::ConsentShouldExist)?;
    let categories = Fields::of(preferences).ok_or(Code::ConsentShouldBeObject)?;
    if categories.iter().any(|(_, value)| shape(value) != Shape::Boolean) {
        return Err(Code::ConsentShouldBeBool);
    }
    if consent.get("version").is_some_and(|version| shape(version) != Shape::Number) {
        return Err(Code::ConsentVersionShouldBeNumber);
    }
    let device = context.get("device").and_then(Fields::of).unwrap_or_default();
    string(device.get("advertisingId"), Code::AdvertisingIdShouldBeString).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<EventType, Code> {
        let event: Fields<'_> = serde_json::from_str(json).unwrap();
        let context = event.get("context").and_then(Fields::of).unwrap_or_default();
        validate(&event, &context, None).map(|checked| checked.event_type)
    }

    #[test]
    fn events_of_all_types_pass_as_clients_send_them() {
        for json in [
            r#"{"type":"track","event":"Paid","userId":"u","properties":{"a":1}}"#,
            r#"{"type":"track","event":"Paid","userId":"","anonymousId":"a","properties":null}"#,
            r#"{"type":"identify","anonymousId":"a","userId":null,"traits":{}}"#,
            r#"{"type":"page","userId":"u","name":null,"category":"Docs"}"#,
            r#"{"type":"screen","userId":"u","name":"Home"}"#,
            r#"{"type":"group","userId":"u","groupId":"g","traits":{}}"#,
            r#"{"type":"alias","userId":"u","previousId":"p"}"#,
            r#"{"type":"delete","userId":"u"}"#,
        ] {
            assert!(check(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        let long = format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"{}"}}"#, "m".repeat(100));
        let consent =
            |context: &str| format!(r#"{{"type":"track","event":"{CONSENT_EVENT}","userId":"u","context":{context}}}"#);
        let cases: Vec<(String, Code)> = vec![
            (r#"{"event":"E","userId":"u"}"#.into(), Code::BadRequest),
            (r#"{"type":"paint","userId":"u"}"#.into(), Code::BadRequest),
            (r#"{"type":7,"userId":"u"}"#.into(), Code::BadRequest),
            (r#"{"type":"track","event":"E"}"#.into(), Code::NoUserAnonId),
            (r#"{"type":"track","event":"E","userId":""}"#.into(), Code::NoUserAnonId),
            (r#"{"type":"track","event":"E","userId":7}"#.into(), Code::IdNotString),
            (r#"{"type":"track","event":"E","userId":"u","messageId":7}"#.into(), Code::IdNotString),
            (long, Code::MessageIdTooLong),
            (r#"{"type":"track","userId":"u"}"#.into(), Code::EventNotDefined),
            (r#"{"type":"track","event":"","userId":"u"}"#.into(), Code::EventNotDefined),
            (r#"{"type":"track","event":{},"userId":"u"}"#.into(), Code::EventNotString),
            (r#"{"type":"track","event":"E","userId":"u","properties":[]}"#.into(), Code::PropertiesNotObject),
            (r#"{"type":"identify","userId":"u","traits":"x"}"#.into(), Code::TraitsNotObject),
            (r#"{"type":"page","userId":"u","name":1}"#.into(), Code::NameNotString),
            (r#"{"type":"screen","userId":"u","category":1}"#.into(), Code::CategoryNotString),
            (r#"{"type":"group","userId":"u"}"#.into(), Code::IdRequired),
            (r#"{"type":"alias","userId":"u"}"#.into(), Code::IdRequired),
            (consent("{}"), Code::ConsentShouldExist),
            (consent(r#"{"consent":{"categoryPreferences":[]}}"#), Code::ConsentShouldBeObject),
            (consent(r#"{"consent":{"categoryPreferences":{"ads":1}}}"#), Code::ConsentShouldBeBool),
            (
                consent(r#"{"consent":{"categoryPreferences":{"ads":true},"version":"1"}}"#),
                Code::ConsentVersionShouldBeNumber,
            ),
            (
                consent(r#"{"consent":{"categoryPreferences":{}},"device":{"advertisingId":1}}"#),
                Code::AdvertisingIdShouldBeString,
            ),
        ];
        for (json, code) in cases {
            assert_eq!(check(&json), Err(code), "{json}");
        }
    }

    #[test]
    fn the_path_names_the_type_and_wins() {
        let event: Fields<'_> = serde_json::from_str(r#"{"type":"identify","event":"E","userId":"u"}"#).unwrap();
        let checked = validate(&event, &Fields::default(), Some(EventType::Track)).unwrap();
        assert_eq!((checked.event_type, checked.name.as_deref()), (EventType::Track, Some("E")));
    }

    #[test]
    fn a_message_id_is_measured_in_characters() {
        let id = "é".repeat(99);
        assert!(check(&format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"{id}"}}"#)).is_ok());
    }
}
