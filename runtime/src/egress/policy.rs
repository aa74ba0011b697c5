//! One entry of a manifest's `egress.allow`: what it may look like, and which origins it opens.
//!
//! | entry | opens |
//! | --- | --- |
//! | `https://hooks.slack.com` | this origin |
//! | `https://*.zendesk.com` | one label in place of the star, as in a TLS certificate (RFC 6125) |
//! | `https://{settings.region}.api.example.com` | this origin, with a DNS label from the customer's settings |
//! | `{settings.url}` | the whole origin of the URL in that setting, which the customer sees and sets |
//!
//! Guarantees: an entry never opens more than one registrable name: the last two labels are written out (three under
//! suffixes such as `co.uk`), so neither `https://*.com` nor `https://{settings.host}.com` is an entry. An address is opened
//! by an entry that has it written out; one in a setting needs the operator besides ([`Opening::Filled`]).
//!
//! Leaves to others: the settings of one destination (`grant`), addresses (`reach`).

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use super::addresses;
use super::grant::Grant;
use super::origin::{Host, Origin, Scheme, Target, check_label};
use super::permit::allowed;
use super::reach::Reach;
use super::verdict::Denial;

/// Second labels under which countries register names, as in `co.uk` and `com.au`. Under two-letter suffixes these
/// count as part of the suffix. Not the whole public suffix list: an operator still reads what a manifest asks for.
const SECOND_LEVEL: &[&str] =
    &["ac", "co", "com", "edu", "go", "gob", "gov", "gv", "mil", "ne", "net", "nom", "or", "org"];

/// What stands where a variable or a star stood while an entry is checked. No valid name begins like this by chance.
const STAND_IN: &str = "x--label";

/// Why an entry cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PolicyError {
    /// It is not one of the forms.
    #[error("`{entry}` in `egress.allow`: {reason}")]
    Entry {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The setting that it names has a value that cannot stand there.
    #[error("the setting `{setting}` does not fit `{entry}` in `egress.allow`: {reason}")]
    Setting {
        /// The setting's name.
        setting: String,
        /// The entry.
        entry: String,
        /// What is wrong with the value.
        reason: String,
    },
}

/// One entry, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowEntry {
    text: Arc<str>,
    form: Form,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Form {
    /// Fixed text and names of settings in turn; both together spell an origin.
    Spelled(Vec<Piece>),
    /// The setting that holds a URL.
    Whole(Box<str>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Box<str>),
    Setting(Box<str>),
}

/// What an entry opens for one destination.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Opening {
    /// Exactly this origin.
    Exact(Origin),
    /// The same, where a customer's setting and not the manifest says which: no address, unless the operator names it.
    Filled(Origin),
    /// One label before this name; `name` has no leading dot.
    Below {
        /// How.
        scheme: Scheme,
        /// The fixed rest of the name.
        name: Arc<str>,
        /// The port.
        port: u16,
    },
}

impl Opening {
    /// The host that it opens, or the name below which hosts are.
    pub fn host(&self) -> Arc<str> {
        match self {
            Self::Below { name, .. } => Arc::clone(name),
            Self::Exact(origin) | Self::Filled(origin) => match &origin.host {
                Host::Name(name) => Arc::clone(name),
                Host::Address(address) => format!("{address}:{}", origin.port).into(),
            },
        }
    }

    /// Whether it opens this origin.
    pub fn opens(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(exact) | Self::Filled(exact) => exact == origin,
            Self::Below { scheme, name, port } => {
                let Host::Name(host) = &origin.host else { return false };
                let label = host.strip_suffix(&**name).and_then(|rest| rest.strip_suffix('.'));
                *scheme == origin.scheme
                    && *port == origin.port
                    && label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }
}

impl AllowEntry {
    /// Reads an entry and checks everything that does not depend on settings.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let wrong = |reason: String| PolicyError::Entry { entry: text.into(), reason };
        let pieces = pieces(text).map_err(wrong)?;
        if let [Piece::Setting(name)] = &pieces[..] {
            return Ok(Self { text: text.into(), form: Form::Whole(name.clone()) });
        }
        let stand_in: String = pieces.iter().map(|piece| piece.or(STAND_IN)).collect();
        let stand_in =
            star(&stand_in).map_or(stand_in.clone(), |(before, after)| format!("{before}{STAND_IN}.{after}"));
        let origin = Origin::parse(&stand_in).map_err(|error| wrong(error.to_string()))?;
        if stand_in != text {
            registrable(&origin).map_err(wrong)?;
        }
        Ok(Self { text: text.into(), form: Form::Spelled(pieces) })
    }

