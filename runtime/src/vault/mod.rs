//! The vault: what secret settings are on disk.
//!
//! A *data key* for each workspace seals its secrets (XChaCha20-Poly1305); a *master key*, which is not in the database, wraps
//! the data keys. So turning to another master key rewrites a row for each workspace, and none of its secrets.
//!
//! Guarantees: what was sealed for one workspace, destination, field and version opens for these and no others; what was
//! changed does not open; an interrupted rotation leaves every key that is needed in the key file.
//!
//! Leaves to others: where sealed bytes are kept, and when what is rewrapped (`store`).

mod key_file;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::{DestinationId, Secret, WorkspaceId};
use key_file::MasterKey;

/// Bytes of a nonce: so many that random ones do not meet.
const NONCE: usize = 24;
/// Bytes that tell whether something was changed.
const TAG: usize = 16;
/// Bytes of a key.
const KEY: usize = 32;

/// Why the vault does not give what it was asked for. No message has a key or a secret in it.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key file cannot be read or written.
    #[error("cannot {what} the vault's key file `{path}` (`vault.key_file`): {source}")]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key file holds something else.
    #[error(
        "line {line} of the vault's key file `{path}` (`vault.key_file`) is no key: a key is 64 hexadecimal digits, as `openssl \
         rand -hex 32` prints them, one on a line, the one in use last"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error(
        "the vault's key file `{0}` (`vault.key_file`) has no key: put the key back with which the secrets here were stored"
    )]
    Empty(PathBuf),
    /// The key that a data key was wrapped with is gone.
    #[error(
        "the vault's key file `{path}` (`vault.key_file`) does not have the key `{master}`, with which the secrets of `{workspace}` \
         were stored: put that key back"
    )]
    NoSuchKey {
        /// The file.
        path: PathBuf,
        /// The id of the key that is missing.
        master: String,
        /// Whose secrets.
        workspace: WorkspaceId,
    },
    /// It was changed, moved, or sealed with another key.
    #[error(
        "what is stored does not open: it was changed, or belongs to another workspace, destination, setting or version"
    )]
    Sealed,
}

/// The master keys, and what is done with them.
pub struct Vault {
    path: PathBuf,
    /// The one in use last. More than one: a rotation is under way, or was interrupted.
    keys: RwLock<Vec<MasterKey>>,
}

/// What a workspace's secrets are sealed with.
pub struct DataKey {
    secrets: XChaCha20Poly1305,
    /// Of which the keys are derived that events are sealed with.
    events: hmac::Key,
}

/// A data key as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The id of the master key around it.
    pub master: String,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

/// Where a sealed value belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Which destination's.
    pub destination: DestinationId,
    /// The setting's name.
    pub field: &'a str,
    /// Which value of that setting, from 1.
    pub version: u64,
}

impl Vault {
    /// Reads the key file. `make` says whether a missing one is made: it must not be where something is sealed already.
    ///
    /// # Errors
    /// The file cannot be read or made, or holds no keys.
    pub fn open(path: &Path, make: bool) -> Result<Self, VaultError> {
        let keys = key_file::open(path, make)?;
        Ok(Self { path: path.to_owned(), keys: RwLock::new(keys) })
    }

    /// The id of the key in use.
    pub fn current(&self) -> String {
        self.with(|keys| keys.last().map(|key| key.id.clone()).unwrap_or_default())
    }

    /// Whether older keys are still kept, because data keys may be wrapped with them.
    pub fn is_rotating(&self) -> bool {
        self.with(|keys| keys.len() > 1)
    }

    /// A new data key, and how to store it.
    pub fn new_data_key(&self, workspace: WorkspaceId) -> (DataKey, Wrapped) {
        let key = key_file::random();
        let wrapped = self.wrap(workspace, &key);
        (DataKey::new(&key), wrapped)
    }

    /// The data key that was stored so.
    ///
    /// # Errors
    /// Its master key is gone, or it is not this workspace's.
    pub fn unwrap(&self, workspace: WorkspaceId, wrapped: &Wrapped) -> Result<DataKey, VaultError> {
        self.bytes(workspace, wrapped).map(|key| DataKey::new(&key))
    }

    /// The same data key under the master key in use.
    ///
    /// # Errors
    /// As for [`Vault::unwrap`].
    pub fn rewrap(&self, workspace: WorkspaceId, wrapped: &Wrapped) -> Result<Wrapped, VaultError> {
        let key = self.bytes(workspace, wrapped)?;
        Ok(self.wrap(workspace, &key))
    }

