//! Reviews: a version is shown to the operator, is spoken about, and is approved or not. Partners see their own.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::consent;
use super::control::{self, not_found, unique};
use super::error::StoreError;
use super::functions::{self, word};
use super::rows::{count, id, json, ms, optional, time, uuid};
use super::types::{NewReview, Page, Paged, Turn};
use super::work::Commit;
use crate::model::{
    Actor, Comment, FunctionId, KeyId, PartnerId, Review, ReviewId, ReviewState, Stage, Timestamp, VersionId,
};

const COLUMNS: &str =
    "id, partner, function, version, stage, state, checklist, wider, submitted_by, submitted_at, decided_by,
    decided_at";

/// What a reader needs beside them.
const NAMES: &str = "(SELECT name FROM functions WHERE functions.id = function),
    (SELECT json_extract(manifest, '$.version') FROM function_versions WHERE function_versions.id = version)";

fn from(row: &Row<'_>) -> rusqlite::Result<Review> {
    Ok(Review {
        id: id(row, 0, ReviewId::from_uuid)?,
        partner: id(row, 1, PartnerId::from_uuid)?,
        function: id(row, 2, FunctionId::from_uuid)?,
        version: id(row, 3, VersionId::from_uuid)?,
        stage: word(row, 4)?,
        state: word(row, 5)?,
        checklist: json(row, 6)?,
        wider: json(row, 7)?,
        submitted_by: id(row, 8, KeyId::from_uuid)?,
        submitted_at: time(row, 9)?,
        decided_by: optional(row, 10, KeyId::from_uuid)?,
        decided_at: row.get::<_, Option<i64>>(11)?.map(|at| Timestamp::from_millis(count(at))),
        name: row.get(12)?,
        number: row.get(13)?,
    })
}

fn publisher(actor: &Actor) -> Option<[u8; 16]> {
    actor.publisher().map(|partner| uuid(partner.uuid()))
}

pub(super) fn get(sql: &Connection, actor: &Actor, review: ReviewId) -> Result<Review, StoreError> {
    sql.prepare_cached(&format!(
        "SELECT {COLUMNS}, {NAMES} FROM reviews WHERE (?1 IS NULL OR partner = ?1) AND id = ?2"
    ))?
    .query_row(params![publisher(actor), uuid(review.uuid())], from)
    .optional()?
    .ok_or_else(|| not_found("review", review))
}

pub(super) fn list(
    sql: &Connection,
    actor: &Actor,
    state: Option<ReviewState>,
    page: &Page,
) -> Result<Paged<Review>, StoreError> {
    let after = control::after::<ReviewId>(page)?.map_or(Uuid::nil(), ReviewId::uuid);
    let select = format!(
        "SELECT {COLUMNS}, {NAMES} FROM reviews
         WHERE (?1 IS NULL OR partner = ?1) AND (?2 IS NULL OR state = ?2) AND id > ?3 ORDER BY id LIMIT ?4"
    );
    let mut find = sql.prepare_cached(&select)?;
    let rows = params![publisher(actor), state.map(ReviewState::as_str), uuid(after), page.rows() as i64 + 1];
    let rows = find.query_map(rows, from)?.collect::<rusqlite::Result<_>>()?;
    Ok(control::cut(rows, page, |review: &Review| review.id.to_string()))
}

