//! Tenants: workspaces and partners. Both are a name and an id, so both have one code.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found, unique};
use super::error::StoreError;
use super::rows::{ms, time, uuid};
use super::types::{Page, Paged};
use super::work::Commit;
use crate::model::{Actor, PartnerId, Role, Tenant, Timestamp, WorkspaceId};

/// The id of a kind of tenant.
pub trait TenantId: Copy + PartialEq + Display + FromStr + Serialize + Send + 'static {
    /// What the kind is called.
    const KIND: &'static str;
    /// What the text of an id begins with.
    const TEXT_PREFIX: &'static str;
    /// Where they are kept.
    #[doc(hidden)]
    const TABLE: &'static str;
    /// What belongs to one and keeps it from being deleted: table and what people call its rows.
    #[doc(hidden)]
    const OWNED: &'static [(&'static str, &'static str)];
    /// Tables of what is deleted with one.
    #[doc(hidden)]
    const GOES_ALONG: &'static [&'static str];
    #[doc(hidden)]
    fn make(now: Timestamp) -> Self;
    #[doc(hidden)]
    fn from_uuid(id: Uuid) -> Self;
    #[doc(hidden)]
    fn uuid(self) -> Uuid;
    /// The actor's own.
    #[doc(hidden)]
    fn own(actor: &Actor) -> Self;
    /// What the audit log calls making, changing and deleting one.
    #[doc(hidden)]
    const ACTIONS: [&'static str; 3];
}

impl TenantId for WorkspaceId {
    const KIND: &'static str = "workspace";
    const TEXT_PREFIX: &'static str = Self::PREFIX;
    const TABLE: &'static str = "workspaces";
    const OWNED: &'static [(&'static str, &'static str)] = &[("sources", "sources"), ("destinations", "destinations")];
    const GOES_ALONG: &'static [&'static str] = &["keys", "links"];

    fn make(now: Timestamp) -> Self {
        Self::new(now)
    }

    fn from_uuid(id: Uuid) -> Self {
        Self::from_uuid(id)
    }

    fn uuid(self) -> Uuid {
        self.uuid()
    }

    fn own(actor: &Actor) -> Self {
        actor.workspace
    }

    const ACTIONS: [&'static str; 3] = ["workspace.create", "workspace.update", "workspace.delete"];
}

impl TenantId for PartnerId {
    const KIND: &'static str = "partner";
    const TEXT_PREFIX: &'static str = Self::PREFIX;
    const TABLE: &'static str = "partners";
    const OWNED: &'static [(&'static str, &'static str)] = &[("functions", "functions")];
    const GOES_ALONG: &'static [&'static str] = &["keys", "signing_keys"];

    fn make(now: Timestamp) -> Self {
        Self::new(now)
    }

    fn from_uuid(id: Uuid) -> Self {
        Self::from_uuid(id)
    }

    fn uuid(self) -> Uuid {
        self.uuid()
    }

    fn own(actor: &Actor) -> Self {
        actor.partner
    }

    const ACTIONS: [&'static str; 3] = ["partner.create", "partner.update", "partner.delete"];
}

/// Whose line in the audit log a change of it is.
fn owner<I: TenantId>(tenant: I) -> Owner {
    match I::TABLE {
        "workspaces" => Owner::Workspace(WorkspaceId::from_uuid(tenant.uuid())),
        _ => Owner::Partner(PartnerId::from_uuid(tenant.uuid())),
    }
}

fn from<I: TenantId>(row: &Row<'_>) -> rusqlite::Result<Tenant<I>> {
    Ok(Tenant { id: I::from_uuid(Uuid::from_bytes(row.get(0)?)), name: row.get(1)?, created_at: time(row, 2)? })
}

/// To which tenant an actor is held; an operator to none.
fn seen<I: TenantId>(actor: &Actor) -> Option<Uuid> {
    (actor.role != Role::Operator).then(|| I::own(actor).uuid())
}

