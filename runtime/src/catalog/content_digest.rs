//! `content-digest` (RFC 9530): by which an upload that arrives otherwise than it was sent is found. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Why an upload is not what its sender says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentDigestError {
    /// Nothing here can be compared.
    #[error("`content-digest` is `{0}`: it must be `sha-256=:BASE64:`, the SHA-256 of the body as it is sent")]
    Form(String),
    /// The body is another one.
    #[error("the body that arrived has the digest `{found}`, and not `{said}` as `content-digest` says: send it again")]
    Other {
        /// What the sender says.
        said: String,
        /// What arrived.
        found: String,
    },
}

/// The digest of a body, as the header has it.
pub fn of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Compares what arrived with what the header says of it. Digests by other functions may stand beside the one that is compared.
///
/// # Errors
/// The header has no SHA-256, or that of another body.
pub fn check(header: &str, body: &[u8]) -> Result<(), ContentDigestError> {
    let form = || ContentDigestError::Form(header.chars().take(100).collect());
    let mut members = header.split(',').filter_map(|member| member.trim().split_once('='));
    let (_, value) = members.find(|(name, _)| *name == "sha-256").ok_or_else(form)?;
    let code = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or_else(form)?;
    let said: [u8; 32] = STANDARD.decode(code).ok().and_then(|said| said.try_into().ok()).ok_or_else(form)?;
    let found: [u8; 32] = Sha256::digest(body).into();
    if said == found {
        return Ok(());
    }
    Err(ContentDigestError::Other { said: format!("sha-256=:{code}:"), found: of(body) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_specifications_example() {
        let said = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(of(b"{\"hello\": \"world\"}"), said);
        assert_eq!(check(said, b"{\"hello\": \"world\"}"), Ok(()));
        assert_eq!(check(&format!("sha-512=:AAAA:, {said}"), b"{\"hello\": \"world\"}"), Ok(()));
    }

    #[test]
    fn another_body_is_told_from_a_header_that_says_nothing() {
        let said = of(b"a");
        assert_eq!(check(&said, b"b"), Err(ContentDigestError::Other { said, found: of(b"b") }));
        for header in
            ["", "sha-256", "sha-256=", "sha-256=::", "sha-256=:AAAA:", "sha-256=:!:", "sha-512=:AAAA:", "md5=:AAAA:"]
        {
            assert_eq!(check(header, b"b"), Err(ContentDigestError::Form(header.to_owned())), "{header}");
        }
    }
}
