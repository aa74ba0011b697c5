//! Keeps secrets inside: what is shown instead of them, and what that means when it comes back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::api::Problem;
use crate::model::{Destination, Manifest, Secret};
use crate::store::NewSecret;

/// What is shown instead of a secret.
pub(super) const MASK: &str = "••••";

/// The settings as they may be shown. What the manifest does not name is masked too: an older version may have
/// called it a secret.
pub(super) fn masked(manifest: &Manifest, destination: &Destination) -> Map<String, Value> {
    let mut settings = destination.settings.clone();
    for (name, value) in &mut settings {
        if manifest.settings.get(name).is_none_or(|setting| setting.secret) {
            *value = Value::from(MASK);
        }
    }
    settings.extend(destination.secrets.keys().map(|name| (name.clone(), Value::from(MASK))));
    settings
}

/// Takes the masks out of new settings: they stand for secrets that are stored, as a client sends them that read, changed and
/// wrote back. What is left are values; the names are those that stay.
///
/// # Errors
/// A mask where nothing is stored.
pub(super) fn kept(
    manifest: &Manifest,
    new: &mut Map<String, Value>,
    old: Option<&Destination>,
) -> Result<BTreeSet<String>, Problem> {
    let mut kept = BTreeSet::new();
    for (name, _) in manifest.settings.iter().filter(|(_, setting)| setting.secret) {
        if new.get(name).is_none_or(|value| *value != MASK) {
            continue;
        }
        if old.is_none_or(|old| !old.secrets.contains_key(name)) {
            // Nobody's secret is the mask; who sends it as one has copied what was shown.
            let detail = format!("`{name}` is `{MASK}`, which only stands for a secret: give the secret itself");
            return Err(Problem::unprocessable("invalid_settings", detail));
        }
        new.remove(name);
        kept.insert(name.clone());
    }
    Ok(kept)
}

/// A stored destination's settings after a change to some of them.
#[derive(PartialEq, Debug)]
pub(super) struct Merged {
    /// What is to be checked: the values that the manifest knows, without stored secrets, and whatever the change names.
    pub(super) settings: Map<String, Value>,
    /// The secrets that stay as they are stored.
    pub(super) kept: BTreeSet<String>,
    /// What another version declared: it is not for this one, and stays for the way back.
    pub(super) aside: Map<String, Value>,
}

/// Applies a JSON merge patch (RFC 7396) to a destination's settings: what it does not name stays, secrets too, and `null` takes away.
///
/// # Errors
/// A mask where nothing is stored.
pub(super) fn merged(manifest: &Manifest, old: &Destination, mut patch: Map<String, Value>) -> Result<Merged, Problem> {
    let masks = kept(manifest, &mut patch, Some(old))?;
    let untouched = old.secrets.keys().filter(|name| !patch.contains_key(*name)).cloned();
    let kept: BTreeSet<String> = masks.into_iter().chain(untouched).collect();
    let known =
        |name: &String| manifest.open_settings || manifest.settings.contains_key(name) || patch.contains_key(name);
    let (mut settings, mut aside) = (Map::new(), Map::new());
    // Where both are stored, the sealed one is what deliveries get.
    for (name, value) in old.settings.iter().filter(|(name, _)| !kept.contains(*name)) {
        let place = if known(name) { &mut settings } else { &mut aside };
        place.insert(name.clone(), value.clone());
    }
    merge(&mut settings, patch);
    Ok(Merged { settings, kept, aside })
}

/// RFC 7396, for objects.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, change) in patch {
        match change {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(change) => {
                let mut inner = match target.remove(&name) {
                    Some(Value::Object(inner)) => inner,
                    _ => Map::new(),
                };
                merge(&mut inner, change);
                target.insert(name, Value::Object(inner));
            }
            value => {
                target.insert(name, value);
            }
        }
    }
}

