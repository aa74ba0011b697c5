//! Which version an upload is that does not say it: a text of its own, so that it names one version.

use std::path::Path;

use super::functions::publisher;
use crate::api::{ApiState, Problem};
use crate::catalog::javascript::{FIRST_VERSION, name_of};
use crate::model::{Actor, Digest, Function, FunctionVersion, Manifest};

/// What texts begin with that the host counts.
const COUNTED: &str = "0.1.";

/// What a script without a manifest is called.
pub(super) struct Called {
    /// The text that it is built with.
    pub(super) version: String,
    /// The newest version, if it was built of the same text, and the text of a version that comes after it.
    pub(super) again: Option<(FunctionVersion, String)>,
}

/// What a script without a manifest is called: as the newest version if that was built of the same text, else by the next number.
pub(super) async fn of_script(state: &ApiState, actor: &Actor, file: &str, script: &[u8]) -> Result<Called, Problem> {
    let first = || Called { version: FIRST_VERSION.to_owned(), again: None };
    let Some(function) = state.store.find_function(&publisher(actor), &name_of(Path::new(file))).await? else {
        return Ok(first());
    };
    // What is no text was not built, and will not be.
    let text = String::from_utf8(script.to_vec()).unwrap_or_default();
    let Some(newest) = state.store.newest_version(&publisher(actor), function.id, text).await? else {
        return Ok(first());
    };
    let from = after(&newest.version.manifest.version);
    let next = state.store.free_number(&publisher(actor), function.id, COUNTED, from).await?;
    let next = format!("{COUNTED}{next}");
    Ok(match newest.is_of_text {
        true => Called { version: newest.version.manifest.version.clone(), again: Some((newest.version, next)) },
        false => Called { version: next, again: None },
    })
}

/// Whether what was built is the version that was built of the same text. Other bytes alone do not make another one: the same text comes
/// to other bytes once the engine or the compiler of this host is a newer one. Other words about itself do, such as hosts of a manifest.
pub(super) fn is_again(known: (Digest, &Manifest), made: (Digest, &Manifest)) -> bool {
    known.0 == made.0 || known.1 == made.1
}

/// The first text behind so many versions that no version has.
pub(super) async fn free(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    count: usize,
) -> Result<String, Problem> {
    let from = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    Ok(state.store.free_number(actor, function.id, "", from).await?.to_string())
}

/// The number to look from: the one after a text that was counted.
fn after(version: &str) -> u64 {
    let number = version.strip_prefix(COUNTED).and_then(|number| number.parse::<u32>().ok());
    number.map_or(0, |number| u64::from(number) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_looked_for_behind_the_newest_that_was_counted() {
        for (version, from) in [
            ("0.1.0", 1),
            ("0.1.41", 42),
            ("0.1.4294967295", 4_294_967_296),
            ("0.1.4294967296", 0),
            ("0.1.x", 0),
            ("0.1.-1", 0),
            ("2", 0),
            ("", 0),
        ] {
            assert_eq!(after(version), from, "{version}");
        }
    }

    #[test]
    fn the_same_text_is_the_same_version_whatever_engine_it_is_built_with_as_long_as_it_says_the_same() {
        let manifest = |version: &str| Manifest {
            name: "lone".to_owned(),
            version: version.to_owned(),
            ..crate::catalog::manifest::parse("name = \"lone\"\nversion = \"0.1.0\"\nevents = [\"track\"]").unwrap()
        };
        let (old, new) = (Digest([1; 32]), Digest([2; 32]));
        let (one, other) = (manifest("0.1.0"), manifest("0.1.1"));
        assert!(is_again((old, &one), (old, &one)));
        assert!(is_again((old, &one), (new, &one)), "only the engine is another");
        assert!(!is_again((old, &one), (new, &other)), "it says something else");
    }
}
