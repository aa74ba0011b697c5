//! Wishes: destinations that customers miss. All see what is wished for and how often, nobody by whom.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found};
use super::error::StoreError;
use super::rows::{count, id, ms, time, uuid};
use super::tenants;
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{Actor, Wish, WishId, WorkspaceId};

/// `?1` is the workspace that asks.
const COLUMNS: &str = "id, name, created_at, (SELECT count(*) FROM wish_votes WHERE wish = wishes.id),
    EXISTS (SELECT 1 FROM wish_votes WHERE wish = wishes.id AND workspace = ?1)";

fn from(row: &Row<'_>) -> rusqlite::Result<Wish> {
    Ok(Wish {
        id: id(row, 0, WishId::from_uuid)?,
        name: row.get(1)?,
        created_at: time(row, 2)?,
        votes: count(row.get(3)?),
        voted: row.get(4)?,
    })
}

pub(super) fn get(sql: &Connection, actor: &Actor, wish: WishId) -> Result<Wish, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM wishes WHERE id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(wish.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("wish", wish))
}

pub(super) fn list(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Wish>, StoreError> {
    let after = control::after::<WishId>(page)?.map_or(Uuid::nil(), WishId::uuid);
    let mut find = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM wishes
         WHERE id > ?2 AND EXISTS (SELECT 1 FROM wish_votes WHERE wish = wishes.id) ORDER BY id LIMIT ?3"
    ))?;
    let rows = params![uuid(actor.workspace.uuid()), uuid(after), page.rows() as i64 + 1];
    let rows = find.query_map(rows, from)?.collect::<rusqlite::Result<_>>()?;
    Ok(control::cut(rows, page, |wish: &Wish| wish.id.to_string()))
}

/// Wishes for a destination. One of this name that is wished for already gets the vote.
pub(super) fn create(commit: &mut Commit<'_>, actor: &Actor, name: String) -> Result<Wish, StoreError> {
    let known = commit
        .sql
        .prepare_cached("SELECT id FROM wishes WHERE name = ?1")?
        .query_row([&name], |row| id(row, 0, WishId::from_uuid))
        .optional()?;
    let wish = match known {
        Some(wish) => wish,
        None => {
            let wish = WishId::new(commit.now);
            commit
                .sql
                .prepare_cached("INSERT INTO wishes (id, name, created_at) VALUES (?1, ?2, ?3)")?
                .execute(params![uuid(wish.uuid()), name, ms(commit.now)])?;
            wish
        }
    };
    vote(commit, actor, wish, true)
}

/// Gives the workspace's one vote to a wish, or takes it back. One that nobody wishes for any more is gone.
pub(super) fn vote(commit: &mut Commit<'_>, actor: &Actor, wish: WishId, on: bool) -> Result<Wish, StoreError> {
    let before = get(commit.sql, actor, wish)?;
    // It may have been destroyed since the caller's key was looked at.
    tenants::get::<WorkspaceId>(commit.sql, actor, actor.workspace)?;
    let vote = if on {
        "INSERT OR IGNORE INTO wish_votes (wish, workspace, at) VALUES (?1, ?2, ?3)"
    } else {
        "DELETE FROM wish_votes WHERE wish = ?1 AND workspace = ?2 AND ?3 IS NOT NULL"
    };
    commit.sql.prepare_cached(vote)?.execute(params![
        uuid(wish.uuid()),
        uuid(actor.workspace.uuid()),
        ms(commit.now)
    ])?;
    let after = get(commit.sql, actor, wish)?;
    if after.votes == 0 {
        commit.sql.prepare_cached("DELETE FROM wishes WHERE id = ?1")?.execute([uuid(wish.uuid())])?;
    }
    let action = if on { "wish.vote" } else { "wish.unvote" };
    audit::write(commit, actor, Owner::Workspace(actor.workspace), action, wish, Some(&before), Some(&after))?;
    Ok(after)
}
