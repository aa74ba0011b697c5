//! What another version of a function changes, for whoever decides whether to run it. Pure.
//!
//! Guarantees: everything that a version may reach, bind or ask for is compared; a change that makes settings which fit the
//! old version unfit for the new one is named as breaking.

use std::collections::BTreeSet;

use super::settings::type_name;
use crate::model::{Manifest, Setting};

/// What came and what went, sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Only in the new version.
    pub added: Vec<String>,
    /// Only in the old version.
    pub removed: Vec<String>,
}

impl Changed {
    /// Compares two sets.
    pub fn between(old: impl IntoIterator<Item = String>, new: impl IntoIterator<Item = String>) -> Self {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
        Self { added: new.difference(&old).cloned().collect(), removed: old.difference(&new).cloned().collect() }
    }
}

/// A limit that is asked for: its name, the old and the new value.
pub type ChangedLimit = (&'static str, Option<u64>, Option<u64>);

/// What differs between two manifests.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// What may be reached.
    pub hosts: Changed,
    /// Settings that are secret.
    pub secrets: Changed,
    /// Secrets whose values the function itself reads.
    pub reveals: Changed,
    /// Event types.
    pub events: Changed,
    /// Fields of events that are read.
    pub fields: Changed,
    /// Settings by name.
    pub settings: Changed,
    /// Settings that both have, and that differ.
    pub changed_settings: Vec<String>,
    /// Limits that differ.
    pub limits: Vec<ChangedLimit>,
    /// Why settings that fit the old version may not fit the new one; empty if all do.
    pub breaking: Vec<String>,
}

