//! The file that holds the master keys: one on a line, the one in use last.
//!
//! Guarantees: it is replaced as a whole, synced before it counts, and readable by its owner only where this program made it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hmac::{Hmac, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{KEY, VaultError};

/// Hexadecimal digits of a key's id: enough to tell a handful of keys apart.
const ID: usize = 16;

const HEADER: &str =
    "# The keys of Tidegate's vault; the last one is in use. Whoever has them and the database has every secret.\n";

/// One master key.
#[derive(Clone)]
pub(super) struct MasterKey {
    /// A digest of it, so that the same key has the same id wherever it is put.
    pub(super) id: String,
    bytes: Zeroizing<[u8; KEY]>,
}

impl MasterKey {
    pub(super) fn new(bytes: Zeroizing<[u8; KEY]>) -> Self {
        let digest = Sha256::new().chain_update("tidegate master key").chain_update(*bytes).finalize();
        let id = digest.iter().take(ID / 2).map(|byte| format!("{byte:02x}")).collect();
        Self { id, bytes }
    }

    pub(super) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.bytes).into())
    }

    /// A code over a message, with a key that is derived of this one for this purpose, so that no other use of it meets it.
    pub(super) fn sign(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let code = |key: &[u8], message: &[u8]| -> [u8; 32] {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
                .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
            mac.update(message);
            mac.finalize().into_bytes().into()
        };
        let derived = Zeroizing::new(code(&*self.bytes, purpose.as_bytes()));
        code(&*derived, message)
    }
}

/// A key that nobody knows, from the operating system.
pub(super) fn random() -> Zeroizing<[u8; KEY]> {
    let mut key = Zeroizing::new([0; KEY]);
    // A system without randomness can keep no secret.
    SysRng
        .try_fill_bytes(&mut *key)
        .unwrap_or_else(|error| panic!("the operating system gives no randomness: {error}"));
    key
}

/// Reads the file, or makes it with one key.
pub(super) fn open(path: &Path, make: bool) -> Result<Vec<MasterKey>, VaultError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
            let keys = vec![MasterKey::new(random())];
            write(path, &keys)?;
            return Ok(keys);
        }
        Err(source) => return Err(VaultError::File { what: "read", path: path.to_owned(), source }),
    };
    if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others than its owner may use the vault's key file: `chmod 600` it");
    }
    let mut keys: Vec<MasterKey> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = read(line).ok_or_else(|| VaultError::Malformed { path: path.to_owned(), line: at + 1 })?;
        keys.push(MasterKey::new(key));
    }
    if keys.is_empty() { Err(VaultError::Empty(path.to_owned())) } else { Ok(keys) }
}

fn read(line: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    let digits = Some(line.as_bytes()).filter(|digits| digits.len() == 2 * KEY)?;
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(key)
}

/// Replaces the file: after this, also after a crash, it holds these keys; before, those that it had.
pub(super) fn write(path: &Path, keys: &[MasterKey]) -> Result<(), VaultError> {
    let mut text = Zeroizing::new(HEADER.to_owned());
    for key in keys {
        key.bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let replace = || {
        // What a crash left there is nobody's key: it never had the name that counts.
        drop(fs::remove_file(&fresh));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(folder)?.sync_all()
    };
    replace().map_err(|source| VaultError::File { what: "write", path: path.to_owned(), source })
}
