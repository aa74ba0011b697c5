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
