//! What a function may do, for whoever decides whether to let it: in lists for programs, in plain sentences for people. Pure.
//!
//! Guarantees: every origin, event type, event field and secret that a manifest asks for is in the answer; what one
//! manifest asks for beyond another is named, and nothing else is.

use crate::model::{Bind, Manifest, Place, Setting};

/// What a function may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The origins that it may reach, as the manifest has them.
    pub hosts: Vec<String>,
    /// The types of events that it gets.
    pub events: Vec<String>,
    /// The fields of those events; `*` for all.
    pub fields: Vec<String>,
    /// The secrets that it asks for.
    pub secrets: Vec<SecretUse>,
    /// All of that for people.
    pub sentences: Vec<String>,
}

/// What becomes of a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretUse {
    /// The setting.
    pub name: String,
    /// What the customer knows it by.
    pub label: String,
    /// Whether the function itself gets to read it.
    pub revealed: bool,
    /// Where the host writes it, such as `bearer of https://api.example.com`.
    pub places: Vec<String>,
}

/// What a function with this manifest may do.
pub fn access(manifest: &Manifest) -> Access {
    let secrets: Vec<SecretUse> = secrets(manifest).map(|(name, setting)| secret(name, setting)).collect();
    let mut sentences = vec![hosts(manifest), fields(manifest)];
    sentences.extend(secrets.iter().map(|secret| told(secret, &manifest.settings[&secret.name], manifest)));
    if secrets.is_empty() {
        sentences.push("It asks for no secret.".to_owned());
    }
    Access {
        hosts: manifest.egress.allow.clone(),
        events: manifest.events.iter().map(ToString::to_string).collect(),
        fields: manifest.reads.paths().to_vec(),
        secrets,
        sentences,
    }
}

/// What `new` may do that `old` may not, in sentences; none if a customer who let the old one run need not be asked again.
pub fn wider(old: &Manifest, new: &Manifest) -> Vec<String> {
    let mut found = Vec::new();
    let hosts = new.egress.allow.iter().filter(|origin| !old.egress.allow.contains(origin));
    found.extend(hosts.map(|origin| format!("It also sends to {}.", host(origin, new))));
    found.extend(new.settings.iter().filter_map(|(name, setting)| led(name, old.settings.get(name), setting, new)));
    let events: Vec<_> =
        new.events.iter().filter(|event| !old.events.contains(event)).map(|one| one.as_str()).collect();
    if !events.is_empty() {
        found.push(format!("It also gets {} events.", list(&events)));
    }
    let fields = new.reads.beyond(&old.reads);
    if !fields.is_empty() {
        let fields: Vec<_> = fields.iter().map(|path| field(path)).collect();
        found.push(format!("It also reads {} of each event.", list(&fields)));
    }
    for (name, setting) in &new.settings {
        let before = old.settings.get(name);
        let label = label(name, setting);
        let was_secret = before.is_some_and(|before| before.secret && !before.reveal);
        let reads = setting.reveal || !setting.secret;
        if reads && (was_secret || setting.reveal && before.is_none_or(|before| !before.reveal && before.secret)) {
            found.push(format!("It reads your “{label}” itself."));
        }
        let known = |bind: &Bind| before.is_some_and(|before| before.bind.contains(bind));
        let places: Vec<_> = setting.bind.iter().filter(|bind| !known(bind)).map(|bind| place(bind, new)).collect();
        if !places.is_empty() {
            found.push(format!("Your “{label}” is also written into its requests: {}.", list(&places)));
        }
    }
    found
}

/// Where requests go that a customer who entered nothing did not send there before: a default that is part of an address is one.
fn led(name: &str, old: Option<&Setting>, new: &Setting, manifest: &Manifest) -> Option<String> {
    let default =
        new.default.as_ref().filter(|default| old.is_none_or(|old| old.default.as_ref() != Some(*default)))?;
    let place = format!("{{settings.{name}}}");
    let binds = manifest.settings.values().flat_map(|setting| &setting.bind).map(|bind| &bind.origin);
    let leads = manifest.egress.allow.iter().chain(binds).any(|origin| origin.contains(&place));
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    leads.then(|| {
        format!("Where you enter no “{}”, it takes {default} as the address, or as part of it.", label(name, new))
    })
}

fn secrets(manifest: &Manifest) -> impl Iterator<Item = (&String, &Setting)> {
    manifest.settings.iter().filter(|(_, setting)| setting.secret)
}

