//! Opening a data directory: its lock, its schema, its first rows.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::rows::{id, ms, uuid};
use super::secrets;
use super::seen::Lately;
use super::types::{Places, StoreConfig};
use super::work::Memory;
use crate::model::{ConnectionId, DestinationId, PartnerId, Timestamp, WorkspaceId};
use crate::vault::Vault;

/// All migrations, in order: the schema's version is how many of them were applied.
pub(super) const MIGRATIONS: [&str; 22] = [
    include_str!("migrations/0001_base.sql"),
    include_str!("migrations/0002_logs.sql"),
    include_str!("migrations/0003_tenants.sql"),
    include_str!("migrations/0004_audit.sql"),
    include_str!("migrations/0005_versions.sql"),
    include_str!("migrations/0006_replays.sql"),
    include_str!("migrations/0007_secrets.sql"),
    include_str!("migrations/0008_once.sql"),
    include_str!("migrations/0009_pause.sql"),
    include_str!("migrations/0010_schedule.sql"),
    include_str!("migrations/0011_links.sql"),
    include_str!("migrations/0012_signing.sql"),
    include_str!("migrations/0013_sealed.sql"),
    include_str!("migrations/0014_lifecycle.sql"),
    include_str!("migrations/0015_consent.sql"),
    include_str!("migrations/0016_scripts.sql"),
    include_str!("migrations/0017_ran.sql"),
    include_str!("migrations/0018_suppressions.sql"),
    include_str!("migrations/0019_seen.sql"),
    include_str!("migrations/0020_bounds.sql"),
    include_str!("migrations/0021_pages.sql"),
    include_str!("migrations/0022_counted.sql"),
];

/// The largest number of prepared statements that a connection keeps: more than there are in this module.
const STATEMENTS: usize = 128;

/// Makes the directory and takes its lock, which lasts as long as the file is open: also a killed process gives it back.
pub(super) fn lock(dir: &Path) -> Result<(Places, File), StoreError> {
    let places = Places { dir: dir.to_owned(), database: dir.join("tidegate.db"), components: dir.join("components") };
    fs::create_dir_all(&places.components).map_err(|source| StoreError::File {
        what: "create the directory",
        path: places.components.clone(),
        source,
    })?;
    let path = dir.join("lock");
    let failed = |what, source| StoreError::File { what, path: path.clone(), source };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| failed("open the lock file", source))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((places, lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked(dir.to_owned())),
        Err(error) => Err(failed("lock", error.into())),
    }
}

/// The connection that writes.
pub(super) fn writer(places: &Places) -> Result<Connection, StoreError> {
    let mut sql = Connection::open(&places.database)?;
    watched(&mut sql, places)?;
    // Until `Checkpoints` takes them over.
    sql.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;",
    )?;
    keeps_statements(&sql)?;
    Ok(sql)
}

/// A database of this program's schema, for tests of its statements.
#[cfg(test)]
pub(super) fn in_memory() -> Connection {
    let sql = Connection::open_in_memory().unwrap();
    MIGRATIONS.iter().for_each(|step| sql.execute_batch(step).unwrap());
    sql
}

/// Tests count what reading costs.
#[cfg(test)]
fn watched(sql: &mut Connection, places: &Places) -> rusqlite::Result<()> {
    super::tests::counted::watch(sql, &places.database)
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "as in tests")]
fn watched(_: &mut Connection, _: &Places) -> rusqlite::Result<()> {
    Ok(())
}

/// Statements are prepared once. Without this guarantee SQLite does it anew whenever a value is bound to a comparison by which
/// it may plan, for more than the statement itself costs.
fn keeps_statements(sql: &Connection) -> rusqlite::Result<()> {
    sql.set_prepared_statement_cache_capacity(STATEMENTS);
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A connection for checkpoints beside the writer.
pub(super) fn beside(places: &Places) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(&places.database, flags)?;
    sql.execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;")?;
    Ok(sql)
}

/// A connection that reads beside the writer.
pub(super) fn reader(places: &Places) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut sql = Connection::open_with_flags(&places.database, flags)?;
    watched(&mut sql, places)?;
    // A host writes nowhere but into its data directory, so not into the system's folder for such files either.
    sql.execute_batch("PRAGMA temp_store = MEMORY;")?;
    keeps_statements(&sql)?;
    Ok(sql)
}

/// Whether this program knows a schema of this version.
pub(super) fn check_version(found: i64, dir: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    if found > known { Err(StoreError::TooNew { dir: dir.to_owned(), found, known }) } else { Ok(()) }
}

