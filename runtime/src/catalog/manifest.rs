//! Before any event: `function.toml` becomes a [`Manifest`] that makes sense.
//!
//! Guarantees: unknown keys, values of the wrong type and values out of bounds are errors that name the key, the value
//! and the fix; every setting that an origin or a binding mentions exists and fits.
//! What an origin means when a request is made is the gate's.

use std::collections::BTreeSet;

use serde_json::Map;

use crate::egress::{AllowEntry, PolicyError, belongs_to_host};
use crate::model::{Bind, Manifest, ManifestRetry, Place, Setting, SettingType};

use super::settings;

/// Characters of a name or a version: they are shown in tables and used in paths.
pub const MAX_NAME: usize = 64;
/// Characters of a description or a label: one line for people.
pub const MAX_TEXT: usize = 200;
/// Origins in one manifest: a partner has a handful, one for each region at most.
pub const MAX_ORIGINS: usize = 32;
/// Settings in one manifest: a form that a person fills in.
pub const MAX_SETTINGS: usize = 64;
/// Places of one secret: two or three for each origin.
pub const MAX_BINDS: usize = 96;
/// Choices of one setting: a list from which a person picks.
pub const MAX_CHOICES: usize = 100;
/// Events in one batch: the most that peers send at once is 400.
pub const MAX_BATCH: u32 = 1_000;
/// How long an event may wait for others, in milliseconds: a minute is the most a person waits for the first sign.
pub const MAX_BATCH_WAIT_MS: u64 = 60_000;

/// Fields by which a batch is grouped: more would leave nothing to gather.
pub const MAX_GROUP_FIELDS: usize = 4;
/// The greatest number in `[retry]`: a week in seconds, as long as events are kept; ten minutes in milliseconds.
pub const MAX_RETRY: u64 = 604_800;

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, an unknown key, a missing key or a value of the wrong type; the text shows the line.
    #[error("`function.toml` cannot be read: {0}")]
    Syntax(String),
    /// A value that makes no sense.
    #[error("`{key}` in `function.toml` is `{value}`: {problem}")]
    Value {
        /// Where, such as `settings.region.default`.
        key: String,
        /// What stands there.
        value: String,
        /// Why it cannot be, and what can.
        problem: String,
    },
}

fn wrong<T>(key: impl Into<String>, value: impl ToString, problem: impl Into<String>) -> Result<T, ManifestError> {
    let value = value.to_string().chars().take(MAX_TEXT).collect();
    Err(ManifestError::Value { key: key.into(), value, problem: problem.into() })
}

/// Reads and checks a manifest.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let manifest: Manifest =
        toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string().trim_end().to_owned()))?;
    check_identity(&manifest)?;
    if manifest.settings.len() > MAX_SETTINGS {
        return wrong("settings", manifest.settings.len(), format!("at most {MAX_SETTINGS} settings are allowed"));
    }
    for (name, setting) in &manifest.settings {
        check_setting(name, setting)?;
    }
    for (name, setting) in &manifest.settings {
        check_when(name, setting, &manifest)?;
    }
    check_listing(&manifest)?;
    check_egress(&manifest)?;
    for (name, setting) in &manifest.settings {
        if setting.bind.len() > MAX_BINDS {
            let key = format!("settings.{name}.bind");
            return wrong(key, setting.bind.len(), format!("at most {MAX_BINDS} places are allowed"));
        }
        for (at, bind) in setting.bind.iter().enumerate() {
            check_bind(&format!("settings.{name}.bind[{at}]"), setting, bind, &manifest.egress.allow)?;
        }
    }
    check_numbers(&manifest)?;
    Ok(manifest)
}

/// A manifest as text.
///
/// # Errors
/// If it has a value that TOML has no word for.
pub fn text(manifest: &Manifest) -> Result<String, ManifestError> {
    toml::to_string(manifest).map_err(|error| ManifestError::Syntax(error.to_string()))
}

/// The same manifest, which may reach these origins as well.
pub(super) fn reaching(text: &str, origins: &[String]) -> Result<String, ManifestError> {
    let mut manifest = parse(text)?;
    let allow = &mut manifest.egress.allow;
    allow.extend(origins.iter().filter(|origin| !allow.contains(origin)).cloned().collect::<Vec<_>>());
    self::text(&manifest)
}