fn secret(name: &str, setting: &Setting) -> SecretUse {
    let place = |bind: &Bind| {
        let name = bind.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        format!("{}{name} of {}", bind.place.as_str(), bind.origin)
    };
    SecretUse {
        name: name.to_owned(),
        label: label(name, setting),
        revealed: setting.reveal,
        places: setting.bind.iter().map(place).collect(),
    }
}

fn label(name: &str, setting: &Setting) -> String {
    setting.label.clone().unwrap_or_else(|| name.to_owned())
}

fn hosts(manifest: &Manifest) -> String {
    let all: Vec<_> = manifest.egress.allow.iter().map(|origin| host(origin, manifest)).collect();
    match all.is_empty() {
        true => "It sends to nobody: no request of it leaves this host.".to_owned(),
        false => format!("It sends to {}, and to nobody else.", list(&all)),
    }
}

/// An origin, with what the customer enters by the name that is in the form.
fn host(origin: &str, manifest: &Manifest) -> String {
    let label =
        |name: &str| manifest.settings.get(name).map_or_else(|| name.to_owned(), |setting| label(name, setting));
    if let Some(name) = origin.strip_prefix("{settings.").and_then(|rest| rest.strip_suffix('}')) {
        return format!("the address that you enter as “{}”", label(name));
    }
    let mut parts = origin.split("{settings.");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        text.push_str(&format!("[your “{}”]{rest}", label(name)));
    }
    match text.split_once("://*.") {
        Some((scheme, rest)) => format!("every host below {rest} ({scheme})"),
        None => text,
    }
}

fn fields(manifest: &Manifest) -> String {
    let events: Vec<_> = manifest.events.iter().map(|event| event.as_str()).collect();
    let events = list(&events);
    if manifest.reads.is_everything() {
        return format!("It gets whole {events} events, with everything that is in them.");
    }
    let fields: Vec<_> = manifest.reads.paths().iter().map(|path| field(path)).collect();
    match fields.is_empty() {
        true => format!("Of {events} events it gets the type, an id and the time, and nothing that they say."),
        false => format!("Of {events} events it gets {}, and nothing else that they say.", list(&fields)),
    }
}

fn field(path: &str) -> String {
    match path {
        "*" => "everything".to_owned(),
        path => path.strip_suffix(".*").map_or_else(|| path.to_owned(), |all| format!("everything in {all}")),
    }
}

fn told(secret: &SecretUse, setting: &Setting, manifest: &Manifest) -> String {
    let SecretUse { label, revealed, .. } = secret;
    let places: Vec<_> = setting.bind.iter().map(|bind| place(bind, manifest)).collect();
    match (revealed, places.is_empty()) {
        (true, _) => format!("It reads your “{label}” itself, and may send it to whom it sends."),
        (false, true) => format!("It never sees your “{label}”, and this host sends it nowhere."),
        (false, false) => {
            format!("It never sees your “{label}”: this host writes it into its requests, {}.", list(&places))
        }
    }
}

