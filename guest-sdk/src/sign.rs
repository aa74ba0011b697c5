//! Signing with secrets that the function does not have.
//!
//! The settings hold a handle of each secret. The manifest binds a secret that signs to the place `sign-hmac-sha256` or
//! `sign-aws-sigv4`.
//!
//! ```no_run
//! use tidegate_sdk::{Result, encode, http::Request, sign};
//!
//! fn send(signing_key: &str, body: String) -> Result {
//!     let code = encode::hex(&sign::hmac_sha256(signing_key, body.as_bytes())?);
//!     Request::post("https://api.example.com/in").header("x-signature", code).body(body).send()?.success()?;
//!     Ok(())
//! }
//! ```

use crate::bindings::tidegate::destination::sign as wit;
use crate::{Error, Result};

/// HMAC-SHA256 of a message, keyed with the secret whose handle this is. [`encode`](crate::encode) makes text of it.
///
/// # Errors
/// [`Error::InvalidSettings`], if it is no handle, such as that of a secret that is not set, or one that may not sign.
pub fn hmac_sha256(handle: &str, message: &[u8]) -> Result<Vec<u8>> {
    wit::hmac_sha256(handle, message).map_err(Error::InvalidSettings)
}

/// Who signs a request to AWS, and for what: see [`Request::sign_aws`](crate::http::Request::sign_aws).
#[derive(Clone, Copy)]
pub struct Aws<'a> {
    /// The access key's id, which is no secret.
    pub access_key_id: &'a str,
    /// The handle of the secret access key, bound to `sign-aws-sigv4`.
    pub secret_access_key: &'a str,
    /// Such as `eu-central-1`.
    pub region: &'a str,
    /// The service's name in signatures, such as `personalize`.
    pub service: &'a str,
}
