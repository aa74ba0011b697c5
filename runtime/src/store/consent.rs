//! What customers agreed to, when a function turns to another version: who did not agree to what that may do stays on
//! the version that they run. Whether it may do more is decided by who calls.

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::rows::{id, uuid};
use super::secrets;
use super::types::Turn;
use super::work::Commit;
use crate::model::{Function, FunctionId, VersionId};

/// The versions whose access those agreed to who follow a function, each once.
pub(super) fn agreed(sql: &Connection, function: FunctionId) -> Result<Vec<VersionId>, StoreError> {
    let select = "SELECT DISTINCT consented FROM destinations WHERE function = ?1 AND pinned IS NULL";
    let mut find = sql.prepare_cached(select)?;
    let found = find.query_map([uuid(function.uuid())], |row| id(row, 0, VersionId::from_uuid))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Holds those who did not agree, and lets those follow again who did. `before` is the function before it turned.
pub(super) fn turn(commit: &mut Commit<'_>, before: &Function, turn: &Turn) -> Result<(), StoreError> {
    let (function, to) = (uuid(before.id.uuid()), uuid(turn.to.uuid()));
    for agreed in agreed(commit.sql, before.id)? {
        let row = params![function, uuid(agreed.uuid())];
        if turn.within.contains(&agreed) {
            commit
                .sql
                .prepare_cached(
                    "UPDATE destinations SET held = NULL WHERE function = ?1 AND pinned IS NULL AND consented = ?2",
                )?
                .execute(row)?;
            continue;
        }
        let agrees = turn.agrees.map(|workspace| uuid(workspace.uuid()));
        commit
            .sql
            .prepare_cached(
                "UPDATE destinations SET held = NULL, consented = ?4
                 WHERE function = ?1 AND pinned IS NULL AND consented = ?2 AND workspace = ?3",
            )?
            .execute(params![function, uuid(agreed.uuid()), agrees, to])?;
        commit
            .sql
            .prepare_cached(
                "UPDATE destinations SET held = coalesce(held, ?4)
                 WHERE function = ?1 AND pinned IS NULL AND consented = ?2 AND workspace IS NOT ?3",
            )?
            .execute(params![function, uuid(agreed.uuid()), agrees, uuid(before.current.uuid())])?;
    }
    secrets::seal_turned(commit, secrets::Of::Function(before.id))
}
