//! Before any event: a customer's settings are checked against the manifest, and its defaults filled in.
//!
//! Guarantees: every problem is reported at once, each with the setting's name; no message contains a secret's value.
//! What a setting means to a request is the guest's and the gate's.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::egress::{AllowEntry, Grant, PolicyError, Reach};
use crate::model::{Manifest, Setting, SettingType};

/// Bytes of one text: a token, a certificate or a template fit.
pub const MAX_VALUE_BYTES: usize = 16 << 10;

/// Bytes of a compiled pattern: ids, hosts and paths need a few hundred; a bomb of counted repetitions needs millions.
const MAX_PATTERN_BYTES: usize = 256 << 10;

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The manifest has no such setting.
    #[error("`{name}` is not a setting of this function; it has {known}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A required setting is not there.
    #[error("`{name}` is required: it must be {expected}")]
    Missing {
        /// Which.
        name: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// A value of the wrong type.
    #[error("`{name}` is `{value}`: it must be {expected}{hint}")]
    WrongType {
        /// Which.
        name: String,
        /// What was given; `…` for a secret.
        value: String,
        /// What it would have to be.
        expected: &'static str,
        /// What to write instead, where that is plain; else nothing.
        hint: String,
    },
    /// A text that is none of those that the function takes, or of another form.
    #[error("`{name}` is `{value}`: it must {expected}")]
    Unfit {
        /// Which.
        name: String,
        /// What was given; `…` for a secret.
        value: String,
        /// What it would have to be.
        expected: String,
    },
    /// A value that is too large.
    #[error("`{name}` has {bytes} bytes: at most {MAX_VALUE_BYTES} are allowed")]
    TooLarge {
        /// Which.
        name: String,
        /// How many bytes its JSON has.
        bytes: usize,
    },
}

/// Checks a customer's settings. `null` counts as not given.
///
/// # Errors
/// Everything that is wrong, in the order of the settings' names.
pub fn validate(manifest: &Manifest, settings: &Map<String, Value>) -> Result<(), Vec<SettingError>> {
    validate_with(manifest, settings, &BTreeSet::new())
}