/// Brings the schema up to date, each step in a transaction of its own.
pub(super) fn migrate(sql: &mut Connection, places: &Places) -> Result<(), StoreError> {
    let found: i64 = sql.pragma_query_value(None, "user_version", |row| row.get(0))?;
    check_version(found, &places.dir)?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let step = sql.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", version)?;
        step.commit()?;
    }
    Ok(())
}

/// The vault, with what an interrupted rotation has left to do done, and with everything sealed that should be.
pub(super) fn vault(sql: &mut Connection, places: &Places, config: &StoreConfig) -> Result<Vault, StoreError> {
    let path = config.key_file.clone().unwrap_or_else(|| places.dir.join("vault.key"));
    // Where something is sealed already, a new key would open none of it.
    let vault = Vault::open(&path, !secrets::any(sql)?)?;
    secrets::all_keys(sql, &vault)?;
    if vault.is_rotating() {
        let step = sql.transaction()?;
        while secrets::rewrap(&step, &vault, secrets::AT_ONCE)? > 0 {}
        step.commit()?;
        vault.finish()?;
    }
    secrets::seal_plain(sql, &vault)?;
    Ok(vault)
}

/// The workspace and the partner in which operators work unless they name others; made at the first start.
pub(super) fn tenants(sql: &mut Connection, now: Timestamp) -> Result<(WorkspaceId, PartnerId), StoreError> {
    let step = sql.transaction()?;
    let find = |table: &str| {
        step.query_row(&format!("SELECT id FROM {table} ORDER BY no LIMIT 1"), [], |row| row.get::<_, [u8; 16]>(0))
            .optional()
    };
    let make = |table: &str, id: [u8; 16]| {
        let insert = format!("INSERT INTO {table} (id, name, created_at) VALUES (?1, 'default', ?2)");
        step.execute(&insert, params![id, ms(now)]).map(|_| id)
    };
    let workspace = match find("workspaces")? {
        Some(id) => id,
        None => make("workspaces", uuid(WorkspaceId::new(now).uuid()))?,
    };
    let partner = match find("partners")? {
        Some(id) => id,
        None => make("partners", uuid(PartnerId::new(now).uuid()))?,
    };
    step.commit()?;
    let (workspace, partner) = (uuid::Uuid::from_bytes(workspace), uuid::Uuid::from_bytes(partner));
    Ok((WorkspaceId::from_uuid(workspace), PartnerId::from_uuid(partner)))
}

/// The newest moment in a delivery's id, of which the order of events is read.
pub(super) fn newest_id(sql: &Connection) -> rusqlite::Result<Timestamp> {
    let newest: Option<[u8; 16]> = sql.query_row("SELECT max(id) FROM delivery_blocks", [], |row| row.get(0))?;
    // The first 48 bits of such a UUID are its milliseconds.
    let ms = newest.map_or(0, |id| u128::from_be_bytes(id) >> 80);
    Ok(Timestamp::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// What the writer keeps in memory.
pub(super) fn memory(sql: &Connection, now: Timestamp) -> rusqlite::Result<Memory> {
    let mut memory = Memory { lately: Lately::load(sql, now)?, ..Memory::default() };
    let mut find = sql.prepare("SELECT id FROM workspaces")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        memory.workspaces.insert(id(row, 0, WorkspaceId::from_uuid)?);
    }
    let mut find = sql.prepare("SELECT id FROM destinations")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        memory.destinations.insert(id(row, 0, DestinationId::from_uuid)?);
    }
    let mut find = sql.prepare("SELECT id, destination FROM connections")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        memory.connections.insert(id(row, 0, ConnectionId::from_uuid)?, id(row, 1, DestinationId::from_uuid)?);
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_an_older_schema_stay_and_their_numbers_are_not_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let (places, _lock) = lock(dir.path()).unwrap();
        let mut sql = writer(&places).unwrap();
        sql.execute_batch(MIGRATIONS[0]).unwrap();
        sql.pragma_update(None, "user_version", 1).unwrap();
        let insert =
            "INSERT INTO attempts (no, delivery, workspace, number, started_at, wall_ms, version, outcome, report)
                      VALUES (?1, x'01', x'02', 1, 5, 6, x'03', '{}', '{\"log\":[]}')";
        for no in [3, 7] {
            sql.execute(insert, [no]).unwrap();
        }
        migrate(&mut sql, &places).unwrap();
        sql.execute("DELETE FROM attempts WHERE no = 7", []).unwrap();
        sql.execute(insert, [None::<i64>]).unwrap();
        let mut find = sql.prepare("SELECT no FROM attempts ORDER BY no").unwrap();
        let numbers: Vec<i64> = find.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(numbers, [3, 8]);
        let indexes: i64 = sql
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'attempts'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(indexes, 2);
    }
}