/// Takes the secrets out of settings that were checked.
pub(super) fn secrets(
    manifest: &Manifest,
    settings: &mut Map<String, Value>,
    kept: BTreeSet<String>,
) -> BTreeMap<String, NewSecret> {
    let mut secrets: BTreeMap<_, _> = kept.into_iter().map(|name| (name, NewSecret::Keep)).collect();
    for (name, setting) in manifest.settings.iter().filter(|(_, setting)| setting.secret) {
        match settings.remove(name) {
            Some(Value::String(value)) if !value.is_empty() => {
                let value = Secret::new(value);
                secrets.insert(name.clone(), NewSecret::Set { value, revealed: setting.reveal });
            }
            // Not given, or given as nothing.
            _ => {}
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DestinationId, FunctionId, Sealed, Timestamp, VersionId, WorkspaceId};
    use serde_json::json;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({"name": "f", "version": "1", "events": ["track"],
            "settings": {"key": {"type": "string", "secret": true}, "room": {"type": "string"},
                "shown": {"type": "string", "secret": true, "reveal": true}}}))
        .unwrap()
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn destination(settings: Value) -> Destination {
        let now = Timestamp::from_millis(1);
        let sealed = Sealed { version: 1, revealed: false, bytes: Vec::new() };
        Destination {
            id: DestinationId::new(now),
            workspace: WorkspaceId::new(now),
            name: "d".to_owned(),
            function: FunctionId::new(now),
            pinned: None,
            held: None,
            consented: VersionId::new(now),
            settings: map(settings),
            secrets: [("key".to_owned(), sealed)].into(),
            rate: None,
            enabled: true,
            paused: false,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn secrets_and_unknown_settings_are_masked() {
        let shown = masked(&manifest(), &destination(json!({"room": "a", "old": "b", "shown": "plain of old"})));
        assert_eq!(shown, map(json!({"key": MASK, "room": "a", "old": MASK, "shown": MASK})));
    }

    #[test]
    fn a_merge_patch_changes_what_it_names_and_nothing_else() {
        // The cases of RFC 7396's appendix that begin and end with objects.
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = map(target);
            merge(&mut merged, map(patch.clone()));
            assert_eq!(merged, map(expected), "{patch}");
        }
    }

    #[test]
    fn a_merge_keeps_secrets_that_it_does_not_name_and_what_other_versions_declared() {
        let old = destination(json!({"room": "a", "old": "b"}));
        let merged = |patch: Value| super::merged(&manifest(), &old, map(patch)).map_err(|_| ());
        let key = || BTreeSet::from(["key".to_owned()]);
        let other = || map(json!({"old": "b"}));
        for (patch, settings, kept, aside) in [
            (json!({}), json!({"room": "a"}), key(), other()),
            (json!({"room": "c"}), json!({"room": "c"}), key(), other()),
            (json!({"room": null}), json!({}), key(), other()),
            (json!({"key": MASK}), json!({"room": "a"}), key(), other()),
            (json!({"key": "new"}), json!({"room": "a", "key": "new"}), BTreeSet::new(), other()),
            (json!({"key": null}), json!({"room": "a"}), BTreeSet::new(), other()),
            (json!({"old": null}), json!({"room": "a"}), key(), Map::new()),
            // Named, so it is checked, and found to be unknown.
            (json!({"old": "c"}), json!({"room": "a", "old": "c"}), key(), Map::new()),
        ] {
            let expected = Merged { settings: map(settings), kept, aside };
            assert_eq!(merged(patch.clone()), Ok(expected), "{patch}");
        }
        assert_eq!(merged(json!({"shown": MASK})), Err(()));
    }

    #[test]
    fn a_mask_that_comes_back_means_the_old_secret() {
        let old = destination(json!({"room": "a"}));
        let mut new = map(json!({"key": MASK, "room": MASK, "shown": "s"}));
        let kept = kept(&manifest(), &mut new, Some(&old)).unwrap();
        let secrets = secrets(&manifest(), &mut new, kept);
        assert_eq!(new, map(json!({"room": MASK})));
        let set = NewSecret::Set { value: Secret::new("s".to_owned()), revealed: true };
        assert_eq!(secrets, [("key".to_owned(), NewSecret::Keep), ("shown".to_owned(), set)].into());
        for (settings, old) in [(json!({"key": MASK}), None), (json!({"shown": MASK}), Some(&old))] {
            assert!(super::kept(&manifest(), &mut map(settings), old).is_err());
        }
    }
}
