//! One JSON object, read one level deep: names and the untouched text of their values.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Up to this many fields, looking through all of them is quicker than hashing.
const FEW: usize = 16;

/// The fields of an object in their order. Where a name comes twice, only the last one is there, as in JavaScript.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

/// A JSON string, borrowed from the body where it has no escapes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Text<'a>(pub Cow<'a, str>);

/// What a value is, seen from its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`.
    Null,
}

/// The shape of this value.
pub fn shape(value: &RawValue) -> Shape {
    match value.get().as_bytes().first() {
        Some(b'{') => Shape::Object,
        Some(b'[') => Shape::Array,
        Some(b'"') => Shape::String,
        Some(b't' | b'f') => Shape::Boolean,
        Some(b'n') | None => Shape::Null,
        Some(_) => Shape::Number,
    }
}

/// The text of a string value; none for any other.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    if shape(value) != Shape::String {
        return None;
    }
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

impl<'a> Fields<'a> {
    /// The fields of an object value; none for any other value.
    pub fn of(value: &'a RawValue) -> Option<Self> {
        if shape(value) != Shape::Object {
            return None;
        }
        serde_json::from_str(value.get()).ok()
    }

    /// The value of this name. `null` counts as absent, as clients mean it.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(key, _)| key.0 == name).map(|(_, value)| *value);
        found.filter(|value| shape(value) != Shape::Null)
    }

    /// All fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (&*key.0, *value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of this object as text, without white space around its fields.
    pub fn text_len(&self) -> usize {
        // Each field has two quotes, a colon and a comma or brace.
        1 + self.0.iter().map(|(key, value)| key.0.len() + value.get().len() + 4).sum::<usize>()
    }

    /// These fields over `below`: what both name, these win. The order is `below`'s, then these.
    pub fn over(&self, below: &Self) -> Self {
        let own: HashSet<&str> = self.0.iter().map(|(key, _)| &*key.0).collect();
        let kept = below.0.iter().filter(|(key, _)| !own.contains(&*key.0));
        Self(kept.chain(&self.0).cloned().collect())
    }

    fn without_repeats(mut fields: Vec<(Text<'a>, &'a RawValue)>) -> Self {
        let repeated = if fields.len() <= FEW {
            (1..fields.len()).any(|at| fields[..at].iter().any(|(key, _)| *key == fields[at].0))
        } else {
            let names: HashSet<&Text<'_>> = fields.iter().map(|(key, _)| key).collect();
            names.len() < fields.len()
        };
        if repeated {
            let mut seen = HashSet::new();
            fields.reverse();
            fields.retain(|(key, _)| seen.insert(key.clone()));
            fields.reverse();
        }
        Self(fields)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrowing)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields::without_repeats(fields))
            }
        }
        from.deserialize_map(Object)
    }
}

/// An entry of a batch: an object, or something that is no event.
#[derive(Debug)]
pub enum Entry<'a> {
    /// An object.
    Object(Fields<'a>),
    /// Any other value.
    Other,
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Entry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry<'de>, A::Error> {
                Fields::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Entry::Object)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }

            fn visit_unit<E>(self) -> Result<Entry<'de>, E> {
                Ok(Entry::Other)
            }
        }
        from.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        let many: String = (0..40).map(|n| format!("\"k{n}\":{n},")).collect();
        for json in ["{\"a\":1,\"b\":2,\"a\":3}".to_owned(), format!("{{\"a\":1,{many}\"a\":3}}")] {
            let fields = fields(&json);
            assert_eq!(fields.get("a").unwrap().get(), "3");
            assert_eq!(fields.iter().filter(|(key, _)| *key == "a").count(), 1);
        }
        assert_eq!(fields("{\"\\u0061\":1,\"a\":2}").iter().count(), 1, "an escaped name is the same name");
    }

    #[test]
    fn null_counts_as_absent() {
        assert!(fields("{\"a\":null}").get("a").is_none());
    }

    #[test]
    fn the_upper_one_wins_field_by_field() {
        let (low, high) = (fields("{\"a\":1,\"b\":{\"x\":1}}"), fields("{\"b\":{\"y\":2},\"c\":3}"));
        let merged: Vec<_> =
            high.over(&low).iter().map(|(key, value)| (key.to_owned(), value.get().to_owned())).collect();
        let expected = [("a", "1"), ("b", "{\"y\":2}"), ("c", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(merged, expected);
    }

    #[test]
    fn the_length_is_that_of_the_compact_text() {
        for json in ["{\"a\":1,\"bc\":[1, 2]}", "{\"a\":\"\"}"] {
            assert_eq!(fields(json).text_len(), json.len());
        }
    }
}
