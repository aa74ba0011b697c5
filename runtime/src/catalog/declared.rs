//! Before any event: the settings that a module declares become part of its manifest.
//!
//! A type that derives `Settings` (see `guest-sdk`) leaves one line of JSON in the custom section
//! `tidegate:settings`: an object with the same keys as `[settings]` in `function.toml`.
//!
//! Guarantees: where both say what the settings are, they say the same. Whether the settings make sense is
//! [`manifest`](super::manifest)'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use crate::model::Setting;

/// The custom section of a core module that declares its settings.
const SETTINGS_SECTION: &str = "tidegate:settings";

/// Settings that cannot be taken from a module.
#[derive(Debug, thiserror::Error)]
pub enum DeclaredError {
    /// Not what the derive writes.
    #[error("the section `{SETTINGS_SECTION}` of this module cannot be read: {0}; use the same `tidegate-sdk`")]
    Unreadable(String),
    /// Several types that declare.
    #[error("this module has {0} structs that derive `Settings`; a function has one form to fill in")]
    Several(usize),
    /// The manifest says something else.
    #[error(
        "`[settings.{name}]` in `function.toml` disagrees with the type that derives `Settings`: {problem}; \
         leave `[settings]` out, and it is made of the type"
    )]
    Disagree {
        /// Which setting.
        name: String,
        /// In what.
        problem: String,
    },
}

#[derive(Deserialize, Serialize)]
struct Settings {
    settings: BTreeMap<String, Setting>,
}

/// The manifest's text with the settings that this module declares, if it does.
///
/// # Errors
/// If they cannot be read or the manifest has others.
pub(super) fn merged(manifest_toml: &str, module: &[u8]) -> Result<String, DeclaredError> {
    let Some(declared) = declared(module)? else { return Ok(manifest_toml.to_owned()) };
    if has_settings(manifest_toml) {
        // A manifest that cannot be read is reported by whoever reads it next, with the line.
        if let Ok(written) = toml::from_str::<Settings>(manifest_toml) {
            compare(&written.settings, &declared)?;
        }
        return Ok(manifest_toml.to_owned());
    }
    let settings = toml::to_string(&Settings { settings: declared });
    let settings = settings.map_err(|error| DeclaredError::Unreadable(error.to_string()))?;
    Ok(format!("{}\n\n{settings}", manifest_toml.trim_end()))
}

/// Whether a manifest says itself what the settings are; so does one that is no TOML, for there is nothing to add to it.
pub(super) fn has_settings(manifest_toml: &str) -> bool {
    toml::from_str::<toml::Table>(manifest_toml).map_or(true, |manifest| manifest.contains_key("settings"))
}

fn declared(module: &[u8]) -> Result<Option<BTreeMap<String, Setting>>, DeclaredError> {
    let unreadable = |error: &dyn std::fmt::Display| DeclaredError::Unreadable(error.to_string());
    let mut text = String::new();
    for payload in Parser::new(0).parse_all(module) {
        // A module that is no module is reported by whoever makes a component of it.
        let Ok(payload) = payload else { return Ok(None) };
        if let Payload::CustomSection(section) = payload
            && section.name() == SETTINGS_SECTION
        {
            text.push_str(std::str::from_utf8(section.data()).map_err(|error| unreadable(&error))?);
        }
    }
    match text.lines().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [line] => serde_json::from_str(line).map(Some).map_err(|error| unreadable(&error)),
        ref lines => Err(DeclaredError::Several(lines.len())),
    }
}

fn compare(written: &BTreeMap<String, Setting>, declared: &BTreeMap<String, Setting>) -> Result<(), DeclaredError> {
    let disagree = |name: &str, problem: String| Err(DeclaredError::Disagree { name: name.to_owned(), problem });
    if let Some(name) = written.keys().find(|name| !declared.contains_key(*name)) {
        return disagree(name, "the type has no such field".to_owned());
    }
    for (name, declared) in declared {
        let Some(written) = written.get(name) else {
            return disagree(name, "the type has this field, the manifest has it not".to_owned());
        };
        let (written, declared) = (serde_json::json!(written), serde_json::json!(declared));
        let keys =
            ["type", "secret", "reveal", "required", "default", "label", "description", "choices", "pattern", "bind"];
        if let Some(key) = keys.into_iter().find(|key| written.get(key) != declared.get(key)) {
            let shown = |of: &serde_json::Value| of.get(key).map_or("nothing".to_owned(), |value| format!("`{value}`"));
            return disagree(name, format!("its `{key}` is {} here and {} there", shown(&written), shown(&declared)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "name = \"probe\"\nversion = \"1\"\nevents = [\"track\"]\n[egress]\nallow = [\"{settings.url}\"]\n";

    /// A module with these sections.
    fn module(sections: &[&str]) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        for text in sections {
            module
                .section(&wasm_encoder::CustomSection { name: SETTINGS_SECTION.into(), data: text.as_bytes().into() });
        }
        module.finish()
    }

    const URL: &str = "{\"url\":{\"type\":\"string\",\"label\":\"URL\",\"required\":true}}\n";

    #[test]
    fn a_manifest_without_settings_gets_those_of_the_module() {
        let merged = merged(MANIFEST, &module(&[URL])).unwrap();
        assert!(merged.starts_with(MANIFEST.trim_end()), "{merged}");
        let manifest = super::super::manifest::parse(&merged).unwrap();
        assert!(manifest.settings["url"].required);
        assert_eq!(manifest.settings["url"].label.as_deref(), Some("URL"));
    }

    #[test]
    fn a_module_that_declares_nothing_leaves_the_manifest_alone() {
        for bytes in [&module(&[])[..], b"(module)", b""] {
            assert_eq!(merged(MANIFEST, bytes).unwrap(), MANIFEST);
        }
    }

    #[test]
    fn two_that_disagree_are_refused_by_the_name_of_the_field() {
        let with = |setting: &str| format!("{MANIFEST}[settings]\n{setting}\n");
        let good = "url = { type = \"string\", label = \"URL\", required = true }";
        let declared = module(&[URL]);
        assert_eq!(merged(&with(good), &declared).unwrap(), with(good));
        let cases = [
            (
                good.replace("string", "number"),
                "`[settings.url]`",
                "its `type` is `\"number\"` here and `\"string\"` there",
            ),
            (good.replace("true", "false"), "`[settings.url]`", "its `required` is `false` here and `true` there"),
            (good.replace("label = \"URL\", ", ""), "`[settings.url]`", "its `label` is nothing here"),
            (format!("{good}\nkey = {{ type = \"string\" }}"), "`[settings.key]`", "the type has no such field"),
            (String::new(), "`[settings.url]`", "the manifest has it not"),
        ];
        for (setting, name, problem) in cases {
            let message = merged(&with(&setting), &declared).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(problem), "{message}");
        }
    }

    #[test]
    fn what_no_derive_wrote_is_refused() {
        let cases =
            [(vec!["{"], "cannot be read"), (vec!["{\"a\":3}\n"], "cannot be read"), (vec![URL, URL], "2 structs")];
        for (sections, expected) in cases {
            let message = merged(MANIFEST, &module(&sections)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_section_makes_it_panic(text in ".{0,200}") {
            let _ = merged(MANIFEST, &module(&[&text]));
            let _ = merged(&text, &module(&[URL]));
        }
    }
}
