//! Hashes and HMAC, for Node's `crypto` and for WebCrypto.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use rquickjs::{ArrayBuffer, Ctx, Exception, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use tidegate_sdk::bindings::tidegate::destination::sign;

use super::encoding::Bytes;
use crate::text::Text;

/// `digest(algorithm, bytes)`.
pub fn digest<'js>(context: Ctx<'js>, algorithm: Text, bytes: Bytes) -> Result<ArrayBuffer<'js>> {
    let bytes = bytes.0;
    let hash = match &*algorithm.0 {
        "md5" => Md5::digest(bytes).to_vec(),
        "sha1" => Sha1::digest(bytes).to_vec(),
        "sha256" => Sha256::digest(bytes).to_vec(),
        "sha384" => Sha384::digest(bytes).to_vec(),
        "sha512" => Sha512::digest(bytes).to_vec(),
        other => return Err(unknown(&context, other)),
    };
    ArrayBuffer::new(context, hash)
}

/// `hmac(algorithm, key, bytes)`. A handle as key stands for its secret, so the host makes the code.
pub fn hmac<'js>(context: Ctx<'js>, algorithm: Text, key: Bytes, bytes: Bytes) -> Result<ArrayBuffer<'js>> {
    let (key, bytes) = (key.0, bytes.0);
    if let Some(handle) = handle(&key) {
        let made = match &*algorithm.0 {
            "sha256" => sign::hmac_sha256(handle, &bytes),
            other => Err(format!("the secret behind a handle signs with sha256, not with {other}")),
        };
        let code = made.map_err(|why| Exception::throw_type(&context, &why))?;
        return ArrayBuffer::new(context, code);
    }
    let code = match &*algorithm.0 {
        "md5" => code::<Hmac<Md5>>(&key, &bytes),
        "sha1" => code::<Hmac<Sha1>>(&key, &bytes),
        "sha256" => code::<Hmac<Sha256>>(&key, &bytes),
        "sha384" => code::<Hmac<Sha384>>(&key, &bytes),
        "sha512" => code::<Hmac<Sha512>>(&key, &bytes),
        other => return Err(unknown(&context, other)),
    };
    ArrayBuffer::new(context, code)
}

/// The key as a handle, if it has the form of one.
fn handle(key: &[u8]) -> Option<&str> {
    let digits = key.strip_prefix(b"tgs_").filter(|digits| digits.len() == 32)?;
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if digits.iter().all(is_digit) { std::str::from_utf8(key).ok() } else { None }
}

fn code<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC refuses no key"));
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

fn unknown(context: &Ctx<'_>, algorithm: &str) -> rquickjs::Error {
    Exception::throw_type(context, &format!("`{algorithm}` is no hash here; use md5, sha1, sha256, sha384 or sha512"))
}