/// The same manifest for the events of another one; in batches if that one is for batches.
pub(super) fn handling(text: &str, other: &str) -> Result<String, ManifestError> {
    let (mut manifest, other) = (parse(text)?, parse(other)?);
    manifest.events = other.events;
    manifest.batch = other.batch.map(|default| manifest.batch.unwrap_or(default));
    self::text(&manifest)
}

fn check_identity(manifest: &Manifest) -> Result<(), ManifestError> {
    let name = &manifest.name;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) || name.starts_with('-') {
        return wrong("name", name, format!("use 1 to {MAX_NAME} lower-case letters, digits and hyphens"));
    }
    let version = &manifest.version;
    if version.is_empty() || version.len() > MAX_NAME || !version.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("version", version, format!("use 1 to {MAX_NAME} visible ASCII characters, such as `1.2.0`"));
    }
    check_text("description", manifest.description.as_deref())?;
    if manifest.events.is_empty() {
        return wrong("events", "[]", "name at least one event type, such as `[\"track\"]`");
    }
    let mut seen = BTreeSet::new();
    for event in &manifest.events {
        if !seen.insert(event) {
            return wrong("events", event, "it is named twice");
        }
    }
    Ok(())
}

fn check_text(key: &str, text: Option<&str>) -> Result<(), ManifestError> {
    let Some(text) = text else { return Ok(()) };
    if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
        return wrong(key, text.escape_debug(), format!("use one line of at most {MAX_TEXT} characters"));
    }
    Ok(())
}