/// Compares a version with one that is to come in its place.
pub fn compare(old: &Manifest, new: &Manifest) -> Comparison {
    let names = |manifest: &Manifest, which: fn(&Setting) -> bool| {
        let some = manifest.settings.iter().filter(|(_, setting)| which(setting));
        some.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let events = |manifest: &Manifest| manifest.events.iter().map(ToString::to_string).collect::<Vec<_>>();
    let both = new.settings.iter().filter(|(name, setting)| old.settings.get(*name).is_some_and(|old| old != *setting));
    Comparison {
        hosts: Changed::between(old.egress.allow.clone(), new.egress.allow.clone()),
        secrets: Changed::between(names(old, |one| one.secret), names(new, |one| one.secret)),
        reveals: Changed::between(names(old, |one| one.reveal), names(new, |one| one.reveal)),
        events: Changed::between(events(old), events(new)),
        fields: Changed::between(old.reads.paths().to_vec(), new.reads.paths().to_vec()),
        settings: Changed::between(names(old, |_| true), names(new, |_| true)),
        changed_settings: both.map(|(name, _)| name.clone()).collect(),
        limits: limits(old, new),
        breaking: new.settings.iter().filter_map(|(name, new)| breaking(name, old.settings.get(name), new)).collect(),
    }
}

fn limits(old: &Manifest, new: &Manifest) -> Vec<ChangedLimit> {
    let (old, new) = (&old.limits, &new.limits);
    let all = [
        ("cpu_ms", old.cpu_ms, new.cpu_ms),
        ("deadline_ms", old.deadline_ms, new.deadline_ms),
        ("memory_bytes", old.memory_bytes, new.memory_bytes),
    ];
    all.into_iter().filter(|(_, old, new)| old != new).collect()
}

/// Why a value that the old version took, or did without, may be wrong for the new one.
fn breaking(name: &str, old: Option<&Setting>, new: &Setting) -> Option<String> {
    let demanded = |setting: &Setting| setting.required && setting.default.is_none();
    let Some(old) = old else {
        return demanded(new).then(|| format!("`{name}` is new and required"));
    };
    if old.kind != new.kind {
        return Some(format!(
            "`{name}` was of type `{}` and is of type `{}`",
            type_name(old.kind),
            type_name(new.kind)
        ));
    }
    if demanded(new) && !demanded(old) {
        return Some(format!("`{name}` was optional and is required"));
    }
    if demanded(new) && new.when != old.when && !old.when.is_empty() {
        return Some(format!("`{name}` is required where it was not (`when`)"));
    }
    if old.secret && !new.secret {
        return Some(format!("`{name}` was a secret and is none: its value has to be given again"));
    }
    let gone: Vec<_> = old.choices.iter().filter(|choice| !new.choices.contains(choice)).cloned().collect();
    if !new.choices.is_empty() && old.choices.is_empty() {
        return Some(format!("`{name}` took any text and takes only `{}`", new.choices.join("`, `")));
    }
    if !new.choices.is_empty() && !gone.is_empty() {
        return Some(format!("`{name}` no longer takes `{}`", gone.join("`, `")));
    }
    match &new.pattern {
        Some(pattern) if old.pattern.as_ref() != Some(pattern) => Some(format!("`{name}` must now match `{pattern}`")),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(settings: &str) -> Manifest {
        let text = format!("name = \"f\"\nversion = \"1\"\nevents = [\"track\"]\n[settings]\n{settings}");
        super::super::manifest::parse(&text).unwrap()
    }

    #[test]
    fn only_what_makes_fitting_settings_unfit_is_breaking() {
        let old = "a = { type = \"string\" }\nb = { type = \"string\", choices = [\"x\", \"y\"] }\n\
                   s = { type = \"string\", secret = true }\n\
                   w = { type = \"string\", required = true, when = { a = \"x\" } }";
        let cases = [
            ("", None),
            ("n = { type = \"string\" }", None),
            ("n = { type = \"string\", required = true, default = \"d\" }", None),
            ("n = { type = \"string\", required = true }", Some("`n` is new and required")),
            ("a = { type = \"string\", required = true }", Some("`a` was optional and is required")),
            ("a = { type = \"number\" }", Some("`a` was of type `string` and is of type `number`")),
            ("a = { type = \"string\", label = \"A\" }", None),
            ("s = { type = \"string\" }", Some("`s` was a secret and is none: its value has to be given again")),
            ("w = { type = \"string\", required = true }", Some("`w` is required where it was not (`when`)")),
            ("a = { type = \"string\", pattern = \"x+\" }", Some("`a` must now match `x+`")),
            ("a = { type = \"string\", choices = [\"x\"] }", Some("`a` took any text and takes only `x`")),
            ("b = { type = \"string\", choices = [\"x\"] }", Some("`b` no longer takes `y`")),
            ("b = { type = \"string\", choices = [\"x\", \"y\", \"z\"] }", None),
            ("b = { type = \"string\" }", None),
        ];
        for (new, expected) in cases {
            let found = compare(&manifest(old), &manifest(new)).breaking;
            assert_eq!(found.first().map(String::as_str), expected, "{new}");
            assert!(found.len() < 2);
        }
    }

    #[test]
    fn what_came_went_and_changed_is_named() {
        let old = "name = \"f\"\nversion = \"1\"\nevents = [\"track\"]\n[egress]\nallow = [\"https://a.com\"]\n\
                   [settings.k]\ntype = \"string\"\nsecret = true\n[settings.n]\ntype = \"number\"\n[limits]\ncpu_ms = 50\n";
        let new = "name = \"f\"\nversion = \"2\"\nevents = [\"track\", \"page\"]\nreads = [\"userId\"]\n[egress]\nallow = [\"https://b.com\"]\n\
                   [settings.k]\ntype = \"string\"\n[settings.s]\ntype = \"string\"\nsecret = true\n";
        let parse = |text| super::super::manifest::parse(text).unwrap();
        let found = compare(&parse(old), &parse(new));
        let one = |text: &str| vec![text.to_owned()];
        assert_eq!(found.hosts, Changed { added: one("https://b.com"), removed: one("https://a.com") });
        assert_eq!(found.secrets, Changed { added: one("s"), removed: one("k") });
        assert_eq!(found.events, Changed { added: one("page"), removed: vec![] });
        assert_eq!(found.fields, Changed { added: one("userId"), removed: one("*") });
        assert_eq!(found.settings, Changed { added: one("s"), removed: one("n") });
        assert_eq!(found.changed_settings, ["k"]);
        assert_eq!(found.limits, [("cpu_ms", Some(50), None)]);
        assert_eq!(compare(&parse(new), &parse(new)), Comparison::default());
    }
}
