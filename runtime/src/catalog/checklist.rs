//! What must hold before a function is shown to an operator. Pure.
//!
//! Guarantees: every item is there in every answer, whether it holds or not, and one that does not says what to do.

use std::collections::BTreeSet;

use crate::model::{CheckItem, Checks, EventType, Manifest};

/// Looks at a version: its manifest, what the host found when it tried it, and whether its bytes were inspected.
pub fn checklist(manifest: &Manifest, checks: Option<&Checks>, inspected: bool) -> Vec<CheckItem> {
    let none = Checks::default();
    let checks = checks.unwrap_or(&none);
    let listing = manifest.listing.clone().unwrap_or_default();
    vec![
        inspection(checks, inspected),
        passing(checks),
        covering(manifest, checks),
        described(manifest.description.as_deref()),
        metadata("category", listing.category.as_deref(), "`category` below `[listing]`, such as \"Messaging\""),
        metadata("docs", listing.docs.as_deref(), "`docs` below `[listing]`, the https URL of a page for customers"),
        metadata("logo", listing.logo.as_deref(), "`logo` below `[listing]`, the https URL of an image"),
        metadata(
            "support",
            listing.support.as_deref(),
            "`support` below `[listing]`, an address of email or an https URL",
        ),
    ]
}

fn item(check: &str, ok: bool, detail: String) -> CheckItem {
    CheckItem { check: check.to_owned(), ok, detail }
}

fn inspection(checks: &Checks, inspected: bool) -> CheckItem {
    match (inspected, &checks.findings[..]) {
        (false, _) => item("inspection", false, "an older host stored it without looking: push it again".to_owned()),
        (true, []) => item("inspection", true, "nothing was found".to_owned()),
        (true, [first, ..]) => {
            item("inspection", false, format!("{} findings, the first: {first}", checks.findings.len()))
        }
    }
}

fn passing(checks: &Checks) -> CheckItem {
    let failed: Vec<_> = checks.cases.iter().filter(|case| !case.passed).map(|case| case.file.as_str()).collect();
    match (checks.cases.len(), failed.len()) {
        (0, _) => {
            let help = "no cases came with it: push the folder, with its `cases/`, by `tidegate function push FOLDER`";
            item("cases", false, help.to_owned())
        }
        (all, 0) => item("cases", true, format!("all {all} pass in this host's sandbox")),
        (all, some) => {
            item("cases", false, format!("{some} of {all} fail in this host's sandbox: {}", failed.join(", ")))
        }
    }
}

fn covering(manifest: &Manifest, checks: &Checks) -> CheckItem {
    let shown: BTreeSet<EventType> =
        checks.cases.iter().filter(|case| case.passed).flat_map(|case| case.events.iter().copied()).collect();
    let missing: Vec<_> =
        manifest.events.iter().filter(|event| !shown.contains(event)).map(|event| event.as_str()).collect();
    match missing.is_empty() {
        true => item("event types", true, "each that is declared has a case that passes".to_owned()),
        false => {
            item("event types", false, format!("no case that passes has an event of the type {}", missing.join(", ")))
        }
    }
}

/// What `function new` writes where the author has to.
const TEMPLATE: &str = "Sends events to the API of Example";

fn described(given: Option<&str>) -> CheckItem {
    match given {
        Some(TEMPLATE) => {
            let why =
                format!("`{TEMPLATE}` is what `tidegate function new` wrote: say in `description` what yours does");
            item("description", false, why)
        }
        given => metadata("description", given, "`description`, one line for people"),
    }
}

/// Whether an https URL or an address of email is at a name that is for examples (RFC 2606), where nobody finds anything.
fn is_example(text: &str) -> bool {
    let rest = text.strip_prefix("https://").unwrap_or(text);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let names = ["example.com", "example.net", "example.org", "example", "test", "invalid", "localhost"];
    names.iter().any(|name| host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

fn metadata(check: &str, given: Option<&str>, what: &str) -> CheckItem {
    match given {
        Some(text) if (text.starts_with("https://") || text.contains('@')) && is_example(text) => {
            item(check, false, format!("`{text}` is an example and not filled in: give {what}"))
        }
        Some(text) => item(check, true, text.to_owned()),
        None => item(check, false, format!("`function.toml` has no {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CaseResult;

    const GOOD: &str = "name = \"f\"\nversion = \"1\"\ndescription = \"D\"\nevents = [\"track\", \"page\"]\n[listing]\n\
        category = \"Messaging\"\ndocs = \"https://mail.partner.dev/docs\"\nlogo = \"https://mail.partner.dev/logo.svg\"\n\
        support = \"help@partner.dev\"\n";

    fn case(event: EventType, passed: bool) -> CaseResult {
        CaseResult {
            file: format!("{event}.json"),
            name: "n".to_owned(),
            events: vec![event],
            passed,
            differences: vec![],
        }
    }

    fn wrong(text: &str, checks: Option<&Checks>) -> Vec<String> {
        let manifest = super::super::manifest::parse(text).unwrap();
        let found = checklist(&manifest, checks, true);
        assert_eq!(found.len(), 8, "every item is in every answer");
        found.into_iter().filter(|item| !item.ok).map(|item| item.check).collect()
    }

    #[test]
    fn what_the_template_wrote_is_not_filled_in() {
        let template = include_str!("../../templates/function.toml").replace("{{name}}", "f");
        assert!(template.contains(TEMPLATE), "the template has another description");
        let good =
            Checks { findings: vec![], cases: vec![case(EventType::Track, true), case(EventType::Identify, true)] };
        assert_eq!(wrong(&template, Some(&good)), ["description", "docs", "logo", "support"]);
        for (text, example) in [
            ("https://example.com/docs", true),
            ("https://docs.EXAMPLE.org:443", true),
            ("support@example.com", true),
            ("https://user@mail.example/x", true),
            ("https://partner.test", true),
            ("https://example.com.partner.dev", false),
            ("https://myexample.com", false),
            ("https://partner.dev/example.com", false),
            ("a@latest.dev", false),
        ] {
            assert_eq!(is_example(text), example, "{text}");
        }
    }

    #[test]
    fn each_item_holds_or_is_named() {
        let good = Checks { findings: vec![], cases: vec![case(EventType::Track, true), case(EventType::Page, true)] };
        assert_eq!(wrong(GOOD, Some(&good)), Vec::<String>::new());
        for (line, named) in [("description = \"D\"\n", "description"), ("category = \"Messaging\"\n", "category")] {
            assert_eq!(wrong(&GOOD.replace(line, ""), Some(&good)), [named]);
        }
        for key in ["docs", "logo", "support"] {
            let without: String =
                GOOD.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            assert_eq!(wrong(&without, Some(&good)), [key]);
        }
        assert_eq!(wrong(GOOD, None), ["cases", "event types"]);
        let failing =
            Checks { cases: vec![case(EventType::Track, true), case(EventType::Page, false)], ..good.clone() };
        assert_eq!(wrong(GOOD, Some(&failing)), ["cases", "event types"]);
        let few = Checks { cases: vec![case(EventType::Track, true)], ..good.clone() };
        assert_eq!(wrong(GOOD, Some(&few)), ["event types"]);
        let found = Checks { findings: vec!["f.js:1:1: warning: w".to_owned()], ..good.clone() };
        assert_eq!(wrong(GOOD, Some(&found)), ["inspection"]);
        let manifest = super::super::manifest::parse(GOOD).unwrap();
        assert!(!checklist(&manifest, Some(&good), false)[0].ok);
    }
}
