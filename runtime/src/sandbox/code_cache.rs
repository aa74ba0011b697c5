//! Compiled code on disk, so that a restart does not compile everything again.
//!
//! Compiled code is run as it is: whoever can write it owns the host. Guarantees: nothing is used that this host,
//! with its own key, did not write for exactly this component, this wasmtime and this configuration; a file appears
//! whole or not at all; a file that does not fit is replaced.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::Digest;

/// The length of an HMAC-SHA256.
const TAG: usize = 32;
/// The most bytes of one file: a 32 MiB upload compiles to less than three times its size.
const MAX_FILE: u64 = 256 << 20;

/// A folder of compiled code.
pub(super) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
    engine: u64,
}

/// What was found for a component.
pub(super) enum Found {
    /// Compiled code that this host wrote.
    Code(Vec<u8>),
    /// Nothing.
    Nothing,
    /// Something that this host did not write, or wrote with another engine.
    Unusable,
}

impl CodeCache {
    /// The cache in this folder, which is made if need be. `engine` stands for everything that compiled code
    /// depends on.
    pub(super) fn open(dir: &Path, key: [u8; 32], engine: impl Hash) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        // No secret and no defence: only equal engines must give equal numbers. The tag is the defence.
        let mut hasher = DefaultHasher::new();
        engine.hash(&mut hasher);
        Ok(Self { dir: dir.to_owned(), key, engine: hasher.finish() })
    }

    /// Reads what there is for a component.
    pub(super) fn read(&self, digest: Digest) -> io::Result<Found> {
        let file = match File::open(self.path(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() < TAG || bytes.len() as u64 > MAX_FILE {
            return Ok(Found::Unusable);
        }
        let code = bytes.split_off(TAG);
        match self.mac(digest, &code).verify_slice(&bytes) {
            Ok(()) => Ok(Found::Code(code)),
            Err(_) => Ok(Found::Unusable),
        }
    }

    /// Keeps a component's compiled code.
    pub(super) fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        // Two hosts may share the folder, and two uploads the digest; each writes a file of its own and moves it into place.
        let temporary = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).and_then(
            |mut file| {
                file.write_all(&self.mac(digest, code).finalize().into_bytes())?;
                file.write_all(code)
            },
        );
        let placed = written.and_then(|()| fs::rename(&temporary, &path));
        if placed.is_err() {
            // The reason that counts is the first one.
            let _ = fs::remove_file(&temporary);
        }
        placed
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(name).with_extension("code")
    }

    fn mac(&self, digest: Digest, code: &[u8]) -> Hmac<Sha256> {
        // Fields of fixed length first, so that no two different inputs run together.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(b"tidegate compiled code 1");
        mac.update(&digest.0);
        mac.update(&self.engine.to_le_bytes());
        mac.update(code);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest([7; 32]);

    fn is_code(found: io::Result<Found>, wanted: &[u8]) -> bool {
        matches!(found, Ok(Found::Code(code)) if code == wanted)
    }

    #[test]
    fn code_comes_back_only_to_the_same_key_component_and_engine() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path(), [1; 32], "engine").unwrap();
        assert!(matches!(cache.read(DIGEST), Ok(Found::Nothing)));
        cache.write(DIGEST, b"code").unwrap();
        assert!(is_code(cache.read(DIGEST), b"code"));
        for (key, engine) in [([2; 32], "engine"), ([1; 32], "other engine")] {
            let other = CodeCache::open(dir.path(), key, engine).unwrap();
            assert!(matches!(other.read(DIGEST), Ok(Found::Unusable)));
        }
        let other = Digest([8; 32]);
        fs::rename(cache.path(DIGEST), cache.path(other)).unwrap();
        assert!(matches!(cache.read(other), Ok(Found::Unusable)));
        cache.write(other, b"its own").unwrap();
        assert!(is_code(cache.read(other), b"its own"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path(), [1; 32], "engine").unwrap();
        cache.write(DIGEST, b"code").unwrap();
        let whole = fs::read(cache.path(DIGEST)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(cache.path(DIGEST), flipped).unwrap();
            assert!(matches!(cache.read(DIGEST), Ok(Found::Unusable)), "bit {bit}");
        }
        for length in 0..whole.len() {
            fs::write(cache.path(DIGEST), &whole[..length]).unwrap();
            assert!(matches!(cache.read(DIGEST), Ok(Found::Unusable)), "{length} bytes");
        }
    }

    #[test]
    fn only_the_host_may_read_the_file_and_nothing_else_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&dir.path().join("made"), [1; 32], "engine").unwrap();
        cache.write(DIGEST, b"code").unwrap();
        let mode = fs::metadata(cache.path(DIGEST)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path().join("made")).unwrap().count(), 1);
    }
}
