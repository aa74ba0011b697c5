//! The audit log: who changed what and when, one line for each change, in the transaction of that change.
//!
//! Guarantees: a change that returned has its line, and one that did not has none; each line's hash covers the line before it, so
//! that a line that is changed, removed or put in is found; no line has a value, only digests of what there was before and after.
//! The digests are keyed with a random key of this store, so that nobody who reads them can try values against them.
//!
//! It does not stop whoever can write the database from making the whole log anew; the newest hash, kept elsewhere, does.

use std::fmt::Display;

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::handle::Store;
use super::rows::{count, id, ms, optional, time, uuid};
use super::types::{AuditFilter, AuditLine, Page, Paged};
use super::work::Commit;
use crate::model::{Actor, KeyId, PartnerId, Role, WorkspaceId};

const COLUMNS: &str = "no, at, key, role, action, id, workspace, partner, before, after, hash";

/// To whom a change belongs, and so who may read its line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Host,
    Workspace(WorkspaceId),
    Partner(PartnerId),
}

/// Writes the line of a change. `before` and `after` are what there was and is; of them only digests are kept.
pub(super) fn write<T: Serialize>(
    commit: &Commit<'_>,
    actor: &Actor,
    owner: Owner,
    action: &'static str,
    id: impl Display,
    before: Option<&T>,
    after: Option<&T>,
) -> Result<(), StoreError> {
    let (last, previous, key): (i64, [u8; 32], Vec<u8>) = commit
        .sql
        .prepare_cached("SELECT no, hash, key FROM audit_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (workspace, partner) = match owner {
        Owner::Host => (None, None),
        Owner::Workspace(workspace) => (Some(workspace), None),
        Owner::Partner(partner) => (None, Some(partner)),
    };
    let mut line = AuditLine {
        no: count(last) + 1,
        at: commit.now,
        key: actor.key,
        role: actor.role.as_str().to_owned(),
        action: action.to_owned(),
        id: id.to_string(),
        workspace,
        partner,
        before: before.map(|value| digest(&key, value)),
        after: after.map(|value| digest(&key, value)),
        hash: [0; 32],
    };
    line.hash = chained(&previous, &line);
    commit
        .sql
        .prepare_cached(&format!(
            "INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        ))?
        .execute(params![
            last + 1,
            ms(line.at),
            uuid(line.key.uuid()),
            line.role,
            line.action,
            line.id,
            workspace.map(|id| uuid(id.uuid())),
            partner.map(|id| uuid(id.uuid())),
            line.before,
            line.after,
            line.hash,
        ])?;
    commit.sql.prepare_cached("UPDATE audit_head SET no = ?1, hash = ?2")?.execute(params![last + 1, line.hash])?;
    Ok(())
}

/// The digest of a thing: what is equal has the same one in this store.
fn digest<T: Serialize>(key: &[u8], value: &T) -> String {
    // What is stored as JSON can be written as JSON.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&text);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hmac-sha256:{hex}")
}

fn chained(previous: &[u8; 32], line: &AuditLine) -> [u8; 32] {
    let AuditLine { no, at, key, role, action, id, workspace, partner, before, after, hash: _ } = line;
    let text = json!([no, at.as_millis(), key, role, action, id, workspace, partner, before, after]).to_string();
    Sha256::new().chain_update(previous).chain_update(text).finalize().into()
}

fn from(row: &Row<'_>) -> rusqlite::Result<AuditLine> {
    Ok(AuditLine {
        no: count(row.get(0)?),
        at: time(row, 1)?,
        key: id(row, 2, KeyId::from_uuid)?,
        role: row.get(3)?,
        action: row.get(4)?,
        id: row.get(5)?,
        workspace: optional(row, 6, WorkspaceId::from_uuid)?,
        partner: optional(row, 7, PartnerId::from_uuid)?,
        before: row.get(8)?,
        after: row.get(9)?,
        hash: row.get(10)?,
    })
}

/// One page of the lines that an actor may read, newest first.
fn list(sql: &Connection, actor: &Actor, filter: &AuditFilter, page: &Page) -> Result<Paged<AuditLine>, StoreError> {
    let bad = |text: &String| StoreError::BadCursor(text.clone());
    let below = page.after.as_ref().map(|text| text.parse::<i64>().map_err(|_| bad(text))).transpose()?;
    let select = format!(
        "SELECT {COLUMNS} FROM audit WHERE (?1 OR workspace = ?2 OR partner = ?3) AND no < ?4
           AND (?5 IS NULL OR action = ?5) AND (?6 IS NULL OR id = ?6) ORDER BY no DESC LIMIT ?7"
    );
    let mut find = sql.prepare_cached(&select)?;
    let rows = find.query_map(
        params![
            actor.role == Role::Operator,
            uuid(actor.workspace.uuid()),
            uuid(actor.partner.uuid()),
            below.unwrap_or(i64::MAX),
            filter.action,
            filter.id,
            page.rows() as i64 + 1,
        ],
        from,
    )?;
    let items = rows.collect::<rusqlite::Result<_>>()?;
    Ok(super::control::cut(items, page, |line: &AuditLine| line.no.to_string()))
}

/// What a reading of the whole log found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditVerdict {
    /// Lines that were read and are as they were written.
    pub sound: u64,
    /// The hash of the last of them.
    pub hash: [u8; 32],
    /// The first thing that is wrong, if anything is.
    pub wrong: Option<String>,
}

/// Reads the whole log and says whether it is as it was written.
fn verify(sql: &Connection) -> Result<AuditVerdict, StoreError> {
    let snapshot = sql.unchecked_transaction()?;
    let (last, newest): (i64, [u8; 32]) =
        snapshot.query_row("SELECT no, hash FROM audit_head", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut verdict = AuditVerdict { sound: 0, hash: [0; 32], wrong: None };
    let mut find = snapshot.prepare(&format!("SELECT {COLUMNS} FROM audit ORDER BY no"))?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let expected = verdict.sound + 1;
        if number != expected as i64 {
            verdict.wrong = Some(format!("line {expected} is missing, or line {number} was put in"));
            return Ok(verdict);
        }
        // A line whose columns do not even have their types was not written here.
        match from(row) {
            Ok(line) if chained(&verdict.hash, &line) == line.hash => {
                (verdict.sound, verdict.hash) = (expected, line.hash);
            }
            Ok(_) | Err(_) => {
                verdict.wrong = Some(format!("line {expected} was changed or put in, or lines before it were removed"));
                return Ok(verdict);
            }
        }
    }
    if count(last) != verdict.sound || newest != verdict.hash {
        let found = verdict.sound;
        verdict.wrong = Some(format!("the log ends with line {found}, but line {last} was the last that was written"));
    }
    Ok(verdict)
}

/// The audit log.
impl Store {
    /// One page of the lines of the actor's tenant, newest first; an operator reads all.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    pub async fn list_audit(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        page: &Page,
    ) -> Result<Paged<AuditLine>, StoreError> {
        let (actor, filter, page) = (actor.clone(), filter.clone(), page.clone());
        self.readers.read(move |sql| list(sql, &actor, &filter, &page)).await
    }

    /// Reads the whole log and says whether it is as it was written.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, StoreError> {
        self.readers.read(verify).await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn equal_things_have_equal_digests_in_one_store_only() {
        let digests = [(1, "a"), (1, "a"), (1, "b"), (2, "a")].map(|(key, value)| digest(&[key; 32], &value));
        assert_eq!(digests[0], digests[1]);
        assert!(digests[0] != digests[2] && digests[0] != digests[3]);
        assert!(digests[0].starts_with("hmac-sha256:") && digests[0].len() == 76);
    }

    #[test]
    fn a_lines_hash_covers_every_field_and_the_line_before() {
        let line = AuditLine {
            no: 1,
            at: crate::model::Timestamp::from_millis(5),
            key: KeyId::from_uuid(Uuid::from_u128(7)),
            role: "operator".to_owned(),
            action: "source.create".to_owned(),
            id: "src_1".to_owned(),
            workspace: None,
            partner: None,
            before: None,
            after: Some("x".to_owned()),
            hash: [0; 32],
        };
        let mut others = vec![line.clone(); 9];
        others[0].no = 2;
        others[1].at = crate::model::Timestamp::from_millis(6);
        others[2].key = KeyId::from_uuid(Uuid::from_u128(8));
        others[3].role = "x".to_owned();
        others[4].action = "source.delete".to_owned();
        others[5].id = "src_2".to_owned();
        others[6].workspace = Some(Actor::NO_WORKSPACE);
        others[7].partner = Some(Actor::NO_PARTNER);
        (others[8].before, others[8].after) = (Some("x".to_owned()), None);
        let mut hashes: std::collections::HashSet<_> = others.iter().map(|other| chained(&[0; 32], other)).collect();
        assert!(hashes.insert(chained(&[0; 32], &line)) && hashes.insert(chained(&[1; 32], &line)));
        assert_eq!(hashes.len(), 11);
    }
}
