//! What all resources of the control plane share.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::{Connection, ErrorCode, Row, params};
use uuid::Uuid;

use super::error::StoreError;
use super::rows::uuid as blob;
use super::snapshot::Thing;
use super::types::{Page, Paged};
use super::work::Commit;

/// Routes show this thing as it was, once this is committed.
pub(super) fn changed(commit: &mut Commit<'_>, thing: Thing) {
    commit.effects.push(Box::new(move |shared| shared.touched.note(thing)));
}

/// The error for something that this actor does not have.
pub(super) fn not_found(kind: &'static str, id: impl Display) -> StoreError {
    StoreError::NotFound { kind, id: id.to_string() }
}

/// A name that is taken is the caller's mistake; anything else is not.
pub(super) fn unique(error: rusqlite::Error, kind: &'static str, name: &str) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict { kind, name: name.to_owned() },
        _ => error.into(),
    }
}

/// Where a page begins.
pub(super) fn after<I: FromStr>(page: &Page) -> Result<Option<I>, StoreError> {
    page.after.as_deref().map(|text| text.parse().map_err(|_| StoreError::BadCursor(text.to_owned()))).transpose()
}

/// One page of a tenant's rows. The statement takes tenant (`NULL` for who sees all), id to begin after, and limit, and orders
/// by id.
pub(super) fn page<T>(
    sql: &Connection,
    select: &str,
    tenant: impl Into<Option<Uuid>>,
    after: Option<Uuid>,
    page: &Page,
    from: fn(&Row<'_>) -> rusqlite::Result<T>,
    cursor: fn(&T) -> String,
) -> Result<Paged<T>, StoreError> {
    let after = blob(after.unwrap_or(Uuid::nil()));
    let mut find = sql.prepare_cached(select)?;
    let rows = find.query_map(params![tenant.into().map(blob), after, page.rows() as i64 + 1], from)?;
    Ok(cut(rows.collect::<rusqlite::Result<_>>()?, page, cursor))
}

/// A page out of the rows of one more than it holds.
pub(super) fn cut<T>(mut items: Vec<T>, page: &Page, cursor: fn(&T) -> String) -> Paged<T> {
    let more = items.len() > page.rows();
    items.truncate(page.rows());
    let next = if more { items.last().map(cursor) } else { None };
    Paged { items, next }
}
