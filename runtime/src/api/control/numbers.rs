//! Which version an upload is that does not say it: a text of its own, so that it names one version.

use std::collections::BTreeSet;
use std::path::Path;

use super::functions::publisher;
use crate::api::{ApiState, Problem};
use crate::catalog::javascript::{FIRST_VERSION, name_of};
use crate::model::{Actor, Function, FunctionVersion};
use crate::store::Page;

/// The version of a script without a manifest: that of the newest version if it was built of the same text, else the next one.
pub(super) async fn of_script(state: &ApiState, actor: &Actor, file: &str, script: &[u8]) -> Result<String, Problem> {
    let Some(function) = state.store.find_function(&publisher(actor), &name_of(Path::new(file))).await? else {
        return Ok(FIRST_VERSION.to_owned());
    };
    let all = all(state, actor, &function).await?;
    if let Some(newest) = all.last()
        && let Some(known) = state.store.script(actor, function.id, newest.id).await?
        && known.text.as_bytes() == script
    {
        return Ok(newest.manifest.version.clone());
    }
    Ok(next(&texts(&all), 0, |number| format!("0.1.{number}")))
}

/// The first text behind so many versions that no version has.
pub(super) async fn free(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    count: usize,
    text: fn(usize) -> String,
) -> Result<String, Problem> {
    Ok(next(&texts(&all(state, actor, function).await?), count + 1, text))
}

/// All versions of a function, the oldest first.
pub(super) async fn all(state: &ApiState, actor: &Actor, function: &Function) -> Result<Vec<FunctionVersion>, Problem> {
    let (mut found, mut page) = (Vec::new(), Page { after: None, limit: Page::MAX });
    loop {
        let versions = state.store.list_versions(actor, function.id, &page).await?;
        found.extend(versions.items);
        match versions.next {
            Some(next) => page.after = Some(next),
            None => return Ok(found),
        }
    }
}

fn texts(all: &[FunctionVersion]) -> BTreeSet<&str> {
    all.iter().map(|version| version.manifest.version.as_str()).collect()
}

fn next(taken: &BTreeSet<&str>, from: usize, text: fn(usize) -> String) -> String {
    // There is one more number than there are texts.
    (from..=from + taken.len()).map(text).find(|text| !taken.contains(text.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_is_the_first_that_no_version_has() {
        let text: fn(usize) -> String = |number| format!("0.1.{number}");
        for (taken, from, expected) in [
            (&[][..], 0, "0.1.0"),
            (&["0.1.0"], 0, "0.1.1"),
            (&["0.1.0", "0.1.2", "1"], 0, "0.1.1"),
            (&["0.1.0", "0.1.1", "0.1.2"], 0, "0.1.3"),
            (&["0.1.3"], 3, "0.1.4"),
        ] {
            assert_eq!(next(&taken.iter().copied().collect(), from, text), expected, "{taken:?}");
        }
    }
}
