//! Links that open one session each, for customers without a key.
//!
//! A link's text is its id and a code that this host's vault makes over the id and everything that the link allows. So nobody makes one
//! up, a row that somebody changed opens nothing, and the text itself is kept nowhere. Opening it makes a key, a *session*: held to
//! one workspace, a role and perhaps one destination, and ended by its time.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::audit::{self, Owner};
use super::control::{self, not_found};
use super::error::{LinkError, StoreError};
use super::handle::Store;
use super::rows::{count, id, ms, optional, time, uuid};
use super::types::{Page, Paged};
use super::work::Commit;
use super::{destinations, keys};
use crate::model::{Actor, DestinationId, Key, KeyId, Link, LinkId, Role, Timestamp, UnknownRole, WorkspaceId};
use crate::vault::Vault;

/// What every link's text begins with, so that scanners find it where it does not belong.
const PREFIX: &str = "tgl_";

/// What the codes are made for.
const PURPOSE: &str = "tidegate link 1";

/// How long ended sessions are kept, so that they are seen in the list of keys: a day.
const KEPT_MS: u64 = 24 * 3_600_000;

const COLUMNS: &str =
    "id, name, workspace, role, destination, session_s, created_at, created_by, expires_at, opened_at, revoked_at";

/// A link to be made. Whether the actor may give the role is decided by the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewLink {
    /// What people call it.
    pub name: String,
    /// What its session may do.
    pub role: Role,
    /// The one destination that its session sees.
    pub destination: Option<DestinationId>,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// Seconds that its session lasts.
    pub session_s: u64,
}

fn from(row: &Row<'_>) -> rusqlite::Result<Link> {
    let unknown =
        |error: UnknownRole| rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, error.into());
    Ok(Link {
        id: id(row, 0, LinkId::from_uuid)?,
        name: row.get(1)?,
        workspace: id(row, 2, WorkspaceId::from_uuid)?,
        role: row.get_ref(3)?.as_str()?.parse().map_err(unknown)?,
        destination: optional(row, 4, DestinationId::from_uuid)?,
        session_s: count(row.get(5)?),
        created_at: time(row, 6)?,
        created_by: id(row, 7, KeyId::from_uuid)?,
        expires_at: time(row, 8)?,
        opened_at: keys::moment(row, 9)?,
        revoked_at: keys::moment(row, 10)?,
    })
}

/// What is signed: all that a link allows, in a form that no other link has.
fn message(link: &Link) -> Vec<u8> {
    let destination = link.destination.map_or(Uuid::nil(), DestinationId::uuid);
    let (expires, session) = (link.expires_at.as_millis().to_be_bytes(), link.session_s.to_be_bytes());
    let ids = [link.id.uuid(), link.workspace.uuid(), destination];
    let ids: Vec<u8> = ids.iter().flat_map(|id| id.into_bytes()).collect();
    [&ids[..], &expires, &session, link.role.as_str().as_bytes()].concat()
}

fn text(vault: &Vault, link: &Link) -> String {
    let bytes = [&uuid(link.id.uuid())[..], &vault.sign(PURPOSE, &message(link))].concat();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The id in a link's text, and the code.
fn parse(text: &str) -> Option<(LinkId, [u8; 32])> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let (id, code) = bytes.split_first_chunk::<16>()?;
    Some((LinkId::from_uuid(Uuid::from_bytes(*id)), code.try_into().ok()?))
}

fn get(sql: &Connection, actor: &Actor, link: LinkId) -> Result<Link, StoreError> {
    sql.prepare_cached(&format!("SELECT {COLUMNS} FROM links WHERE workspace = ?1 AND id = ?2"))?
        .query_row([uuid(actor.workspace.uuid()), uuid(link.uuid())], from)
        .optional()?
        .ok_or_else(|| not_found("link", link))
}