    /// Makes a new master key the one in use. It is on disk before anything is wrapped with it; the older ones stay there until
    /// [`Vault::finish`]. While a rotation is under way it goes on with that one's key.
    ///
    /// # Errors
    /// The file cannot be written; nothing has changed then.
    pub fn begin(&self) -> Result<(), VaultError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() > 1 {
            return Ok(());
        }
        let mut next = keys.clone();
        next.push(MasterKey::new(key_file::random()));
        key_file::write(&self.path, &next)?;
        *keys = next;
        Ok(())
    }

    /// Forgets all master keys but the one in use. To be called when no data key needs them any more.
    ///
    /// # Errors
    /// The file cannot be written; the older keys stay then.
    pub fn finish(&self) -> Result<(), VaultError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let last = keys.len().saturating_sub(1);
        let current = keys.split_off(last);
        let older = std::mem::replace(&mut *keys, current);
        if older.is_empty() {
            return Ok(());
        }
        let written = key_file::write(&self.path, &keys);
        if written.is_err() {
            let current = std::mem::replace(&mut *keys, older);
            keys.extend(current);
        }
        written
    }

    /// A code that only who has the master key in use can make, of a message for this purpose. It dies with that key: who turns to a
    /// new one because the old one leaked wants none of its signatures any more.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        self.with(|keys| keys.last().map(|key| key.sign(purpose, message)).unwrap_or_default())
    }

    /// Whether [`Vault::sign`] made this code, with a key that is still kept. It takes as long whatever is wrong with it.
    pub fn has_signed(&self, purpose: &str, message: &[u8], code: &[u8; 32]) -> bool {
        self.with(|keys| keys.iter().any(|key| key.sign(purpose, message).ct_eq(code).into()))
    }

    fn wrap(&self, workspace: WorkspaceId, key: &[u8; KEY]) -> Wrapped {
        self.with(|keys| {
            // Opening a vault without a key is an error, and nothing takes the last one away.
            let Some(master) = keys.last() else { unreachable!("a vault has a key") };
            let bytes = seal(&master.cipher(), key, &around(workspace, &master.id));
            Wrapped { master: master.id.clone(), bytes }
        })
    }

    fn bytes(&self, workspace: WorkspaceId, wrapped: &Wrapped) -> Result<Zeroizing<[u8; KEY]>, VaultError> {
        self.with(|keys| {
            let master = keys.iter().find(|key| key.id == wrapped.master).ok_or_else(|| VaultError::NoSuchKey {
                path: self.path.clone(),
                master: wrapped.master.clone(),
                workspace,
            })?;
            let key = open(&master.cipher(), &wrapped.bytes, &around(workspace, &master.id))?;
            let key: [u8; KEY] = key.as_slice().try_into().map_err(|_| VaultError::Sealed)?;
            Ok(Zeroizing::new(key))
        })
    }

    fn with<T>(&self, read: impl FnOnce(&[MasterKey]) -> T) -> T {
        read(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DataKey {
    fn new(key: &[u8; KEY]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"tidegate events 1");
        let events = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        Self { secrets: XChaCha20Poly1305::new(&(*key).into()), events }
    }

    /// The value as it is stored in this place.
    pub fn seal(&self, slot: Slot<'_>, value: &Secret) -> Vec<u8> {
        seal(&self.secrets, value.expose().as_bytes(), &slot.bytes())
    }

    /// The value that was sealed for this place.
    ///
    /// # Errors
    /// It was not, or was changed since.
    pub fn open(&self, slot: Slot<'_>, sealed: &[u8]) -> Result<Secret, VaultError> {
        let plain = open(&self.secrets, sealed, &slot.bytes())?;
        std::str::from_utf8(&plain).map(|text| Secret::new(text.to_owned())).map_err(|_| VaultError::Sealed)
    }
}

/// What is no setting, and comes by the hundred thousand: each sealing has a key of its own, derived of a random salt, so that
/// nothing has to be counted and no nonce meets another.
impl DataKey {
    /// These bytes as they are stored in this place, after a byte of the caller's that says that they are sealed.
    pub fn seal_bytes(&self, mark: u8, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(1 + NONCE + plain.len() + TAG);
        let salt: [u8; NONCE] = rand::random();
        stored.push(mark);
        stored.extend_from_slice(&salt);
        stored.extend_from_slice(plain);
        let key = self.once(&salt);
        let tag = key.seal_in_place_separate_tag(only_nonce(), Aad::from(place), &mut stored[1 + NONCE..]);
        // It fails for texts of 256 GB only.
        stored.extend_from_slice(tag.unwrap_or_else(|_| unreachable!("a block has some megabytes at most")).as_ref());
        stored
    }

    /// The bytes that were sealed for this place; `sealed` is without the caller's byte.
    ///
    /// # Errors
    /// They were not, or were changed since.
    pub fn open_bytes(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (salt, text) = sealed.split_first_chunk::<NONCE>().ok_or(VaultError::Sealed)?;
        let mut text = text.to_vec();
        let opened = self.once(salt).open_in_place(only_nonce(), Aad::from(place), &mut text);
        let length = opened.map_err(|_| VaultError::Sealed)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// The key of one sealing.
    fn once(&self, salt: &[u8; NONCE]) -> LessSafeKey {
        let key = hmac::sign(&self.events, salt);
        // HMAC-SHA256 makes as many bytes as the cipher's keys have.
        LessSafeKey::new(
            UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).unwrap_or_else(|_| unreachable!("a key has 32 bytes")),
        )
    }
}

/// The nonce of a key that is used once.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl Slot<'_> {
    /// All of it in a form that no other slot has: fixed lengths, and the one text last.
    fn bytes(&self) -> Vec<u8> {
        let (workspace, destination) = (self.workspace.uuid(), self.destination.uuid());
        let version = self.version.to_le_bytes();
        [&b"tidegate secret 1\0"[..], workspace.as_bytes(), destination.as_bytes(), &version, self.field.as_bytes()]
            .concat()
    }
}

/// What a wrapped data key belongs to.
fn around(workspace: WorkspaceId, master: &str) -> Vec<u8> {
    [&b"tidegate data key 1\0"[..], workspace.uuid().as_bytes(), master.as_bytes()].concat()
}

fn seal(cipher: &XChaCha20Poly1305, plain: &[u8], aad: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE] = rand::random();
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad });
    // It fails for texts of 256 GB only.
    let sealed = sealed.unwrap_or_else(|_| unreachable!("a setting has 16 KiB at most"));
    [&nonce[..], &sealed].concat()
}

fn open(cipher: &XChaCha20Poly1305, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE>().ok_or(VaultError::Sealed)?;
    let plain = cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad });
    plain.map(Zeroizing::new).map_err(|_| VaultError::Sealed)
}

/// Without the keys.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.path.display())
    }
}

#[cfg(test)]
mod tests;
