//! How values are bound and read.

use rusqlite::Row;
use uuid::Uuid;

use crate::model::Timestamp;

/// An id as it is bound.
pub(super) fn uuid(id: Uuid) -> [u8; 16] {
    id.into_bytes()
}

/// An id as it is read.
pub(super) fn id<T>(row: &Row<'_>, column: usize, from: fn(Uuid) -> T) -> rusqlite::Result<T> {
    Ok(from(Uuid::from_bytes(row.get(column)?)))
}

/// An id that may be absent, as it is read.
pub(super) fn optional<T>(row: &Row<'_>, column: usize, from: fn(Uuid) -> T) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(|id| from(Uuid::from_bytes(id))))
}

/// A time as it is bound.
pub(super) fn ms(time: Timestamp) -> i64 {
    time.as_millis().cast_signed()
}

/// A time as it is read.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(count(row.get(column)?)))
}

/// A number that is never negative where nothing is damaged; negative reads as 0.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// JSON text as it is read.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}