fn create(commit: &mut Commit<'_>, actor: &Actor, new: NewLink) -> Result<(Link, String), StoreError> {
    new.destination.map(|id| destinations::get(commit.sql, actor, id)).transpose()?;
    let link = Link {
        id: LinkId::new(commit.now),
        name: new.name,
        workspace: actor.workspace,
        role: new.role,
        destination: new.destination,
        session_s: new.session_s,
        created_at: commit.now,
        created_by: actor.key,
        expires_at: new.expires_at,
        opened_at: None,
        revoked_at: None,
    };
    commit
        .sql
        .prepare_cached(&format!(
            "INSERT INTO links ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, NULL)"
        ))?
        .execute(params![
            uuid(link.id.uuid()),
            link.name,
            uuid(link.workspace.uuid()),
            link.role.as_str(),
            link.destination.map(|id| uuid(id.uuid())),
            link.session_s.cast_signed(),
            ms(link.created_at),
            uuid(link.created_by.uuid()),
            ms(link.expires_at),
        ])?;
    audit::write(commit, actor, Owner::Workspace(link.workspace), "link.create", link.id, None, Some(&link))?;
    let text = text(&commit.shared.vault, &link);
    Ok((link, text))
}

/// Takes a link back, and its session.
fn revoke(commit: &mut Commit<'_>, actor: &Actor, link: LinkId) -> Result<(), StoreError> {
    let before = get(commit.sql, actor, link)?;
    if before.revoked_at.is_some() {
        return Ok(());
    }
    let after = Link { revoked_at: Some(commit.now), ..before.clone() };
    commit
        .sql
        .prepare_cached("UPDATE links SET revoked_at = ?3 WHERE workspace = ?1 AND id = ?2")?
        .execute(params![uuid(before.workspace.uuid()), uuid(link.uuid()), ms(commit.now)])?;
    commit
        .sql
        .prepare_cached("UPDATE keys SET revoked_at = ?2 WHERE link = ?1 AND revoked_at IS NULL")?
        .execute(params![uuid(link.uuid()), ms(commit.now)])?;
    audit::write(commit, actor, Owner::Workspace(before.workspace), "link.revoke", link, Some(&before), Some(&after))
}

/// The link that was shown, if it opens something.
fn shown(sql: &Connection, vault: &Vault, text: &str, now: Timestamp) -> Result<Result<Link, LinkError>, StoreError> {
    let Some((wanted, code)) = parse(text) else { return Ok(Err(LinkError::Unknown)) };
    let find = format!("SELECT {COLUMNS} FROM links WHERE id = ?1");
    let found = sql.prepare_cached(&find)?.query_row([uuid(wanted.uuid())], from).optional()?;
    // What is wrong with a link is told only to who has it.
    let signed = |link: &Link| vault.has_signed(PURPOSE, &message(link), &code);
    let Some(link) = found.filter(signed) else { return Ok(Err(LinkError::Unknown)) };
    Ok(match (link.revoked_at, link.opened_at) {
        (Some(_), _) => Err(LinkError::Revoked),
        (None, Some(opened)) => Err(LinkError::Opened(opened)),
        (None, None) if link.expires_at <= now => Err(LinkError::Expired(link.expires_at)),
        (None, None) => Ok(link),
    })
}

/// Makes the session of a link that was shown.
fn open(commit: &mut Commit<'_>, text: &str) -> Result<Result<(Key, String), LinkError>, StoreError> {
    let link = match shown(commit.sql, &commit.shared.vault, text, commit.now)? {
        Ok(link) => link,
        Err(error) => return Ok(Err(error)),
    };
    let key = Key {
        id: KeyId::new(commit.now),
        name: link.name.clone(),
        role: link.role,
        workspace: Some(link.workspace),
        partner: None,
        prefix: String::new(),
        created_at: commit.now,
        created_by: Some(link.created_by),
        replaces: None,
        expires_at: Some(commit.now.plus(std::time::Duration::from_secs(link.session_s))),
        revoked_at: None,
        last_used_at: None,
        link: Some(link.id),
        destination: link.destination,
    };
    let (key, token) = keys::insert(commit.sql, key)?;
    commit
        .sql
        .prepare_cached("UPDATE links SET opened_at = ?2 WHERE id = ?1")?
        .execute(params![uuid(link.id.uuid()), ms(commit.now)])?;
    commit.sql.prepare_cached("DELETE FROM keys WHERE link IS NOT NULL AND expires_at < ?1")?.execute([commit
        .now
        .as_millis()
        .saturating_sub(KEPT_MS)
        .cast_signed()])?;
    let actor = Actor {
        key: key.id,
        role: key.role,
        workspace: link.workspace,
        partner: Actor::NO_PARTNER,
        destination: link.destination,
    };
    let after = Link { opened_at: Some(commit.now), ..link.clone() };
    audit::write(commit, &actor, Owner::Workspace(link.workspace), "link.open", link.id, Some(&link), Some(&after))?;
    Ok(Ok((key, token)))
}

