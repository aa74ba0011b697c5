//! Keeps secrets inside: what is shown instead of them, and what that means when it comes back. Pure.

use serde_json::{Map, Value};

use crate::api::Problem;
use crate::model::Manifest;

/// What is shown instead of a secret.
pub(super) const MASK: &str = "••••";

/// The settings as they may be shown. What the manifest does not name is masked too: an older version may have
/// called it a secret.
pub(super) fn masked(manifest: &Manifest, mut settings: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in &mut settings {
        if manifest.settings.get(name).is_none_or(|setting| setting.secret) {
            *value = Value::from(MASK);
        }
    }
    settings
}

/// New settings in which masks stand for the old secrets, as a client sends them that read, changed and wrote back.
///
/// # Errors
/// A mask where there is no old value.
pub(super) fn unmasked(
    manifest: &Manifest,
    mut new: Map<String, Value>,
    old: &Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    for (name, value) in &mut new {
        let secret = manifest.settings.get(name).is_some_and(|setting| setting.secret);
        if let (true, true, Some(old)) = (secret, *value == MASK, old.get(name)) {
            *value = old.clone();
        }
    }
    refuse_masks(manifest, &new)?;
    Ok(new)
}

/// Nobody's secret is the mask; who sends it as one has copied what was shown.
///
/// # Errors
/// Names the setting.
pub(super) fn refuse_masks(manifest: &Manifest, settings: &Map<String, Value>) -> Result<(), Problem> {
    let is_mask = |(name, value): &(&String, &Value)| {
        **value == MASK && manifest.settings.get(*name).is_some_and(|setting| setting.secret)
    };
    match settings.iter().find(is_mask) {
        None => Ok(()),
        Some((name, _)) => {
            let detail = format!("`{name}` is `{MASK}`, which only stands for a secret: give the secret itself");
            Err(Problem::unprocessable("invalid_settings", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({"name": "f", "version": "1", "events": ["track"],
            "settings": {"key": {"type": "string", "secret": true}, "room": {"type": "string"}}}))
        .unwrap()
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn secrets_and_unknown_settings_are_masked() {
        let shown = masked(&manifest(), map(json!({"key": "s3cret", "room": "a", "old": "b"})));
        assert_eq!(shown, map(json!({"key": MASK, "room": "a", "old": MASK})));
    }

    #[test]
    fn a_mask_that_comes_back_means_the_old_secret() {
        let old = map(json!({"key": "s3cret", "room": "a"}));
        let new = unmasked(&manifest(), map(json!({"key": MASK, "room": MASK})), &old).unwrap();
        assert_eq!(new, map(json!({"key": "s3cret", "room": MASK})));
        assert!(unmasked(&manifest(), map(json!({"key": MASK})), &Map::new()).is_err());
        assert_eq!(unmasked(&manifest(), map(json!({"key": "new"})), &old).unwrap(), map(json!({"key": "new"})));
    }
}
