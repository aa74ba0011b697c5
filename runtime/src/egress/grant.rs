//! What one destination's function may reach: its manifest's entries with that destination's settings filled in.
//!
//! Guarantees: nothing named, nothing reachable; two grants are equal only if they belong to the same scope and open
//! the same origins, so nothing that is kept for one (a pooled connection) serves another.
//!
//! Leaves to others: the forms of entries (`policy`).

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use serde_json::{Map, Value};

use super::{
    origin::Origin,
    policy::{AllowEntry, Opening, PolicyError},
    secrets::{HandleKey, Secrets},
};
use crate::model::Manifest;

/// A compiled policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Grant(Arc<Inner>);

#[derive(PartialEq, Eq, Hash, Debug)]
struct Inner {
    scope: Box<str>,
    openings: Vec<Opening>,
    entries: Vec<Arc<str>>,
}

impl Grant {
    /// Compiles a manifest's entries with one destination's settings (defaults filled in). `scope` names for whom, such
    /// as a destination's id: grants of different scopes share nothing.
    pub fn new(allow: &[String], settings: &Map<String, Value>, scope: &str) -> Result<Self, PolicyError> {
        let mut openings = Vec::with_capacity(allow.len());
        let mut entries = Vec::with_capacity(allow.len());
        for text in allow {
            let entry = AllowEntry::parse(text)?;
            openings.extend(entry.resolve(settings)?);
            entries.push(entry.as_str().into());
        }
        Ok(Self(Arc::new(Inner { scope: scope.into(), openings, entries })))
    }

    /// What a manifest and one destination's settings grant, with the secrets that go with it: they are taken out of the
    /// settings, where handles stand afterwards. `scope` is as for [`Grant::new`].
    ///
    /// # Errors
    /// An origin that the settings do not fit, in the manifest's entries or in a `bind`.
    pub fn with_secrets(
        manifest: &Manifest,
        settings: &mut Map<String, Value>,
        scope: &str,
        key: &HandleKey,
    ) -> Result<(Self, Secrets), PolicyError> {
        let grant = Self::new(&manifest.egress.allow, settings, scope)?;
        Ok((grant, Secrets::take(manifest, settings, scope, key)?))
    }

    /// Whether an entry opens this origin; if not, what the function may reach instead.
    pub fn judge(&self, origin: &Origin) -> Result<(), String> {
        if self.0.openings.iter().any(|opening| opening.opens(origin)) {
            return Ok(());
        }
        let named = match &self.0.entries[..] {
            [] => "it names nothing".to_owned(),
            entries => format!("it names `{}`", entries.join("`, `")),
        };
        Err(format!("the origin `{origin}` is not in the manifest's `egress.allow`; {named}"))
    }

    /// Whether only a customer's setting names this origin: the manifest has it neither written out nor behind a star.
    pub fn is_filled(&self, origin: &Origin) -> bool {
        let names = |opening: &&Opening| !matches!(opening, Opening::Filled(_)) && opening.opens(origin);
        !self.0.openings.iter().any(|opening| names(&opening))
    }

    /// The hosts that it opens, each once; those behind a star by the name after it.
    pub fn hosts(&self) -> impl Iterator<Item = Arc<str>> {
        let hosts: BTreeSet<Arc<str>> = self.0.openings.iter().map(Opening::host).collect();
        hosts.into_iter()
    }
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Grant {}

impl Hash for Grant {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The scope tells grants apart well enough; equality looks at the rest.
        self.0.scope.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(allow: &[&str], scope: &str) -> Grant {
        let allow: Vec<String> = allow.iter().map(|text| (*text).to_owned()).collect();
        Grant::new(&allow, &Map::new(), scope).expect("a grant")
    }

    #[test]
    fn nothing_named_is_nothing_reachable() {
        let origin = Origin::parse("https://a.example").expect("an origin");
        assert!(grant(&[], "dst_1").judge(&origin).is_err());
        assert!(grant(&["https://b.example"], "dst_1").judge(&origin).is_err());
        assert!(grant(&["https://b.example", "https://a.example"], "dst_1").judge(&origin).is_ok());
    }

    #[test]
    fn grants_of_different_scopes_are_different() {
        assert_eq!(grant(&["https://a.example"], "dst_1"), grant(&["https://a.example"], "dst_1"));
        assert_ne!(grant(&["https://a.example"], "dst_1"), grant(&["https://a.example"], "dst_2"));
        assert_ne!(grant(&["https://a.example"], "dst_1"), grant(&["https://b.example"], "dst_1"));
    }
}