/// Links. Errors: [`StoreError::NotFound`] for what is not in the actor's workspace.
impl Store {
    /// Makes a link, and gives back its text, which is kept nowhere.
    pub async fn create_link(&self, actor: &Actor, new: NewLink) -> Result<(Link, String), StoreError> {
        let actor = actor.clone();
        self.call(move |commit| create(commit, &actor, new)).await
    }

    /// One page of the workspace's links, oldest first; those that open nothing any more too.
    pub async fn list_links(&self, actor: &Actor, page: &Page) -> Result<Paged<Link>, StoreError> {
        let (actor, page) = (actor.clone(), page.clone());
        let select = format!("SELECT {COLUMNS} FROM links WHERE workspace = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
        let list = move |sql: &Connection| {
            let after = control::after::<LinkId>(&page)?.map(LinkId::uuid);
            control::page(sql, &select, actor.workspace.uuid(), after, &page, from, |link: &Link| link.id.to_string())
        };
        self.readers.read(list).await
    }

    /// One link.
    pub async fn get_link(&self, actor: &Actor, id: LinkId) -> Result<Link, StoreError> {
        let actor = actor.clone();
        self.readers.read(move |sql| get(sql, &actor, id)).await
    }

    /// Takes a link back: once this has returned, neither it nor its session opens anything.
    pub async fn revoke_link(&self, actor: &Actor, id: LinkId) -> Result<(), StoreError> {
        let actor = actor.clone();
        self.call(move |commit| revoke(commit, &actor, id)).await?;
        self.reload_keys()
    }

    /// Opens a link, once: gives back its session, and the token of that, which is kept nowhere.
    ///
    /// # Errors
    /// The inner one says why the link opens nothing; the outer one that it could not be looked at.
    pub async fn open_link(&self, text: &str) -> Result<Result<(Key, String), LinkError>, StoreError> {
        let (looked, shared, now) = (text.to_owned(), Arc::clone(&self.shared), self.shared.clock.now());
        // Whoever shows anything at all, without a key, must not cost a commit and everybody's keys being read anew.
        let look = self.readers.read(move |sql| shown(sql, &shared.vault, &looked, now)).await?;
        if let Err(error) = look {
            return Ok(Err(error));
        }
        let text = text.to_owned();
        let opened = self.call(move |commit| open(commit, &text)).await?;
        self.reload_keys()?;
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_link_covers_everything_that_it_allows() {
        let now = Timestamp::from_millis(5_000);
        let link = Link {
            id: LinkId::new(now),
            name: "portal".to_owned(),
            workspace: WorkspaceId::new(now),
            role: Role::WorkspaceViewer,
            destination: None,
            session_s: 60,
            created_at: now,
            created_by: KeyId::new(now),
            expires_at: Timestamp::from_millis(6_000),
            opened_at: None,
            revoked_at: None,
        };
        let others = [
            Link { id: LinkId::new(now), ..link.clone() },
            Link { workspace: WorkspaceId::new(now), ..link.clone() },
            Link { role: Role::WorkspaceEditor, ..link.clone() },
            Link { destination: Some(DestinationId::new(now)), ..link.clone() },
            Link { session_s: 61, ..link.clone() },
            Link { expires_at: Timestamp::from_millis(6_001), ..link.clone() },
        ];
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("vault.key"), true).unwrap();
        let text = text(&vault, &link);
        let (id, code) = parse(&text).unwrap();
        assert_eq!((id, text.len()), (link.id, 68));
        assert!(vault.has_signed(PURPOSE, &message(&link), &code));
        for other in others {
            assert!(!vault.has_signed(PURPOSE, &message(&other), &code), "{other:?}");
        }
        assert!(!vault.has_signed("another purpose", &message(&link), &code));
        for wrong in ["", "tgl_", &text[1..], &format!("{text}AAAA"), &text[..text.len() - 4]] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        vault.begin().unwrap();
        assert!(vault.has_signed(PURPOSE, &message(&link), &code), "while the key is turned, both hold");
        vault.finish().unwrap();
        assert!(!vault.has_signed(PURPOSE, &message(&link), &code), "a key that is gone signs nothing");
    }
}
