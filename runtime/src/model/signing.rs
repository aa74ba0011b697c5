//! Signatures of uploads: who may make them, and what is kept of one.

use std::fmt;

use serde::Serialize;

use super::{KeyId, PartnerId, SigningKeyId, Timestamp};

/// An ed25519 public key (RFC 8032). Text and JSON are its 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A key with which a partner signs uploads: the public half, which is all that this host ever has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SigningKey {
    /// Its id.
    pub id: SigningKeyId,
    /// Whose it is.
    pub partner: PartnerId,
    /// What people call it.
    pub name: String,
    /// The key itself.
    pub public: PublicKey,
    /// When it was registered.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
    /// Since when nothing new is taken that it signed.
    pub revoked_at: Option<Timestamp>,
}

/// A signature that was checked when a version was uploaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Signed {
    /// With which key.
    pub key: SigningKeyId,
    /// Its place among the signed versions of the function: each one's is larger than those before.
    pub sequence: u64,
    /// The signature itself, 128 hexadecimal digits, so that others can check it too.
    pub signature: String,
}