/// The same, where the settings of some names are stored already and stay.
///
/// # Errors
/// As for [`validate`].
pub fn validate_with(
    manifest: &Manifest,
    settings: &Map<String, Value>,
    kept: &BTreeSet<String>,
) -> Result<(), Vec<SettingError>> {
    let mut errors: Vec<SettingError> = settings
        .keys()
        .filter(|name| !manifest.open_settings && !manifest.settings.contains_key(*name))
        .map(|name| SettingError::Unknown { name: name.chars().take(80).collect(), known: known(manifest) })
        .collect();
    for (name, setting) in manifest.settings.iter().filter(|(name, _)| !kept.contains(*name)) {
        let value = settings.get(name).filter(|value| !value.is_null());
        let counts = value.is_some() || counts(manifest, setting, settings);
        errors.extend(counts.then(|| problem(name, setting, value)).flatten());
    }
    if errors.is_empty() {
        errors = unfit_origins(manifest, &manifest.with_defaults(settings));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What the operator opens, as settings are judged by it.
pub struct Open(Reach);

impl Open {
    /// The same as the gate's.
    pub fn new(reach: Reach) -> Self {
        Self(reach)
    }

    /// Settings that give an origin to which the gate would refuse every request, though the manifest takes it from them: where the
    /// operator opens no such address, whatever range it is in. Names are asked for when they are used.
    pub fn unreachable(&self, manifest: &Manifest, settings: &Map<String, Value>) -> Vec<SettingError> {
        let settings = manifest.with_defaults(settings);
        // What makes no grant was said before.
        let Ok(grant) = Grant::new(&manifest.egress.allow, &settings, "") else { return Vec::new() };
        unfit(manifest, &settings, |entry| entry.check_reach(&settings, &grant, &self.0))
    }
}

/// Settings from which no origin can be made where the manifest makes one of them. The gate looks again at every use.
fn unfit_origins(manifest: &Manifest, settings: &Map<String, Value>) -> Vec<SettingError> {
    unfit(manifest, settings, |entry| entry.check(settings))
}

fn unfit(
    manifest: &Manifest,
    settings: &Map<String, Value>,
    check: impl Fn(&AllowEntry) -> Result<(), PolicyError>,
) -> Vec<SettingError> {
    let unfit = |text: &String| {
        let entry = AllowEntry::parse(text).ok()?;
        let (name, reason) = match check(&entry).err()? {
            PolicyError::Setting { setting, reason, .. } => (setting, reason),
            PolicyError::Entry { reason, .. } => (entry.settings().next()?.to_owned(), reason),
        };
        let value = settings.get(&name).unwrap_or(&Value::Null).to_string().chars().take(200).collect();
        let expected = format!("give an origin in the place of `{text}` (`egress.allow`): {reason}");
        Some(SettingError::Unfit { name, value, expected })
    };
    manifest.egress.allow.iter().filter_map(unfit).collect()
}

/// Whether a setting counts beside these others.
fn counts(manifest: &Manifest, setting: &Setting, settings: &Map<String, Value>) -> bool {
    setting.when.iter().all(|(name, wanted)| {
        let given = settings.get(name).filter(|value| !value.is_null());
        let value = given.or_else(|| manifest.settings.get(name)?.default.as_ref());
        value.is_some_and(|value| wanted.as_array().map_or(wanted == value, |any| any.contains(value)))
    })
}

fn problem(name: &str, setting: &Setting, value: Option<&Value>) -> Option<SettingError> {
    let (name, expected) = (name.to_owned(), expectation(setting.kind));
    let Some(value) = value else {
        let missing = setting.required && setting.default.is_none();
        return missing.then_some(SettingError::Missing { name, expected });
    };
    if !fits(setting.kind, value) {
        let hint = hint(&name, setting, value);
        return Some(SettingError::WrongType { name, value: shown(setting, value), expected, hint });
    }
    if setting.required && value.as_str() == Some("") {
        return Some(SettingError::Missing { name, expected });
    }
    let bytes = value.to_string().len();
    if bytes > MAX_VALUE_BYTES {
        return Some(SettingError::TooLarge { name, bytes });
    }
    let expected = unmet(setting, value)?;
    Some(SettingError::Unfit { name, value: shown(setting, value), expected })
}

/// How the same value would be of the right type: quoted for a text, and without quotes for what is none.
fn hint(name: &str, setting: &Setting, value: &Value) -> String {
    let meant = match (setting.kind, value) {
        (SettingType::String, Value::Number(_) | Value::Bool(_)) => Some(Value::from(value.to_string())),
        (SettingType::Boolean | SettingType::Number, Value::String(text)) => {
            serde_json::from_str(text).ok().filter(|meant| fits(setting.kind, meant))
        }
        (SettingType::Array, Value::String(_)) => Some(Value::from(vec![value.clone()])),
        _ => None,
    };
    match meant {
        Some(_) if setting.secret => ", in JSON in quotes".to_owned(),
        Some(meant) => {
            let meant: String = meant.to_string().chars().take(200).collect();
            format!(", such as {meant} (--set '{name}={meant}')")
        }
        None => String::new(),
    }
}

fn shown(setting: &Setting, value: &Value) -> String {
    if setting.secret { "…".to_owned() } else { value.to_string().chars().take(200).collect() }
}

/// What a value of the right type must do, and does not. An optional text that was left empty is one not given.
pub(super) fn unmet(setting: &Setting, value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    if !setting.choices.is_empty() && !setting.choices.iter().any(|choice| choice == text) {
        return Some(format!("be one of `{}`", setting.choices.join("`, `")));
    }
    let pattern = setting.pattern.as_deref()?;
    match whole(pattern) {
        Ok(whole) if whole.is_match(text) => None,
        _ => Some(format!("match `{pattern}`")),
    }
}

/// A pattern that the whole of a text must match.
pub(super) fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: `a)|(b` is no pattern, but would become one between these brackets.
    let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build();
    compile(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

fn known(manifest: &Manifest) -> String {
    let names: Vec<_> = manifest.settings.keys().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether a value is of this type.
pub(super) fn fits(kind: SettingType, value: &Value) -> bool {
    match kind {
        SettingType::String => value.is_string(),
        SettingType::Boolean => value.is_boolean(),
        SettingType::Number => value.is_number(),
        SettingType::Array => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        SettingType::Map => value.as_object().is_some_and(|entries| entries.values().all(Value::is_string)),
    }
}

/// What a value of this type is, for people.
pub(super) const fn expectation(kind: SettingType) -> &'static str {
    match kind {
        SettingType::String => "a string",
        SettingType::Boolean => "`true` or `false`",
        SettingType::Number => "a number",
        SettingType::Array => "an array of strings",
        SettingType::Map => "an object whose values are strings",
    }
}

/// The manifest's word for this type.
pub(super) const fn type_name(kind: SettingType) -> &'static str {
    match kind {
        SettingType::String => "string",
        SettingType::Boolean => "boolean",
        SettingType::Number => "number",
        SettingType::Array => "array",
        SettingType::Map => "map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        super::super::manifest::parse(
            r#"
            name = "probe"
            version = "1"
            events = ["track"]
            [settings]
            token = { type = "string", secret = true, required = true }
            region = { type = "string", default = "eu" }
            loud = { type = "boolean" }
            share = { type = "number" }
            tags = { type = "array" }
            fields = { type = "map" }
            zone = { type = "string", choices = ["eu", "us"] }
            path = { type = "string", secret = true, pattern = "/[a-z]+|-" }
            user = { type = "string", required = true, when = { zone = "us", region = ["eu", "ap"] } }
            "#,
        )
        .unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn each_wrong_setting_is_reported_and_no_secret_is_shown() {
        let cases = [
            (json!({}), "`token` is required: it must be a string"),
            (json!({"token": ""}), "`token` is required: it must be a string"),
            (json!({"token": 12345}), "`token` is `…`: it must be a string"),
            (json!({"token": "t", "loud": "yes"}), "`loud` is `\"yes\"`: it must be `true` or `false`"),
            (json!({"token": "t", "share": "1"}), "`share` is `\"1\"`: it must be a number"),
            (json!({"token": "t", "tags": ["a", 1]}), "`tags` is `[\"a\",1]`: it must be an array of strings"),
            (json!({"token": "t", "fields": []}), "`fields` is `[]`: it must be an object whose values are strings"),
            (json!({"token": "x".repeat(20_000)}), "`token` has 20002 bytes: at most 16384 are allowed"),
            (json!({"token": "t", "zone": "us"}), "`user` is required: it must be a string"),
            (json!({"token": "t", "zone": "us", "region": "ap"}), "`user` is required: it must be a string"),
            (json!({"token": "t", "user": 1}), "`user` is `1`: it must be a string"),
            (json!({"token": "t", "zone": "asia"}), "`zone` is `\"asia\"`: it must be one of `eu`, `us`"),
            (json!({"token": "t", "path": "/a-"}), "`path` is `…`: it must match `/[a-z]+|-`"),
            (json!({"token": "t", "regoin": "us"}), "`regoin` is not a setting of this function; it has `fields`"),
        ];
        for (settings, expected) in cases {
            let errors = validate(&manifest(), &object(settings)).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
        }
        assert_eq!(validate(&manifest(), &object(json!({"loud": 1, "x": 1}))).unwrap_err().len(), 3);
    }

    #[test]
    fn settings_that_give_no_origin_are_refused_when_they_are_saved() {
        let manifest = super::super::manifest::parse(
            r#"
            name = "probe"
            version = "1"
            events = ["track"]
            egress.allow = ["https://{settings.region}.api.example.com", "{settings.url}"]
            [settings]
            region = { type = "string", default = "eu" }
            url = { type = "string" }
            "#,
        )
        .unwrap();
        for (settings, expected) in [
            (
                json!({"region": "eu.evil"}),
                "`region` is `\"eu.evil\"`: it must give an origin in the place of `https://{settings",
            ),
            (json!({"region": "x".repeat(64)}), "`region` is"),
            (json!({"url": "example.com"}), "`url` is `\"example.com\"`"),
            (json!({"url": "https://localhost/"}), "`url` is"),
            (json!({"url": "http://169.254.169.254/"}), "`url` is"),
            (json!({"url": "http://[::ffff:10.0.0.1]/"}), "`url` is"),
        ] {
            let errors = validate(&manifest, &object(settings)).unwrap_err();
            assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
        }
        for good in
            [json!({}), json!({"region": "us-1", "url": "https://a.example/x"}), json!({"url": "http://127.0.0.1:9/"})]
        {
            assert_eq!(validate(&manifest, &object(good)), Ok(()));
        }
    }

    #[test]
    fn defaults_fill_what_is_not_given_or_null() {
        let filled = |settings| Value::Object(manifest().with_defaults(&object(settings)));
        assert_eq!(filled(json!({"token": "t"})), json!({"region": "eu", "token": "t"}));
        assert_eq!(filled(json!({"token": "t", "region": null})), json!({"region": "eu", "token": "t"}));
        assert_eq!(filled(json!({"region": "us", "loud": true})), json!({"loud": true, "region": "us"}));
        for good in [
            json!({"token": "t", "zone": "us", "region": "us"}),
            json!({"token": "t", "zone": "us", "user": "u"}),
            json!({"token": "t", "region": null}),
            json!({"token": "t", "zone": "eu", "path": "/a"}),
        ] {
            assert_eq!(validate(&manifest(), &object(good)), Ok(()));
        }
        assert_eq!(validate(&manifest(), &object(json!({"token": "t", "zone": "", "path": ""}))), Ok(()));
    }
}
