//! What a function says about itself: `function.toml`, carried inside the component.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{EventField, EventType, Limits, Rate, Reads};

/// A function's own description. Parsed and checked by `catalog`; here only its shape.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The function's name: lower-case letters, digits and hyphens, 64 characters at most.
    pub name: String,
    /// The partner's version text, such as `1.2.0`; 64 characters at most.
    pub version: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a catalogue says about it; needed to be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// The event types that the function wants; others are filtered without running it.
    pub events: Vec<EventType>,
    /// The fields of events that it reads; the host gives it no others. Absent: all of them, and that is shown.
    #[serde(default)]
    pub reads: Reads,
    /// What it may reach. Nothing named: nothing reachable.
    #[serde(default)]
    pub egress: Egress,
    /// What a customer configures, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// Whether any setting is taken, named above or not, unchecked. For trying a function whose settings nobody has
    /// described yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_settings: bool,
    /// Limits that the function asks for; the operator's are the ceiling.
    #[serde(default)]
    pub limits: ManifestLimits,
    /// Present if the function takes several events at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How fast each destination may be served; a customer can tighten it for theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When failed deliveries are tried again; the operator's schedule is the bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<ManifestRetry>,
}

impl Manifest {
    /// What the guest gets: the customer's values, and the defaults where there are none; of what it does not declare nothing, unless any
    /// setting is taken.
    pub fn with_defaults(&self, settings: &Map<String, Value>) -> Map<String, Value> {
        let given = |name: &String| settings.get(name).filter(|value| !value.is_null()).cloned();
        let mut all = if self.open_settings { settings.clone() } else { Map::new() };
        all.extend(
            self.settings
                .iter()
                .filter_map(|(name, setting)| Some((name.clone(), given(name).or_else(|| setting.default.clone())?))),
        );
        all
    }
}

/// What a catalogue says about a function.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Among what it is found, such as `Messaging`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The page for customers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// An image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// Whom customers ask: an address of email, or a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<String>,
}

/// What a function may reach.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Origins such as `https://hooks.slack.com`, `https://*.zendesk.com` or
    /// `https://{settings.region}.api.example.com`.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// One thing that a customer configures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The kind of its value.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Whether it is kept from people and guests: a guest gets a handle, and the gate writes the value where `bind` says.
    #[serde(default)]
    pub secret: bool,
    /// Whether the guest gets the value of a secret all the same. A permission of its own, which customers are shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reveal: bool,
    /// Whether a destination cannot do without it.
    #[serde(default)]
    pub required: bool,
    /// The value where the customer gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The texts of which it must be one. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Who else knows what it may be, where it is not written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices_from: Option<ChoicesFrom>,
    /// A regular expression that the whole text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Other settings with the value at which this one counts, or a list of such values. Where they have others, it is not
    /// required. Empty: it always counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Value>,
    /// Where a secret may be written into a request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind: Vec<Bind>,
}

/// Who knows what a setting may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChoicesFrom {
    /// The function: it is asked while a customer fills in the settings. Other values are taken too, as the partner's lists change.
    Function,
}

/// The kind of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A JSON number.
    Number,
    /// A list of strings.
    Array,
    /// An object whose values are strings.
    Map,
}

/// One place where a secret may go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// To whom: one of the allowed origins.
    pub origin: String,
    /// Where in the request.
    pub place: Place,
    /// The header's or parameter's name, where the place has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where in a request a secret may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// `authorization: Bearer …`.
    Bearer,
    /// The user of `authorization: Basic …`.
    BasicUser,
    /// The password of `authorization: Basic …`.
    BasicPassword,
    /// A named header.
    Header,
    /// A named query parameter.
    Query,
    /// A segment of the path, or several.
    Path,
    /// A string inside a JSON or form body.
    Body,
    /// Nowhere: it keys an HMAC-SHA256 that the host makes.
    SignHmacSha256,
    /// Nowhere: the gate signs requests to AWS with it, Signature Version 4.
    SignAwsSigv4,
}

impl Place {
    /// The manifest's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::BasicUser => "basic-user",
            Self::BasicPassword => "basic-password",
            Self::Header => "header",
            Self::Query => "query",
            Self::Path => "path",
            Self::Body => "body",
            Self::SignHmacSha256 => "sign-hmac-sha256",
            Self::SignAwsSigv4 => "sign-aws-sigv4",
        }
    }
}

/// Limits that a function asks for. Absent: the host's default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestLimits {
    /// Guest CPU time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Wall time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl ManifestLimits {
    /// The limits of an invocation: what the function asks for, but never more than the host's.
    pub fn within(&self, host: &Limits) -> Limits {
        let lower = |asked: Option<u64>, most: u64| asked.map_or(most, |asked| asked.min(most));
        Limits {
            cpu_ms: lower(self.cpu_ms, host.cpu_ms),
            deadline_ms: lower(self.deadline_ms, host.deadline_ms),
            memory_bytes: lower(self.memory_bytes, host.memory_bytes),
            ..host.clone()
        }
    }
}

/// How events are gathered for one call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// How many at most, 1 to 1,000.
    pub max_events: u32,
    /// How long the first waits for others, in milliseconds, 60,000 at most.
    pub max_wait_ms: u64,
    /// How many bytes of JSON at most; one event always fits. Absent: as many as the invocation's `bytes_in` takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Only events that have the same values here come together, such as `["userId"]`. Empty: any do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<EventField>,
}

/// When a function's failed deliveries are tried again. Absent: as the host does by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestRetry {
    /// How long after its acceptance a delivery is tried, in seconds; never longer than the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u64>,
    /// The bound of the first wait in milliseconds, which doubles with every attempt; never shorter than the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_wait_ms: Option<u64>,
    /// What that doubling ends at, in milliseconds; never longer than the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_wait_ms: Option<u64>,
    /// How many attempts at most. Absent: as many as the window has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}
