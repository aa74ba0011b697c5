//! What this destination's calls may keep for the next ones: an access token, a list that rarely changes.
//!
//! Kept in the host's memory for this version of the function, this destination and its present settings alone. The
//! host may forget a value at any time.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Result, cache, http::Request};
//!
//! fn token() -> Result<String> {
//!     cache::load("token", Some(Duration::from_secs(3000)), || {
//!         Ok(Request::post("https://api.example.com/token").send()?.success()?.text())
//!     })
//! }
//! ```

use std::time::Duration;

use crate::bindings::tidegate::destination::cache as wit;
use crate::{Result, log};

/// The value under this key, if it is kept and its time is not over.
pub fn get(key: &str) -> Option<String> {
    wit::get(key)
}

/// Keeps a value for so long, or for as long as there is room.
///
/// # Errors
/// The host does not keep it, and says why: a key has 256 bytes at most, a value 32 KiB.
pub fn set(key: &str, value: &str, time: Option<Duration>) -> std::result::Result<(), String> {
    wit::set(key, value, time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

/// Forgets the value under this key, if there is one.
pub fn delete(key: &str) {
    wit::delete(key);
}

/// The value under this key; where none is kept, one that `make` makes and that is kept from now on.
///
/// A value that the host does not keep is returned all the same, and the log says why.
///
/// # Errors
/// Those of `make`.
pub fn load(key: &str, time: Option<Duration>, make: impl FnOnce() -> Result<String>) -> Result<String> {
    if let Some(kept) = get(key) {
        return Ok(kept);
    }
    let made = make()?;
    if let Err(refused) = set(key, &made, time) {
        log::warn(&refused);
    }
    Ok(made)
}
