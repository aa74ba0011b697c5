//! What a function's turn to another version means for those who follow it: who may approve it, who has to be asked.

use crate::api::{ApiState, Problem};
use crate::catalog::access::wider;
use crate::model::{Actor, FunctionId, FunctionVersion, Manifest, Role, VersionId};
use crate::store::{Page, Turn};

/// All versions of a function that customers may run.
pub(super) async fn approved(
    state: &ApiState,
    actor: &Actor,
    function: FunctionId,
) -> Result<Vec<FunctionVersion>, Problem> {
    let (mut found, mut page) = (Vec::new(), Page { after: None, limit: Page::MAX });
    loop {
        let versions = state.store.list_versions(actor, function, &page).await?;
        found.extend(versions.items.into_iter().filter(|version| version.approved));
        match versions.next {
            Some(next) => page.after = Some(next),
            None => return Ok(found),
        }
    }
}

/// What a manifest asks for beyond the approved version that comes nearest; none if one covers it, and nothing at all
/// where no version was approved.
pub(super) fn beyond_approved(approved: &[FunctionVersion], manifest: &Manifest) -> Option<Vec<String>> {
    approved.iter().map(|version| wider(&version.manifest, manifest)).min_by_key(Vec::len)
}

/// A turn to this version, with everybody who has to be asked first.
pub(super) async fn turn(
    state: &ApiState,
    actor: &Actor,
    function: FunctionId,
    to: VersionId,
    approve: bool,
) -> Result<Turn, Problem> {
    let new = state.store.get_version(actor, function, to).await?;
    let current = state.store.get_function(actor, function).await?.current;
    let mut within = vec![to];
    // Who begins meanwhile agrees to the current version; to what nobody has looked at, nobody is taken to agree.
    for agreed in state.store.agreed(function).await?.into_iter().chain([current]) {
        let old = state.store.get_version(actor, function, agreed).await?;
        if wider(&old.manifest, &new.manifest).is_empty() {
            within.push(agreed);
        }
    }
    // An operator is the customer of the workspace in which they work.
    let agrees = (actor.role == Role::Operator).then_some(actor.workspace);
    Ok(Turn { to, approve, within, agrees })
}