fn place(bind: &Bind, manifest: &Manifest) -> String {
    let to = host(&bind.origin, manifest);
    let name = bind.name.as_deref().unwrap_or_default();
    match bind.place {
        Place::Bearer => format!("as the key of those to {to}"),
        Place::BasicUser => format!("as the user of those to {to}"),
        Place::BasicPassword => format!("as the password of those to {to}"),
        Place::Header => format!("in the header {name} of those to {to}"),
        Place::Query => format!("in the parameter {name} of those to {to}"),
        Place::Path => format!("in the path of those to {to}"),
        Place::Body => format!("in the body of those to {to}"),
        Place::SignHmacSha256 | Place::SignAwsSigv4 => format!("as a signature of those to {to}"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items[..] {
        [] => "nothing".to_owned(),
        [one] => one.to_owned(),
        [ref first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventType;

    const HEAD: &str = "name = \"f\"\nversion = \"1\"\nevents = [\"track\", \"page\"]\n";

    fn manifest(more: &str) -> Manifest {
        super::super::manifest::parse(&format!("{HEAD}{more}")).unwrap()
    }

    #[test]
    fn what_a_function_may_do_is_said_in_plain_words() {
        let asks = manifest(
            "reads = [\"userId\", \"properties.*\"]\n[egress]\n\
             allow = [\"https://hooks.slack.com\", \"https://{settings.zone}.example.com\", \"{settings.url}\", \"https://*.zendesk.com\"]\n\
             [settings.key]\ntype = \"string\"\nlabel = \"API key\"\nsecret = true\n\
             bind = [{ origin = \"https://hooks.slack.com\", place = \"header\", name = \"x-key\" }]\n\
             [settings.pass]\ntype = \"string\"\nsecret = true\nreveal = true\n\
             [settings.zone]\ntype = \"string\"\n[settings.url]\ntype = \"string\"\nlabel = \"URL\"\n",
        );
        let found = access(&asks);
        assert_eq!(
            found.sentences,
            [
                "It sends to https://hooks.slack.com, https://[your “zone”].example.com, the address that you enter as “URL” \
             and every host below zendesk.com (https), and to nobody else.",
                "Of track and page events it gets userId and everything in properties, and nothing else that they say.",
                "It never sees your “API key”: this host writes it into its requests, in the header x-key of those to \
             https://hooks.slack.com.",
                "It reads your “pass” itself, and may send it to whom it sends.",
            ]
        );
        assert_eq!(found.fields, ["userId", "properties.*"]);
        assert_eq!(found.secrets[0].places, ["header x-key of https://hooks.slack.com"]);
        assert_eq!(
            access(&manifest("")).sentences,
            [
                "It sends to nobody: no request of it leaves this host.",
                "It gets whole track and page events, with everything that is in them.",
                "It asks for no secret.",
            ]
        );
        let nothing = access(&manifest("reads = []\n"));
        assert!(nothing.sentences[1].contains("nothing that they say"), "{nothing:?}");
    }

    #[test]
    fn only_what_reaches_further_is_wider() {
        let key = |more: &str| format!("[settings.key]\ntype = \"string\"\nsecret = true\n{more}");
        let old = format!(
            "reads = [\"userId\", \"properties.*\"]\n[egress]\nallow = [\"https://a.com\", \"https://b.com\"]\n{}",
            key("bind = [{ origin = \"https://a.com\", place = \"bearer\" }]\n")
        );
        let cases = [
            (old.clone(), None),
            (old.replace("\"properties.*\"", "\"properties.total\""), None),
            (old.replace(", \"https://b.com\"", ""), None),
            (format!("{old}[limits]\ncpu_ms = 50\n"), None),
            (format!("{old}[settings.note]\ntype = \"string\"\n"), None),
            (format!("{old}[settings.new]\ntype = \"string\"\nsecret = true\n"), None),
            (old.replace("b.com", "c.com"), Some("It also sends to https://c.com.")),
            (
                old.replace("\"userId\"", "\"userId\", \"traits.email\""),
                Some("It also reads traits.email of each event."),
            ),
            (
                old.replace("reads = [\"userId\", \"properties.*\"]\n", ""),
                Some("It also reads everything of each event."),
            ),
            (
                old.replace("a.com\", place", "b.com\", place"),
                Some("Your “key” is also written into its requests: as the key of those to https://b.com."),
            ),
            (old.replace("bind = [{", "reveal = true\nbind = [{"), Some("It reads your “key” itself.")),
            (
                old.split("[settings.key]").next().unwrap().to_owned() + "[settings.key]\ntype = \"string\"\n",
                Some("It reads your “key” itself."),
            ),
        ];
        for (new, expected) in cases {
            let found = wider(&manifest(&old), &manifest(&new));
            assert_eq!(found.first().map(String::as_str), expected, "{new}");
            assert!(found.len() < 2, "{found:?}");
        }
        let at = |default: &str| {
            manifest(&format!(
                "[egress]\nallow = [\"https://{{settings.region}}.a.com\"]\n[settings.region]\ntype = \"string\"\n{default}"
            ))
        };
        let led = ["Where you enter no “region”, it takes eu as the address, or as part of it."];
        assert_eq!(wider(&at("default = \"us\""), &at("default = \"eu\"")), led);
        assert_eq!(wider(&at(""), &at("default = \"eu\"")), led);
        assert_eq!(wider(&at("default = \"eu\""), &at("default = \"eu\"")), [""; 0]);
        assert_eq!(wider(&at("default = \"eu\""), &at("")), [""; 0]);
        let old_events = manifest(&old).events;
        let more = Manifest { events: [&old_events[..], &[EventType::Identify]].concat(), ..manifest(&old) };
        assert_eq!(wider(&manifest(&old), &more), ["It also gets identify events."]);
    }
}
