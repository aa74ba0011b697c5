//! The bytes of components: one file for each digest, beside the database.
//!
//! A file is written whole before the row that names it, and checked against its digest whenever it is read. Files, because
//! a component of megabytes would stand in the writer's way, and because the same bytes are the same file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use crate::model::Digest;

fn path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join(digest.to_string().replace(':', "-"))
}

/// The digest of these bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Stores bytes under their digest, durably.
pub(super) fn put(dir: &Path, digest: Digest, bytes: &[u8]) -> Result<(), StoreError> {
    let path = path(dir, digest);
    if get(dir, digest).is_ok() {
        return Ok(());
    }
    // Two uploads of the same bytes at the same time write the same; each renames its own file.
    let part = dir.join(format!("{}.part", uuid::Uuid::new_v4().simple()));
    write(dir, &part, &path, bytes).map_err(|source| StoreError::File { what: "write the component", path, source })
}

fn write(dir: &Path, part: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(part, path)?;
    File::open(dir)?.sync_all()
}

/// The bytes with this digest.
pub(super) fn get(dir: &Path, wanted: Digest) -> Result<Bytes, StoreError> {
    let path = path(dir, wanted);
    let bytes = fs::read(&path).map_err(|source| StoreError::File { what: "read the component", path, source })?;
    let found = digest(&bytes);
    if found != wanted {
        let why = format!("its bytes have the digest `{found}`");
        return Err(StoreError::Damaged { what: "component", id: wanted.to_string(), why });
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_by_their_digest_and_damage_is_noticed_and_repaired_by_a_new_upload() {
        let dir = tempfile::tempdir().unwrap();
        let id = digest(b"component");
        assert!(matches!(get(dir.path(), id), Err(StoreError::File { .. })));
        put(dir.path(), id, b"component").unwrap();
        assert_eq!(get(dir.path(), id).unwrap(), "component");
        fs::write(path(dir.path(), id), b"componenT").unwrap();
        assert!(matches!(get(dir.path(), id), Err(StoreError::Damaged { .. })));
        put(dir.path(), id, b"component").unwrap();
        assert_eq!(get(dir.path(), id).unwrap(), "component");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
