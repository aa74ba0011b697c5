//! Randomness that is fit for cryptography.

use crate::bindings::tidegate::destination::random;

/// That many random bytes.
///
/// # Panics
/// The host ends the call if it is asked for more than 65,536.
pub fn bytes(count: u32) -> Vec<u8> {
    random::bytes(count)
}
