//! A valid raw event becomes an [`Event`]: the fields that the host adds, and the JSON text, written once.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::fields::{Fields, text};
use super::halves;
use super::validate::Checked;
use crate::model::{Event, Integrations, SourceId, Timestamp};

/// What the host knows about a request and writes into its events.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Where the events entered.
    pub source: SourceId,
    /// When.
    pub received_at: Timestamp,
    /// From which address.
    pub peer: IpAddr,
    /// Whether a browser sent them: `channel` of events that do not say.
    pub browser: bool,
}

/// Fields that the host writes itself, whatever the client sent, and the key, which is no part of the fact.
const OURS: [&str; 12] = [
    "type",
    "messageId",
    "context",
    "integrations",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "receivedAt",
    "channel",
    "projectId",
    "version",
    "writeKey",
];

/// The version of the format, in every event.
const VERSION: &str = "2";

/// When something happened on the host's clock: the client's time, moved by how far the client's clock is off.
/// Without a time of sending the client's clock is believed; without a time of happening it happened on arrival.
pub(super) fn corrected(received: Timestamp, sent: Option<Timestamp>, original: Option<Timestamp>) -> Timestamp {
    match (sent, original) {
        (_, None) => received,
        (None, Some(original)) => original,
        (Some(sent), Some(original)) if sent >= original => received.minus(sent.since(original)),
        (Some(sent), Some(original)) => received.plus(original.since(sent)),
    }
}

/// A client's time. Clients that name no zone mean UTC.
fn time(value: Option<&RawValue>) -> Option<Timestamp> {
    let text = value.and_then(text)?;
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

/// What `integrations` says. Anything but `false` means on.
pub(super) fn integrations(fields: &Fields<'_>) -> Integrations {
    let mut said = Integrations::default();
    for (name, value) in fields.iter() {
        let value = value.get();
        match (name, value) {
            ("All", "true") => said.all = Some(true),
            ("All", "false") => said.all = Some(false),
            ("All", _) => {}
            (name, value) => drop(said.named.insert(name.to_owned(), value != "false")),
        }
    }
    said
}

/// Everything that goes into one event.
pub(super) struct Parts<'a, 'b> {
    pub fields: &'b Fields<'a>,
    pub checked: Checked<'a>,
    pub context: &'b Fields<'a>,
    pub integrations: &'b Fields<'a>,
    pub sent_at: Option<&'a RawValue>,
}

impl Parts<'_, '_> {
    /// Writes the event. `new_id` is asked for a `messageId` if the client sent none.
    pub fn complete(self, arrival: &Arrival, new_id: impl FnOnce() -> String) -> Event {
        let message_id = self.checked.message_id.as_ref().map_or_else(new_id, |id| id.clone().into_owned());
        let mut json = Json::open(self.fields.text_len() + self.context.text_len() + 400);
        json.string("type", self.checked.event_type.as_str());
        json.string("messageId", &message_id);
        for (name, value) in self.fields.iter().filter(|(name, _)| !OURS.contains(name)) {
            json.raw(name, value.get());
        }
        self.write_context(&mut json, arrival.peer);
        json.object("integrations", self.integrations, None);
        self.write_times(&mut json, arrival.received_at);
        let channel = self.fields.get("channel").map(|value| Cow::Borrowed(value.get()));
        let known = if arrival.browser { "\"browser\"" } else { "\"server\"" };
        json.raw("channel", &channel.unwrap_or(Cow::Borrowed(known)));
        json.string("projectId", &arrival.source.to_string());
        json.raw("version", VERSION);
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Event {
            message_id,
            event_type: self.checked.event_type,
            user_id: own(self.checked.user_id),
            anonymous_id: own(self.checked.anonymous_id),
            name: own(self.checked.name),
            received_at: arrival.received_at,
            json: json.close(),
        }
    }

    fn write_context(&self, json: &mut Json, peer: IpAddr) {
        // The client asks for it where it is the user's own device, and says so with `direct`.
        let direct = self.context.get("direct").is_some_and(|value| value.get() == "true");
        let ip = (direct && self.context.get("ip").is_none()).then_some(peer);
        json.object("context", self.context, ip.map(|ip| ("ip", ip.to_string())));
    }

    fn write_times(&self, json: &mut Json, received_at: Timestamp) {
        let original = self.fields.get("timestamp");
        let sent_at = self.fields.get("sentAt").or(self.sent_at);
        let happened = corrected(received_at, time(sent_at), time(original));
        json.string("timestamp", &happened.to_string());
        match original {
            Some(original) => json.raw("originalTimestamp", original.get()),
            None => json.string("originalTimestamp", &received_at.to_string()),
        }
        if let Some(sent_at) = sent_at {
            json.raw("sentAt", sent_at.get());
        }
        json.string("receivedAt", &received_at.to_string());
    }
}

/// A JSON object that is being written.
struct Json(Vec<u8>);

impl Json {
    fn open(size: usize) -> Self {
        let mut text = Vec::with_capacity(size);
        text.push(b'{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.text(name);
        self.0.push(b':');
    }

    fn text(&mut self, text: &str) {
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(&mut self.0, text);
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text(value);
    }

    fn object(&mut self, name: &str, fields: &Fields<'_>, more: Option<(&str, String)>) {
        self.name(name);
        self.0.push(b'{');
        let replaced = more.as_ref().map(|(name, _)| *name);
        for (name, value) in fields.iter().filter(|(name, _)| Some(*name) != replaced) {
            self.raw(name, value.get());
        }
        if let Some((name, value)) = more {
            self.string(name, &value);
        }
        self.0.push(b'}');
    }

    fn close(mut self) -> Bytes {
        self.0.push(b'}');
        halves::replace(&mut self.0);
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_moved_by_how_far_the_clients_clock_is_off() {
        let at = Timestamp::from_millis;
        let cases = [
            (1_000_000, None, None, 1_000_000),
            (1_000_000, Some(5), None, 1_000_000),
            (1_000_000, None, Some(7), 7),
            (1_000_000, Some(500_016), Some(500_000), 999_984),
            (1_000_000, Some(500_000), Some(500_010), 1_000_010),
            (10, Some(500_000), Some(0), 0),
        ];
        for (received, sent, original, expected) in cases {
            assert_eq!(corrected(at(received), sent.map(at), original.map(at)), at(expected));
        }
    }

    #[test]
    fn anything_but_false_switches_an_integration_on() {
        let fields: Fields<'_> =
            serde_json::from_str(r#"{"All":false,"Slack":{"a":1},"Mail":true,"Ads":false,"Odd":0}"#).unwrap();
        let said = integrations(&fields);
        let cases = [("Slack", true), ("Mail", true), ("Ads", false), ("Odd", true), ("Other", false)];
        for (name, on) in cases {
            assert_eq!(said.allows(name), on, "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_correction_is_the_formula_wherever_time_reaches(
            received in 0u64..4_000_000_000_000,
            sent in 0u64..4_000_000_000_000,
            original in 0u64..4_000_000_000_000,
        ) {
            let at = Timestamp::from_millis;
            let expected = i128::from(received) - (i128::from(sent) - i128::from(original));
            let got = corrected(at(received), Some(at(sent)), Some(at(original)));
            prop_assert_eq!(i128::from(got.as_millis()), expected.max(0));
        }
    }
}