    /// The entry as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The settings that it names.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        let pieces = match &self.form {
            Form::Whole(name) => (Some(&**name), &[][..]),
            Form::Spelled(pieces) => (None, &pieces[..]),
        };
        let named = pieces.1.iter().filter_map(|piece| match piece {
            Piece::Setting(name) => Some(&**name),
            Piece::Text(_) => None,
        });
        pieces.0.into_iter().chain(named)
    }

    /// What it opens with these settings: nothing where a setting that it names is absent.
    pub fn resolve(&self, settings: &Map<String, Value>) -> Result<Option<Opening>, PolicyError> {
        match &self.form {
            Form::Whole(name) => {
                let Some(url) = self.setting(settings, name)? else { return Ok(None) };
                let target = Target::parse(url).map_err(|error| self.unfit(name, error.to_string()))?;
                Ok(Some(Opening::Filled(target.origin)))
            }
            Form::Spelled(pieces) => {
                let mut spelled = String::with_capacity(self.text.len() + 16);
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => spelled.push_str(text),
                        Piece::Setting(name) => {
                            let Some(label) = self.setting(settings, name)? else { return Ok(None) };
                            check_label(label).map_err(|reason| self.unfit(name, reason))?;
                            spelled.push_str(label);
                        }
                    }
                }
                self.opening(&spelled).map(Some)
            }
        }
    }

    /// Whether it opens this origin for some values of the settings that it names. What a setting may hold is not
    /// looked at, so this errs towards yes.
    pub fn could_open(&self, origin: &Origin) -> bool {
        let Form::Spelled(pieces) = &self.form else { return true };
        let spelled: String = pieces.iter().map(|piece| piece.or(STAND_IN)).collect();
        let spelled = star(&spelled).map_or(spelled.clone(), |(before, after)| format!("{before}{STAND_IN}.{after}"));
        let Ok(pattern) = Origin::parse(&spelled) else { return false };
        let (Host::Name(pattern_name), Host::Name(name)) = (&pattern.host, &origin.host) else {
            return pattern == *origin;
        };
        let fits = |(pattern, label): (&str, &str)| match (pattern.find(STAND_IN), pattern.rfind(STAND_IN)) {
            (Some(first), Some(last)) => {
                let (before, after) = (&pattern[..first], &pattern[last + STAND_IN.len()..]);
                label.len() > before.len() + after.len() && label.starts_with(before) && label.ends_with(after)
            }
            _ => pattern == label,
        };
        (pattern.scheme, pattern.port) == (origin.scheme, origin.port)
            && pattern_name.split('.').count() == name.split('.').count()
            && pattern_name.split('.').zip(name.split('.')).all(fits)
    }

    /// Whether what it opens with these settings can be reached at all: an address that no operator can open is
    /// refused before anybody relies on it. [`crate::egress::permit()`] judges every request all the same.
    pub fn check(&self, settings: &Map<String, Value>) -> Result<(), PolicyError> {
        let Some(
            Opening::Exact(Origin { host: Host::Address(address), .. })
            | Opening::Filled(Origin { host: Host::Address(address), .. }),
        ) = self.resolve(settings)?
        else {
            return Ok(());
        };
        let Some(range) = addresses::special(address).filter(|range| range.always) else { return Ok(()) };
        let reason = format!("`{address}` can never be reached: {} ({})", range.name, range.source);
        Err(match &self.form {
            Form::Whole(name) => self.unfit(name, reason),
            Form::Spelled(_) => PolicyError::Entry { entry: self.as_str().into(), reason },
        })
    }

    /// Whether every request to the origin that a customer's setting gives would be refused, and by which rule: what is known without
    /// asking for a name. That this host itself listens there, or that the operator opens it, may change until it is used.
    pub fn check_reach(&self, settings: &Map<String, Value>, grant: &Grant, reach: &Reach) -> Result<(), PolicyError> {
        let (Form::Whole(name), Some(Opening::Filled(origin))) = (&self.form, self.resolve(settings)?) else {
            return Ok(());
        };
        allowed(&origin, grant, reach).map_err(|Denial { rule, reason }| {
            self.unfit(name, format!("{reason} (the gate's rule `{}`)", rule.as_str()))
        })
    }

    fn opening(&self, spelled: &str) -> Result<Opening, PolicyError> {
        let wrong = |error: super::origin::BadUrl| PolicyError::Entry {
            entry: self.as_str().into(),
            reason: error.to_string(),
        };
        let Some((before, after)) = star(spelled) else {
            return Origin::parse(spelled).map(Opening::Exact).map_err(wrong);
        };
        let below = Origin::parse(&format!("{before}{after}")).map_err(wrong)?;
        match below.host {
            Host::Name(name) => Ok(Opening::Below { scheme: below.scheme, name, port: below.port }),
            Host::Address(_) => Err(PolicyError::Entry {
                entry: self.as_str().into(),
                reason: "a star cannot stand before an address".into(),
            }),
        }
    }

    fn setting<'a>(&self, settings: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, PolicyError> {
        match settings.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unfit(name, "it must be a string")),
        }
    }

    fn unfit(&self, setting: &str, reason: impl Into<String>) -> PolicyError {
        PolicyError::Setting { setting: setting.into(), entry: self.as_str().into(), reason: reason.into() }
    }
}

