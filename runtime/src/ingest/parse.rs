//! A body becomes raw events: one pass over it that keeps every value's own text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Entry, Fields, Text, text};
use super::{BodyError, Call};

/// Levels of arrays and objects in a body. The bound that common JSON parsers have by themselves, so that
/// whatever reads an event after us can read it.
const MAX_DEPTH: usize = 128;

/// What one request carries.
#[derive(Debug)]
pub struct RawRequest<'a> {
    /// The `writeKey` in the body, if there is one.
    pub write_key: Option<Cow<'a, str>>,
    pub(super) sent_at: Option<&'a RawValue>,
    pub(super) context: Fields<'a>,
    pub(super) integrations: Fields<'a>,
    pub(super) entries: Vec<Entry<'a>>,
}

impl RawRequest<'_> {
    /// How many events it has, good or bad.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Reads a body of this call.
///
/// # Errors
/// [`BodyError`] if it is no JSON, nested too deeply, or neither an event nor a batch. What is wrong with single
/// events is no error here.
pub fn parse(call: Call, body: &[u8]) -> Result<RawRequest<'_>, BodyError> {
    let body = std::str::from_utf8(body).map_err(|error| BodyError::NotJson(error.to_string()))?;
    if too_deep(body.as_bytes()) {
        return Err(BodyError::TooDeep { limit: MAX_DEPTH });
    }
    match call {
        Call::Batch => {
            let batch: Batch<'_> = serde_json::from_str(body)
                .map_err(|error| told(&error, "expected an object with `batch`, an array of events"))?;
            let Some(entries) = batch.entries else {
                return Err(BodyError::NotAnEvent("`batch`, the array of events, is missing"));
            };
            Ok(RawRequest {
                write_key: batch.write_key.and_then(text),
                sent_at: batch.sent_at,
                context: batch.context.and_then(Fields::of).unwrap_or_default(),
                integrations: batch.integrations.and_then(Fields::of).unwrap_or_default(),
                entries,
            })
        }
        Call::Single(_) => {
            let event: Fields<'_> =
                serde_json::from_str(body).map_err(|error| told(&error, "expected one event, an object"))?;
            Ok(RawRequest {
                write_key: event.get("writeKey").and_then(text),
                sent_at: event.get("sentAt"),
                context: Fields::default(),
                integrations: Fields::default(),
                entries: vec![Entry::Object(event)],
            })
        }
    }
}

fn told(error: &serde_json::Error, expected: &'static str) -> BodyError {
    match error.is_data() {
        true => BodyError::NotAnEvent(expected),
        false => BodyError::NotJson(error.to_string()),
    }
}

/// Whether arrays and objects are nested too deeply. Brackets inside strings do not count. The parser that
/// skips values does so without recursion and without a bound, hence this.
fn too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[derive(Default)]
struct Batch<'a> {
    write_key: Option<&'a RawValue>,
    sent_at: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    integrations: Option<&'a RawValue>,
    entries: Option<Vec<Entry<'a>>>,
}

impl<'de> Deserialize<'de> for Batch<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Batch<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch<'de>, A::Error> {
                let mut batch = Batch::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "batch" => batch.entries = Some(map.next_value()?),
                        "writeKey" => batch.write_key = Some(map.next_value()?),
                        "sentAt" => batch.sent_at = Some(map.next_value()?),
                        "context" => batch.context = Some(map.next_value()?),
                        "integrations" => batch.integrations = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(batch)
            }
        }
        from.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventType;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_an_object_with_an_array() {
        let good = parse(Call::Batch, br#"{"sequence":1,"batch":[{"type":"track"},7,"x",[1],null],"writeKey":"k"}"#);
        let good = good.unwrap();
        assert_eq!((good.len(), good.write_key.as_deref()), (5, Some("k")));
        assert_eq!(good.entries.iter().filter(|entry| matches!(entry, Entry::Object(_))).count(), 1);
        for (body, code) in [
            ("{", "invalid_json"),
            ("", "invalid_json"),
            ("{\"batch\":[]} x", "invalid_json"),
            ("{\"batch\":[{]}", "invalid_json"),
            ("[]", "invalid_body"),
            ("{}", "invalid_body"),
            ("{\"batch\":{}}", "invalid_body"),
            ("{\"batch\":null}", "invalid_body"),
        ] {
            let error = parse(Call::Batch, body.as_bytes()).unwrap_err();
            assert_eq!(error.code(), code, "{body}: {error}");
        }
        assert_eq!(parse(Call::Batch, &[b'"', 0xff, b'"']).unwrap_err().code(), "invalid_json");
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_are_not_nesting() {
        let nested = |levels: usize| format!("{{\"p\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let call = Call::Single(EventType::Track);
        assert!(parse(call, nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(parse(call, nested(MAX_DEPTH).as_bytes()).unwrap_err(), BodyError::TooDeep { limit: MAX_DEPTH });
        assert_eq!(parse(call, "[".repeat(500_000).as_bytes()).unwrap_err().code(), "invalid_json");
        let text = format!("{{\"p\":\"\\\"{}\"}}", "[".repeat(1000));
        assert!(parse(call, text.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:a1\\\\ ]{0,60}") {
            for call in [Call::Batch, Call::Single(EventType::Track)] {
                let _ = parse(call, &bytes);
                let _ = parse(call, text.as_bytes());
                let _ = parse(call, format!("{{\"batch\":[{text}]}}").as_bytes());
            }
        }
    }
}
