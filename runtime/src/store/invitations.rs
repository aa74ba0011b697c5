//! Invitations: links by which workspaces come to functions in private beta.
//!
//! Guarantees: a code is kept as its hash only; who redeemed one keeps seeing the function after the link is taken back.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found};
use super::error::StoreError;
use super::keys::moment;
use super::rows::{count, id, ms, time, uuid};
use super::types::{Page, Paged};
use super::work::Commit;
use super::{functions, tokens};
use crate::model::{Actor, Function, FunctionId, Invitation, InvitationId, Timestamp};

const COLUMNS: &str = "id, function, created_at, expires_at, revoked_at,
    (SELECT count(*) FROM function_guests WHERE invitation = invitations.id)";

fn from(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    Ok(Invitation {
        id: id(row, 0, InvitationId::from_uuid)?,
        function: id(row, 1, FunctionId::from_uuid)?,
        created_at: time(row, 2)?,
        expires_at: moment(row, 3)?,
        revoked_at: moment(row, 4)?,
        redeemed: count(row.get(5)?),
    })
}

fn get(sql: &Connection, function: FunctionId, invitation: InvitationId) -> Result<Invitation, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM invitations WHERE function = ?1 AND id = ?2"))?
        .query_row([uuid(function.uuid()), uuid(invitation.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("invitation", invitation))
}

pub(super) fn list(
    sql: &Connection,
    actor: &Actor,
    function: FunctionId,
    page: &Page,
) -> Result<Paged<Invitation>, StoreError> {
    let function = functions::get(sql, actor, function)?;
    let after = control::after::<InvitationId>(page)?.map(InvitationId::uuid);
    let select = format!("SELECT {COLUMNS} FROM invitations WHERE function = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    control::page(sql, &select, function.id.uuid(), after, page, from, |invitation| invitation.id.to_string())
}

/// Makes a link; its code is kept nowhere.
pub(super) fn create(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    expires_at: Option<Timestamp>,
) -> Result<(Invitation, String), StoreError> {
    let function = functions::get(commit.sql, actor, function)?;
    let code = tokens::invitation();
    let invitation = Invitation {
        id: InvitationId::new(commit.now),
        function: function.id,
        created_at: commit.now,
        expires_at,
        revoked_at: None,
        redeemed: 0,
    };
    commit
        .sql
        .prepare_cached(
            "INSERT INTO invitations (id, function, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            uuid(invitation.id.uuid()),
            uuid(function.id.uuid()),
            tokens::hash(&code),
            ms(commit.now),
            expires_at.map(ms),
        ])?;
    let owner = Owner::Partner(function.partner);
    audit::write(commit, actor, owner, "invitation.create", invitation.id, None, Some(&invitation))?;
    Ok((invitation, code))
}

/// Takes a link back. Whom it brought stays.
pub(super) fn revoke(
    commit: &mut Commit<'_>,
    actor: &Actor,
    function: FunctionId,
    invitation: InvitationId,
) -> Result<(), StoreError> {
    let function = functions::get(commit.sql, actor, function)?;
    let before = get(commit.sql, function.id, invitation)?;
    commit
        .sql
        .prepare_cached("UPDATE invitations SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1")?
        .execute(params![uuid(invitation.uuid()), ms(commit.now)])?;
    let after = get(commit.sql, function.id, invitation)?;
    let owner = Owner::Partner(function.partner);
    audit::write(commit, actor, owner, "invitation.revoke", invitation, Some(&before), Some(&after))
}

/// Lets the actor's workspace see the function that a code leads to.
pub(super) fn redeem(commit: &mut Commit<'_>, actor: &Actor, code: &str) -> Result<Function, StoreError> {
    let found: Option<([u8; 16], [u8; 16])> = commit
        .sql
        .prepare_cached(
            "SELECT id, function FROM invitations
             WHERE hash = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
        )?
        .query_row(params![tokens::hash(code), ms(commit.now)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // A code that is wrong, over or taken back is answered alike.
    let (invitation, function) = found.ok_or(StoreError::NoInvitation)?;
    let new = commit
        .sql
        .prepare_cached(
            "INSERT OR IGNORE INTO function_guests (workspace, function, invitation, at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![uuid(actor.workspace.uuid()), function, invitation, ms(commit.now)])?;
    let function = FunctionId::from_uuid(Uuid::from_bytes(function));
    // Nobody sees it yet, or any more: then the link leads nowhere, and leaves nothing.
    let function = functions::get(commit.sql, actor, function).map_err(|_| StoreError::NoInvitation)?;
    if new > 0 {
        let owner = Owner::Workspace(actor.workspace);
        audit::write(commit, actor, owner, "invitation.redeem", function.id, None, Some(&function))?;
    }
    Ok(function)
}