fn check_listing(manifest: &Manifest) -> Result<(), ManifestError> {
    let Some(listing) = &manifest.listing else { return Ok(()) };
    let page = |text: &String| text.parse().is_ok_and(|uri: http::Uri| uri.scheme_str() == Some("https"));
    let mail = |text: &String| {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | ',' | ';');
        text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
            && text.chars().all(plain)
    };
    for (name, text) in [
        ("category", &listing.category),
        ("docs", &listing.docs),
        ("logo", &listing.logo),
        ("support", &listing.support),
    ] {
        let (key, Some(text)) = (format!("listing.{name}"), text) else { continue };
        check_text(&key, Some(text))?;
        match name {
            "category" if text.trim().is_empty() => return wrong(key, text, "a category has a name"),
            "docs" | "logo" if !page(text) => return wrong(key, text, "use an https URL"),
            "support" if !page(text) && !mail(text) => {
                return wrong(key, text, "use an address of email or an https URL");
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_setting(name: &str, setting: &Setting) -> Result<(), ManifestError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) || !name.as_bytes()[0].is_ascii_alphabetic()
    {
        return wrong(
            "settings",
            name,
            format!("a setting's name is 1 to {MAX_NAME} of letters, digits and `_`, a letter first"),
        );
    }
    check_text(&format!("settings.{name}.label"), setting.label.as_deref())?;
    check_text(&format!("settings.{name}.description"), setting.description.as_deref())?;
    if setting.secret && setting.kind != SettingType::String {
        return wrong(format!("settings.{name}.type"), settings::type_name(setting.kind), "a secret is a `string`");
    }
    if setting.reveal && !setting.secret {
        return wrong(format!("settings.{name}.reveal"), true, "only a setting with `secret = true` is revealed");
    }
    check_form(name, setting)?;
    let Some(default) = &setting.default else { return Ok(()) };
    let key = format!("settings.{name}.default");
    if setting.secret {
        return wrong(key, "…", "a secret has no default: everybody could read it here");
    }
    if !settings::fits(setting.kind, default) {
        return wrong(key, default, format!("it must be {}", settings::expectation(setting.kind)));
    }
    match settings::unmet(setting, default) {
        Some(expected) => wrong(key, default, format!("it must {expected}")),
        None => Ok(()),
    }
}

/// Choices and patterns, which only texts have.
fn check_form(name: &str, setting: &Setting) -> Result<(), ManifestError> {
    let (choices, pattern) = (format!("settings.{name}.choices"), format!("settings.{name}.pattern"));
    if setting.choices.len() > MAX_CHOICES {
        return wrong(choices, setting.choices.len(), format!("at most {MAX_CHOICES} choices are allowed"));
    }
    for choice in &setting.choices {
        check_text(&choices, Some(choice))?;
        if choice.is_empty() {
            return wrong(choices, choice, "a choice has at least one character");
        }
    }
    if !setting.choices.is_empty() && (setting.kind != SettingType::String || setting.secret) {
        return wrong(choices, setting.choices.join(", "), "only a `string` that is not secret has choices");
    }
    if setting.choices_from.is_some() {
        let key = format!("settings.{name}.choices_from");
        if !matches!(setting.kind, SettingType::String | SettingType::Array) || setting.secret {
            return wrong(key, "function", "only a `string` or an `array` that is not secret has choices");
        }
        if !setting.choices.is_empty() {
            return wrong(key, "function", "it has `choices` too: keep one of them");
        }
    }
    let Some(text) = &setting.pattern else { return Ok(()) };
    if setting.kind != SettingType::String {
        return wrong(pattern, text, "only a `string` has a pattern");
    }
    check_text(&pattern, Some(text))?;
    match settings::whole(text) {
        Ok(_) => Ok(()),
        Err(error) => wrong(pattern, text, format!("it must be a regular expression of moderate size: {error}")),
    }
}

/// What a setting depends on: another one, at values that it can have.
fn check_when(name: &str, setting: &Setting, manifest: &Manifest) -> Result<(), ManifestError> {
    for (other, wanted) in &setting.when {
        let key = format!("settings.{name}.when.{other}");
        let Some(on) = manifest.settings.get(other).filter(|_| other != name) else {
            return wrong(key, wanted, "it must name another setting");
        };
        if on.secret {
            return wrong(key, "…", "nothing depends on a secret's value");
        }
        let values = wanted.as_array().map_or(std::slice::from_ref(wanted), Vec::as_slice);
        let unfit =
            |value: &&serde_json::Value| !settings::fits(on.kind, value) || settings::unmet(on, value).is_some();
        if let Some(value) = values.iter().find(unfit) {
            return wrong(key, value, format!("`{other}` never has this value"));
        }
    }
    Ok(())
}

fn check_egress(manifest: &Manifest) -> Result<(), ManifestError> {
    let allow = &manifest.egress.allow;
    if allow.len() > MAX_ORIGINS {
        return wrong("egress.allow", allow.len(), format!("at most {MAX_ORIGINS} origins are allowed"));
    }
    for entry in allow {
        let parsed = match AllowEntry::parse(entry).and_then(|parsed| parsed.check(&Map::new()).map(|()| parsed)) {
            Ok(parsed) => parsed,
            Err(PolicyError::Entry { reason, .. } | PolicyError::Setting { reason, .. }) => {
                return wrong("egress.allow", entry, reason);
            }
        };
        for name in parsed.settings() {
            match manifest.settings.get(name) {
                None => return wrong("egress.allow", entry, format!("there is no `[settings.{name}]`")),
                Some(setting) if setting.secret => {
                    return wrong("egress.allow", entry, format!("`{name}` is secret, and host names are public"));
                }
                Some(setting) if setting.kind != SettingType::String => {
                    return wrong("egress.allow", entry, format!("`{name}` must be of type `string`"));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

fn check_bind(key: &str, setting: &Setting, bind: &Bind, allow: &[String]) -> Result<(), ManifestError> {
    if !setting.secret {
        return wrong(key, &bind.origin, "only a setting with `secret = true` is bound");
    }
    if !allow.contains(&bind.origin) {
        return wrong(format!("{key}.origin"), &bind.origin, "it must be one of the entries of `egress.allow`");
    }
    let needs_name = matches!(bind.place, Place::Header | Place::Query);
    match (&bind.name, needs_name) {
        (None, true) => wrong(format!("{key}.name"), "", "a header or query parameter needs its name"),
        (Some(name), false) => wrong(format!("{key}.name"), name, "only `header` and `query` have a name"),
        (Some(name), true) => check_place_name(&format!("{key}.name"), bind.place, name),
        (None, false) => Ok(()),
    }
}

fn check_place_name(key: &str, place: Place, name: &str) -> Result<(), ManifestError> {
    check_text(key, Some(name))?;
    if place == Place::Header {
        let Ok(header) = http::HeaderName::from_bytes(name.as_bytes()) else {
            return wrong(key, name, "it is not the name of a header");
        };
        if belongs_to_host(&header) {
            return wrong(key, name, "this header belongs to the host, and no function sets it");
        }
    }
    if name.is_empty() { wrong(key, name, "a parameter has a name") } else { Ok(()) }
}

fn check_numbers(manifest: &Manifest) -> Result<(), ManifestError> {
    let limits = &manifest.limits;
    let asked = [("cpu_ms", limits.cpu_ms), ("deadline_ms", limits.deadline_ms), ("memory_bytes", limits.memory_bytes)];
    if let Some((key, _)) = asked.into_iter().find(|(_, value)| *value == Some(0)) {
        return wrong(format!("limits.{key}"), 0, "it must be at least 1; leave it out for the host's own limit");
    }
    if let Some(rate) = &manifest.rate
        && let Err((key, value, rule)) = rate.check()
    {
        return wrong(format!("rate.{key}"), value, rule);
    }
    check_retry(manifest.retry.as_ref())?;
    let Some(batch) = &manifest.batch else { return Ok(()) };
    if !(1..=MAX_BATCH).contains(&batch.max_events) {
        return wrong("batch.max_events", batch.max_events, format!("use 1 to {MAX_BATCH}"));
    }
    if batch.max_wait_ms > MAX_BATCH_WAIT_MS {
        return wrong("batch.max_wait_ms", batch.max_wait_ms, format!("use at most {MAX_BATCH_WAIT_MS}"));
    }
    if batch.max_bytes == Some(0) {
        return wrong("batch.max_bytes", 0, "it must be at least 1; leave it out for the host's own bound");
    }
    if batch.group_by.len() > MAX_GROUP_FIELDS {
        return wrong("batch.group_by", batch.group_by.len(), format!("at most {MAX_GROUP_FIELDS} fields are allowed"));
    }
    Ok(())
}

/// The host's own schedule bounds it from above; here only what could never work.
fn check_retry(retry: Option<&ManifestRetry>) -> Result<(), ManifestError> {
    let Some(retry) = retry else { return Ok(()) };
    let asked = [
        ("window_s", retry.window_s),
        ("first_wait_ms", retry.first_wait_ms),
        ("longest_wait_ms", retry.longest_wait_ms),
        ("attempts", retry.attempts.map(u64::from)),
    ];
    if let Some((key, value)) =
        asked.into_iter().find_map(|(key, value)| Some((key, value?)).filter(|(_, v)| *v == 0 || *v > MAX_RETRY))
    {
        return wrong(format!("retry.{key}"), value, format!("use 1 to {MAX_RETRY}; leave it out for the host's own"));
    }
    match (retry.first_wait_ms, retry.longest_wait_ms) {
        (Some(first), Some(longest)) if first > longest => {
            wrong("retry.first_wait_ms", first, format!("it must not exceed `retry.longest_wait_ms`, {longest}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "slack"
version = "1.2.0"
events = ["track", "identify"]
[egress]
allow = ["https://hooks.slack.com", "https://{settings.region}.example.com", "{settings.url}"]
[settings.webhook_path]
type = "string"
secret = true
required = true
label = "Webhook path"
bind = [{ origin = "https://hooks.slack.com", place = "path" }]
[settings.region]
type = "string"
default = "eu"
[settings.url]
type = "string"
[settings.loud]
type = "boolean"
[settings.zone]
type = "string"
choices = ["eu", "us"]
pattern = "[a-z]+"
default = "us"
[listing]
category = "Messaging"
docs = "https://example.com/docs"
logo = "https://example.com/logo.svg"
support = "help@example.com"
[limits]
cpu_ms = 50
[batch]
max_events = 100
max_wait_ms = 10000
max_bytes = 100000
group_by = ["userId"]
[rate]
requests_per_s = 50
burst = 10
[retry]
window_s = 3600
first_wait_ms = 500
"#;

    #[test]
    fn the_documented_form_parses() {
        let manifest = parse(GOOD).unwrap();
        assert_eq!(manifest.limits.cpu_ms, Some(50));
        assert_eq!(manifest.settings["webhook_path"].bind.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key_and_value() {
        let cases = [
            ("name = \"slack\"", "name = \"Slack\"", "`name` in `function.toml` is `Slack`"),
            ("version = \"1.2.0\"", "version = \"1 2\"", "`version`"),
            ("events = [", "evnets = [", "unknown field `evnets`"),
            ("[\"track\", \"identify\"]", "[]", "at least one event type"),
            ("[\"track\", \"identify\"]", "[\"trak\"]", "unknown variant `trak`"),
            ("[\"track\", \"identify\"]", "[\"track\", \"track\"]", "named twice"),
            ("https://hooks.slack.com\", \"https", "ftp://hooks.slack.com\", \"https", "`ftp://hooks.slack.com`"),
            ("https://hooks.slack.com\", \"https", "https://*.co.uk\", \"https", "other people's names"),
            (
                "https://hooks.slack.com\", \"https",
                "http://169.254.169.254\", \"https",
                "can never be reached: cloud metadata",
            ),
            ("settings.region}", "settings.regoin}", "no `[settings.regoin]`"),
            ("settings.region}", "settings.webhook_path}", "host names are public"),
            ("settings.region}", "settings.loud}", "must be of type `string`"),
            ("default = \"eu\"", "default = 4", "`settings.region.default` in `function.toml` is `4`"),
            ("required = true", "default = \"/x\"", "a secret has no default"),
            ("secret = true", "secret = false", "only a setting with `secret = true`"),
            ("place = \"path\"", "place = \"header\"", "needs its name"),
            ("place = \"path\"", "place = \"cookie\"", "unknown variant `cookie`"),
            ("place = \"path\"", "place = \"header\", name = \"a b\"", "not the name of a header"),
            ("place = \"path\"", "place = \"header\", name = \"Host\"", "belongs to the host"),
            ("place = \"path\"", "place = \"query\", name = \"\"", "a parameter has a name"),
            ("place = \"path\"", "place = \"path\", name = \"x\"", "only `header` and `query`"),
            ("type = \"boolean\"", "type = \"boolean\"\nreveal = true", "is revealed"),
            ("origin = \"https://hooks", "origin = \"https://other", "one of the entries of `egress.allow`"),
            ("[settings.loud]", "[settings.1oud]", "a setting's name"),
            ("type = \"boolean\"", "type = \"boolean\"\nwhen = { regoin = \"eu\" }", "it must name another setting"),
            ("type = \"boolean\"", "type = \"boolean\"\nwhen = { loud = true }", "it must name another setting"),
            ("type = \"boolean\"", "type = \"boolean\"\nwhen = { zone = \"asia\" }", "`zone` never has this value"),
            ("type = \"boolean\"", "type = \"boolean\"\nwhen = { webhook_path = \"x\" }", "depends on a secret"),
            ("default = \"us\"", "default = \"asia\"", "`settings.zone.default` in `function.toml` is `\"asia\"`"),
            ("\"[a-z]+\"", "\"[a-z]{4}\"", "it must match `[a-z]{4}`"),
            ("\"[a-z]+\"", "\"a)|(b\"", "regular expression"),
            ("\"[a-z]+\"", "\"((a{100}){100}){100}\"", "moderate size"),
            ("type = \"boolean\"", "type = \"boolean\"\nchoices = [\"a\"]", "only a `string` that is not secret"),
            ("type = \"boolean\"", "type = \"boolean\"\npattern = \"a\"", "only a `string` has a pattern"),
            ("[\"eu\", \"us\"]", "[\"eu\", \"\"]", "at least one character"),
            ("cpu_ms = 50", "cpu_ms = 0", "`limits.cpu_ms`"),
            ("max_events = 100", "max_events = 5000", "`batch.max_events` in `function.toml` is `5000`"),
            ("max_wait_ms = 10000", "max_wait_ms = 70000", "use at most 60000"),
            ("max_bytes = 100000", "max_bytes = 0", "`batch.max_bytes`"),
            ("\"Messaging\"", "\" \"", "`listing.category`"),
            ("https://example.com/docs", "http://example.com/docs", "use an https URL"),
            ("https://example.com/logo.svg", "logo.svg", "`listing.logo` in `function.toml` is `logo.svg`"),
            ("help@example.com", "help@", "an address of email or an https URL"),
            ("limits]", "limits]\ncpu_m = 4", "unknown field `cpu_m`"),
            ("events = [", "reads = [\"user..id\"]\nevents = [", "`user..id` names no field of an event: use `*`"),
            ("[\"userId\"]", "[\"user..id\"]", "`user..id` names no value"),
            ("[\"userId\"]", "[\"a\", \"b\", \"c\", \"d\", \"e\"]", "at most 4 fields"),
            ("requests_per_s = 50", "requests_per_s = 0", "`rate.requests_per_s` in `function.toml` is `0`"),
            ("requests_per_s = 50\n", "", "`events_per_s`"),
            ("burst = 10", "burst = 0", "`rate.burst`"),
            ("window_s = 3600", "window_s = 0", "`retry.window_s`"),
            ("window_s = 3600", "longest_wait_ms = 100", "must not exceed `retry.longest_wait_ms`, 100"),
            ("first_wait_ms = 500", "attempts = 0", "`retry.attempts`"),
        ];
        for (from, to, expected) in cases {
            assert!(GOOD.contains(from), "{from}");
            let message = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(message.contains(expected), "{to}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = parse(&text);
            let _ = parse(&GOOD.replacen("https://hooks.slack.com", &text, 1));
        }
    }
}
