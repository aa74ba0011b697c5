//! A text that nobody but a partner's server may read.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// The value of a secret setting. It shows itself to nobody, is not serialised, and its memory is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text that is secret from here on.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: for the gate, the vault and `sign`, and for nothing that is kept or shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A secret as it is stored: only the vault opens it, and only where it belongs.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which value of its setting this is, from 1.
    pub version: u64,
    /// Whether the function could read it when it was saved, and whoever saved it saw that.
    pub revealed: bool,
    /// What the vault made of it.
    pub bytes: Vec<u8>,
}

/// The number of its value, which is all that may be known of it.
impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.version)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.version)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