pub(super) fn comments(sql: &Connection, review: ReviewId) -> Result<Vec<Comment>, StoreError> {
    let mut find =
        sql.prepare_cached("SELECT key, role, at, text FROM review_comments WHERE review = ?1 ORDER BY no")?;
    let rows = find.query_map([uuid(review.uuid())], |row| {
        Ok(Comment { key: id(row, 0, KeyId::from_uuid)?, role: row.get(1)?, at: time(row, 2)?, text: row.get(3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Asks for a review. A function that nobody else sees is submitted from here on.
pub(super) fn submit(commit: &mut Commit<'_>, actor: &Actor, new: NewReview) -> Result<Review, StoreError> {
    let function = functions::get(commit.sql, actor, new.function)?;
    functions::selectable(commit.sql, actor, new.function, Some(new.version))?;
    let version = functions::get_version(commit.sql, actor, new.function, new.version)?;
    let review = Review {
        id: ReviewId::new(commit.now),
        partner: function.partner,
        function: new.function,
        name: function.name.clone(),
        version: new.version,
        number: version.manifest.version,
        stage: new.stage,
        state: ReviewState::Open,
        checklist: new.checklist,
        wider: new.wider,
        submitted_by: actor.key,
        submitted_at: commit.now,
        decided_by: None,
        decided_at: None,
    };
    let insert =
        format!("INSERT INTO reviews ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, NULL)");
    commit
        .sql
        .prepare_cached(&insert)?
        .execute(params![
            uuid(review.id.uuid()),
            uuid(review.partner.uuid()),
            uuid(review.function.uuid()),
            uuid(review.version.uuid()),
            review.stage.as_str(),
            review.state.as_str(),
            serde_json::json!(review.checklist).to_string(),
            serde_json::json!(review.wider).to_string(),
            uuid(review.submitted_by.uuid()),
            ms(review.submitted_at),
        ])
        .map_err(|error| match unique(error, "review", &function.name) {
            StoreError::Conflict { .. } => {
                let why = "one of its versions is under review: wait for that, or withdraw it".to_owned();
                StoreError::NotNow { what: "submit function", id: function.id.to_string(), why }
            }
            other => other,
        })?;
    if !function.stage.is_released() {
        functions::set_stage(commit, actor, function.id, Stage::Submitted, "function.submit")?;
    }
    audit::write(commit, actor, Owner::Partner(review.partner), "review.submit", review.id, None, Some(&review))?;
    if let Some(text) = new.comment {
        comment(commit, actor, review.id, text)?;
    }
    Ok(review)
}

pub(super) fn comment(
    commit: &mut Commit<'_>,
    actor: &Actor,
    review: ReviewId,
    text: String,
) -> Result<Comment, StoreError> {
    let about = get(commit.sql, actor, review)?;
    let comment = Comment { key: actor.key, role: actor.role.as_str().to_owned(), at: commit.now, text };
    commit
        .sql
        .prepare_cached("INSERT INTO review_comments (review, key, role, at, text) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![uuid(review.uuid()), uuid(comment.key.uuid()), comment.role, ms(comment.at), comment.text])?;
    audit::write(commit, actor, Owner::Partner(about.partner), "review.comment", review, None, Some(&comment))?;
    Ok(comment)
}

/// Ends a review without letting anybody run the version. A function that was only submitted is worked on again.
pub(super) fn end(
    commit: &mut Commit<'_>,
    actor: &Actor,
    review: ReviewId,
    state: ReviewState,
) -> Result<Review, StoreError> {
    let after = decide(commit, actor, review, state)?;
    if functions::get(commit.sql, actor, after.function)?.stage == Stage::Submitted {
        functions::set_stage(commit, actor, after.function, Stage::Building, "function.stage")?;
    }
    Ok(after)
}

/// Lets customers run the version, and puts the function where it wanted to be. The version becomes the current one, with
/// what was found about those who follow, only if customers ran none before.
pub(super) fn approve(
    commit: &mut Commit<'_>,
    actor: &Actor,
    review: ReviewId,
    turn: &Turn,
) -> Result<Review, StoreError> {
    let after = decide(commit, actor, review, ReviewState::Approved)?;
    let function = functions::get(commit.sql, actor, after.function)?;
    functions::selectable(commit.sql, actor, function.id, Some(after.version))?;
    functions::approve(commit, after.version)?;
    if !function.stage.is_released() {
        commit
            .sql
            .prepare_cached("UPDATE functions SET current = ?2, previous = NULL WHERE id = ?1")?
            .execute([uuid(function.id.uuid()), uuid(after.version.uuid())])?;
        consent::turn(commit, &function, turn)?;
    }
    functions::set_stage(commit, actor, function.id, after.stage, "function.stage")?;
    Ok(after)
}

/// Whether one of these keys is the other, or took its place when that was turned.
fn is_of_one_person(commit: &Commit<'_>, one: KeyId, other: KeyId) -> rusqlite::Result<bool> {
    let select = "WITH RECURSIVE before (id, of) AS (
        SELECT id, id FROM keys WHERE id IN (?1, ?2)
        UNION SELECT keys.replaces, before.of FROM keys JOIN before ON keys.id = before.id WHERE keys.replaces IS NOT NULL)
      SELECT 1 FROM before WHERE id = ?1 AND of = ?2 OR id = ?2 AND of = ?1";
    Ok(one == other || commit.sql.prepare_cached(select)?.exists([uuid(one.uuid()), uuid(other.uuid())])?)
}

fn decide(commit: &mut Commit<'_>, actor: &Actor, review: ReviewId, state: ReviewState) -> Result<Review, StoreError> {
    let before = get(commit.sql, actor, review)?;
    let not_now = |what: &'static str, why: String| Err(StoreError::NotNow { what, id: review.to_string(), why });
    if before.state != ReviewState::Open {
        return not_now("decide review", format!("it is {} already", before.state));
    }
    if state == ReviewState::Approved && is_of_one_person(commit, before.submitted_by, actor.key)? {
        return not_now("approve review", "its own submitter asks: it takes the key of another person".to_owned());
    }
    let after = Review { state, decided_by: Some(actor.key), decided_at: Some(commit.now), ..before.clone() };
    commit
        .sql
        .prepare_cached("UPDATE reviews SET state = ?2, decided_by = ?3, decided_at = ?4 WHERE id = ?1")?
        .execute(params![uuid(review.uuid()), state.as_str(), uuid(actor.key.uuid()), ms(commit.now)])?;
    let action = match state {
        ReviewState::Open | ReviewState::Approved => "review.approve",
        ReviewState::Rejected => "review.reject",
        ReviewState::Withdrawn => "review.withdraw",
    };
    audit::write(commit, actor, Owner::Partner(after.partner), action, review, Some(&before), Some(&after))?;
    Ok(after)
}
