//! Before any event: what the author of a manifest should know about its secrets.
//!
//! Guarantees: a finding for each secret that the function could use nowhere, with the line to write. None of them stops
//! a build: such a function runs, and the gate refuses its requests.

use super::javascript_check::{Finding, Severity};
use crate::model::Manifest;

/// Looks for secrets that are neither bound nor revealed.
pub(super) fn check(manifest: &Manifest, toml: &str) -> Vec<Finding> {
    let useless = manifest.settings.iter().filter(|(_, one)| one.secret && !one.reveal && one.bind.is_empty());
    let origin = manifest.egress.allow.first().map_or("https://api.example.com", String::as_str);
    useless
        .map(|(name, _)| Finding {
            file: "function.toml".to_owned(),
            line: line_of(name, toml),
            column: 1,
            severity: Severity::Warning,
            message: format!(
                "the secret `{name}` can be used nowhere: the function gets a handle in its place, and no `bind` says where the \
                 gate may write the value; add `bind = [{{ origin = \"{origin}\", place = \"bearer\" }}]` (or basic-user, \
                 basic-password, header, query, path, body), or `reveal = true` to give the function the value itself, which \
                 customers are shown"
            ),
        })
        .collect()
}

/// The line that begins this setting, from 1.
fn line_of(name: &str, toml: &str) -> usize {
    let begins = |line: &str| {
        let line = line.trim_start();
        let table = line.strip_prefix("[settings.").and_then(|rest| rest.split(']').next());
        let inline = line.split('=').next().map(str::trim).filter(|_| line.contains('{'));
        table == Some(name) || inline == Some(name)
    };
    toml.lines().position(begins).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"name = "probe"
version = "1"
events = ["track"]
[egress]
allow = ["https://a.example"]
[settings.bound]
type = "string"
secret = true
bind = [{ origin = "https://a.example", place = "bearer" }]
[settings.shown]
type = "string"
secret = true
reveal = true
[settings.lost]
type = "string"
secret = true
[settings.plain]
type = "string"
"#;

    #[test]
    fn a_secret_without_a_place_is_found_with_its_line_and_what_to_write() {
        let findings = check(&super::super::manifest::parse(MANIFEST).unwrap(), MANIFEST);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let text = findings[0].to_string();
        assert!(text.starts_with("function.toml:14:1: warning: the secret `lost` can be used nowhere"), "{text}");
        assert!(text.contains("bind = [{ origin = \"https://a.example\", place = \"bearer\" }]"), "{text}");
        let inline = MANIFEST.replace("[settings.lost]\ntype = \"string\"\nsecret = true\n", "")
            + "[settings]\nlost = { type = \"string\", secret = true }\n";
        assert_eq!(line_of("lost", &inline), 17);
    }
}