impl Piece {
    fn or<'a>(&'a self, stand_in: &'a str) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Setting(_) => stand_in,
        }
    }
}

/// Splits at `{settings.NAME}`.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        let close = from.find('}').ok_or("a `{` has no `}`")?;
        let name = from[1..close].strip_prefix("settings.").unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return Err(format!("`{}` is not a variable; write `{{settings.NAME}}`", &from[..=close]));
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        pieces.push(Piece::Setting(name.into()));
        rest = &from[close + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

/// What stands before and after a star that is the whole first label. A star anywhere else is left to the parser of
/// origins, which refuses it.
fn star(text: &str) -> Option<(&str, &str)> {
    let (before, after) = text.split_once("*.")?;
    before.ends_with("://").then_some((before, after))
}

/// Whether the labels that name somebody are all written out.
fn registrable(origin: &Origin) -> Result<(), String> {
    let Host::Name(name) = &origin.host else {
        return Err("a star or a variable cannot be part of an address".into());
    };
    let mut labels = name.rsplit('.');
    let (top, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let third = labels.next().unwrap_or_default();
    let deep = top.len() == 2 && SECOND_LEVEL.contains(&second);
    if [top, second].iter().chain(deep.then_some(&third)).any(|label| label.is_empty() || label.contains(STAND_IN)) {
        return Err("a star or a variable there would open other people's names; write out the registered name".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::egress::EgressConfig;

    fn opens(entry: &str, settings: Value, url: &str) -> bool {
        let entry = AllowEntry::parse(entry).expect("an entry");
        let settings = settings.as_object().expect("an object").clone();
        let opening = entry.resolve(&settings).expect("settings that fit");
        opening.is_some_and(|opening| opening.opens(&Target::parse(url).expect("a url").origin))
    }

    #[test]
    fn an_entry_opens_its_own_origin_only() {
        for (entry, url, expected) in [
            ("https://hooks.slack.com", "https://hooks.slack.com/x", true),
            ("https://hooks.slack.com/", "https://HOOKS.slack.com.:443/x", true),
            ("https://hooks.slack.com", "http://hooks.slack.com/x", false),
            ("https://hooks.slack.com", "https://hooks.slack.com:8443/x", false),
            ("https://hooks.slack.com", "https://slack.com/x", false),
            ("https://hooks.slack.com", "https://hooks.slack.com.evil.example/x", false),
            ("https://hooks.slack.com", "https://evil.example/https://hooks.slack.com", false),
            ("https://*.zendesk.com", "https://acme.zendesk.com/", true),
            ("https://*.zendesk.com", "https://a.b.zendesk.com/", false),
            ("https://*.zendesk.com", "https://zendesk.com/", false),
            ("https://*.zendesk.com", "https://evilzendesk.com/", false),
            ("https://*.zendesk.com", "https://acme.zendesk.com:444/", false),
            ("https://*.zendesk.com:444", "https://acme.zendesk.com:444/", true),
            ("https://*.acme.co.uk", "https://a.acme.co.uk/", true),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/", true),
            ("https://[2606:4700::1111]", "https://[2606:4700::1111]/", true),
            ("https://1.1.1.1", "https://1.1.1.2/", false),
        ] {
            assert_eq!(opens(entry, json!({}), url), expected, "{entry} {url}");
        }
    }

    #[test]
    fn an_entry_names_its_settings() {
        for (entry, expected) in [
            ("https://hooks.slack.com", vec![]),
            ("https://{settings.a}.{settings.b}.example.com:8443", vec!["a", "b"]),
            ("{settings.url}", vec!["url"]),
        ] {
            let entry = AllowEntry::parse(entry).expect("an entry");
            assert_eq!(entry.settings().collect::<Vec<_>>(), expected, "{}", entry.as_str());
        }
    }

    #[test]
    fn an_entry_could_open_what_some_settings_make_of_it() {
        for (entry, url, expected) in [
            ("https://hooks.slack.com", "https://hooks.slack.com/x", true),
            ("https://hooks.slack.com", "https://slack.com/x", false),
            ("https://*.zendesk.com", "https://acme.zendesk.com", true),
            ("https://*.zendesk.com", "https://a.b.zendesk.com", false),
            ("https://{settings.region}.api.example.com", "https://eu-1.api.example.com", true),
            ("https://{settings.region}.api.example.com", "https://api.example.com", false),
            ("https://{settings.region}.api.example.com", "http://eu-1.api.example.com", false),
            ("https://api-{settings.dc}.example.com", "https://api-us1.example.com", true),
            ("https://api-{settings.dc}.example.com", "https://apius1.example.com", false),
            ("https://{settings.a}-{settings.b}.example.com:444", "https://x-y.example.com:444", true),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000", true),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9001", false),
            ("{settings.url}", "https://anything.example", true),
        ] {
            let origin = Target::parse(url).expect("a url").origin;
            assert_eq!(AllowEntry::parse(entry).expect("an entry").could_open(&origin), expected, "{entry} {url}");
        }
    }

    #[test]
    fn settings_fill_labels_or_whole_origins() {
        let label = "https://{settings.region}.api.example.com";
        assert!(opens(label, json!({"region": "eu-1"}), "https://eu-1.api.example.com/x"));
        assert!(!opens(label, json!({"region": "eu-1"}), "https://us.api.example.com/x"));
        assert!(!opens(label, json!({}), "https://us.api.example.com/x"));
        assert!(opens("https://api-{settings.dc}.example.com", json!({"dc": "us1"}), "https://api-us1.example.com/"));
        let whole = "{settings.url}";
        assert!(opens(whole, json!({"url": "https://hooks.acme.example/in?x=1"}), "https://hooks.acme.example/other"));
        assert!(!opens(whole, json!({"url": "https://hooks.acme.example/"}), "https://acme.example/"));
        assert!(!opens(whole, json!({"url": null}), "https://acme.example/"));
    }

    #[test]
    fn an_address_in_a_setting_is_refused_when_it_is_saved_unless_the_operator_names_it() {
        let at = |address: &str| address.parse().expect("an address");
        let reach = Reach::new(&EgressConfig {
            allow_addresses: ["93.184.215.14:443", "127.0.0.1:9", "10.0.0.1:8080", "127.0.0.1:7"].map(at).into(),
            own_listeners: vec![at("127.0.0.1:7")],
            ..EgressConfig::default()
        });
        let reach = reach.expect("what may be opened");
        for (url, rule) in [
            ("https://a.example/x", ""),
            ("https://93.184.215.14/x", ""),
            ("https://93.184.215.14:444/x", "address"),
            ("https://8.8.8.8", "address"),
            ("https://[2606:4700::1111]/", "address"),
            ("https://192.168.0.1/", "address"),
            ("https://[fd00::1]/", "address"),
            ("http://127.0.0.1:9", ""),
            ("http://127.0.0.1:8", "address"),
            ("https://127.0.0.1:9", ""),
            ("http://10.0.0.1:8080/in", ""),
            ("https://10.0.0.1/in", "address"),
            // Where this host itself listens.
            ("http://127.0.0.1:7", "address"),
            // A name may turn out to be an address that is open.
            ("http://a.example:8080/", ""),
            ("http://a.example/", "scheme"),
            ("https://a.internal.example/", ""),
        ] {
            let settings = json!({"url": url}).as_object().expect("an object").clone();
            let judged = |allow: &[&str], entry: &str| {
                let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
                let grant = Grant::new(&allow, &settings, "test").expect("a grant");
                AllowEntry::parse(entry).expect("an entry").check_reach(&settings, &grant, &reach)
            };
            match judged(&["{settings.url}"], "{settings.url}") {
                Ok(()) => assert_eq!(rule, "", "{url}"),
                Err(error) => {
                    assert!(error.to_string().ends_with(&format!("(the gate's rule `{rule}`)")), "{url}: {error}")
                }
            }
            // What the manifest writes out needs nobody's leave.
            assert_eq!(judged(&["https://8.8.8.8"], "https://8.8.8.8"), Ok(()));
            assert_eq!(
                judged(&["{settings.url}", "https://8.8.8.8"], "{settings.url}").is_ok(),
                rule.is_empty() || url == "https://8.8.8.8"
            );
        }
    }

    #[test]
    fn values_that_would_move_the_origin_are_refused() {
        let entry = AllowEntry::parse("https://{settings.region}.api.example.com").expect("an entry");
        for value in [
            json!("evil.example/"),
            json!("a.b"),
            json!("a@b"),
            json!(""),
            json!("*"),
            json!("UPPER"),
            json!("-a"),
            json!("a-"),
            json!("a:b"),
            json!("a#"),
            json!("x".repeat(64)),
            json!(7),
            json!(["a"]),
        ] {
            let settings = json!({"region": value}).as_object().expect("an object").clone();
            assert!(entry.resolve(&settings).is_err(), "{value}");
        }
        let entry = AllowEntry::parse("{settings.url}").expect("an entry");
        for value in
            [json!("example.com"), json!("https://localhost/"), json!("ftp://a.example"), json!("https://a@b.example")]
        {
            let settings = json!({"url": value}).as_object().expect("an object").clone();
            assert!(entry.resolve(&settings).is_err(), "{value}");
        }
    }

    proptest! {
        /// Whatever a customer sets, a spelled entry opens names below what its author wrote out.
        #[test]
        fn settings_never_move_a_spelled_entry(value in "[ -~]{0,12}|[a-z0-9.-]{1,70}", form in 0usize..4) {
            let text = [
                "https://{settings.v}.api.example.com", "https://a-{settings.v}.example.com", "https://*.{settings.v}.example.com",
                "https://{settings.v}{settings.v}.b.example.com:8443",
            ][form];
            let entry = AllowEntry::parse(text).expect("an entry");
            let settings = json!({"v": value}).as_object().expect("an object").clone();
            let (host, port) = match entry.resolve(&settings) {
                Ok(Some(Opening::Exact(origin) | Opening::Filled(origin))) => (origin.host.to_string(), origin.port),
                Ok(Some(Opening::Below { name, port, .. })) => (name.to_string(), port),
                Ok(None) => return Err(TestCaseError::fail("the setting is there")),
                Err(_) => return Ok(()),
            };
            prop_assert!(host.ends_with(".example.com"), "{}", host);
            prop_assert_eq!(port, if form == 3 { 8443 } else { 443 });
        }

        /// Reading an entry ends, and what it opens without settings is what it says.
        #[test]
        fn any_text_is_read_or_refused(text in "(https?://)?[a-z*.{}:/\\[\\]0-9@-]{0,30}|\\PC{0,30}") {
            if let Ok(entry) = AllowEntry::parse(&text)
                && let Ok(Some(Opening::Exact(origin))) = entry.resolve(&Map::new())
            {
                prop_assert_eq!(Origin::parse(&text).expect("an origin"), origin);
            }
        }
    }

    #[test]
    fn entries_that_open_other_peoples_names_are_refused() {
        for entry in [
            "",
            "*",
            "https://*",
            "https://*.com",
            "https://*.co.uk",
            "https://*.com.au",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://a*.example.com",
            "https://*a.example.com",
            "*.example.com",
            "https://{settings.host}",
            "https://{settings.a}.com",
            "https://{settings.a}.co.uk",
            "https://example.{settings.tld}",
            "https://a.{settings.b}.com",
            "https://a.example:{settings.port}",
            "https://{settings.}.a.example.com",
            "https://{other.x}.api.example.com",
            "https://{settings.x.api.example.com",
            "https://{settings.a}{settings.b}.com",
            "{settings.url}/path",
            "{settings.scheme}://a.example",
            "https://a.example/path",
            "https://localhost",
            "https://10.0.0.{settings.d}",
            "https://*.0.0.1",
            "https://user@a.example",
            "wss://a.example",
        ] {
            assert!(AllowEntry::parse(entry).is_err(), "{entry}");
        }
    }
}