pub(super) fn get<I: TenantId>(sql: &Connection, actor: &Actor, tenant: I) -> Result<Tenant<I>, StoreError> {
    let select = format!("SELECT id, name, created_at FROM {} WHERE (?1 IS NULL OR id = ?1) AND id = ?2", I::TABLE);
    sql.prepare_cached(&select)?
        .query_row(params![seen::<I>(actor).map(uuid), uuid(tenant.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found(I::KIND, tenant))
}

/// By id, or by name: names that look like ids cannot be made.
pub(super) fn find<I: TenantId>(sql: &Connection, actor: &Actor, key: &str) -> Result<Tenant<I>, StoreError> {
    if let Ok(tenant) = key.parse() {
        return get(sql, actor, tenant);
    }
    let select = format!("SELECT id, name, created_at FROM {} WHERE (?1 IS NULL OR id = ?1) AND name = ?2", I::TABLE);
    sql.prepare_cached(&select)?
        .query_row(params![seen::<I>(actor).map(uuid), key], from)
        .optional()?
        .ok_or_else(|| not_found(I::KIND, key.chars().take(80).collect::<String>()))
}

pub(super) fn list<I: TenantId>(sql: &Connection, actor: &Actor, page: &Page) -> Result<Paged<Tenant<I>>, StoreError> {
    let after = control::after::<I>(page)?.map(I::uuid);
    let select = format!(
        "SELECT id, name, created_at FROM {} WHERE (?1 IS NULL OR id = ?1) AND id > ?2 ORDER BY id LIMIT ?3",
        I::TABLE
    );
    control::page(sql, &select, seen::<I>(actor), after, page, from, |tenant| tenant.id.to_string())
}

pub(super) fn create<I: TenantId>(
    commit: &mut Commit<'_>,
    actor: &Actor,
    name: String,
) -> Result<Tenant<I>, StoreError> {
    let tenant = Tenant { id: I::make(commit.now), name, created_at: commit.now };
    commit
        .sql
        .prepare_cached(&format!("INSERT INTO {} (id, name, created_at) VALUES (?1, ?2, ?3)", I::TABLE))?
        .execute(params![uuid(tenant.id.uuid()), tenant.name, ms(tenant.created_at)])
        .map_err(|error| unique(error, I::KIND, &tenant.name))?;
    audit::write(commit, actor, owner(tenant.id), I::ACTIONS[0], tenant.id, None, Some(&tenant))?;
    if let Owner::Workspace(workspace) = owner(tenant.id) {
        commit.memory.workspaces.insert(workspace);
    }
    Ok(tenant)
}

pub(super) fn rename<I: TenantId>(
    commit: &mut Commit<'_>,
    actor: &Actor,
    tenant: I,
    name: Option<String>,
) -> Result<Tenant<I>, StoreError> {
    let before = get(commit.sql, actor, tenant)?;
    let mut tenant = before.clone();
    tenant.name = name.unwrap_or(tenant.name);
    commit
        .sql
        .prepare_cached(&format!("UPDATE {} SET name = ?2 WHERE id = ?1", I::TABLE))?
        .execute(params![uuid(tenant.id.uuid()), tenant.name])
        .map_err(|error| unique(error, I::KIND, &tenant.name))?;
    audit::write(commit, actor, owner(tenant.id), I::ACTIONS[1], tenant.id, Some(&before), Some(&tenant))?;
    Ok(tenant)
}

/// Deletes a tenant that owns nothing any more, and its keys.
pub(super) fn delete<I: TenantId>(
    commit: &mut Commit<'_>,
    actor: &Actor,
    tenant: I,
    home: I,
) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, tenant)?;
    let not_now = |why: String| {
        let what = if I::TABLE == "workspaces" { "delete workspace" } else { "delete partner" };
        StoreError::NotNow { what, id: tenant.to_string(), why }
    };
    if tenant == home {
        return Err(not_now("operators' keys work in it unless they name another one".to_owned()));
    }
    for (table, name) in I::OWNED {
        let count: i64 = commit
            .sql
            .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {} = ?1", I::KIND))?
            .query_row([uuid(tenant.uuid())], |row| row.get(0))?;
        if count > 0 {
            let instead = match *table {
                // Versions stay while deliveries name them.
                "functions" => {
                    "which stay; `tidegate function stage NAME deprecated` ends new uses, `tidegate key revoke` its access"
                }
                _ => "delete them first",
            };
            return Err(not_now(format!("it has {name} ({count}): {instead}")));
        }
    }
    for (table, column) in I::GOES_ALONG.iter().map(|table| (*table, I::KIND)).chain([(I::TABLE, "id")]) {
        commit
            .sql
            .prepare_cached(&format!("DELETE FROM {table} WHERE {column} = ?1"))?
            .execute([uuid(tenant.uuid())])?;
    }
    audit::write(commit, actor, owner(tenant), I::ACTIONS[2], tenant, Some(&before), None)?;
    commit.memory.workspaces.remove(&WorkspaceId::from_uuid(tenant.uuid()));
    Ok(())
}
