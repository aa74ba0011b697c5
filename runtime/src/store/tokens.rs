//! The form of the control API's tokens. Only their hashes are stored.

use rand::distr::{Alphanumeric, SampleString};
use sha2::{Digest, Sha256};

/// What every token begins with, so that scanners find it where it does not belong.
const PREFIX: &str = "tgk_";
/// Letters and digits of the secret: 238 bits.
const SECRET: usize = 40;
/// Hexadecimal digits of the checksum: a mistyped token is told apart without looking it up.
const CHECK: usize = 6;
/// Characters of the secret that are kept beside the hash, so that people recognise a key. They leave 214 bits.
const SHOWN: usize = 4;

fn check(secret: &str) -> String {
    Sha256::digest(secret).iter().take(CHECK / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// What is stored of a token.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// A new token.
pub(super) fn token() -> String {
    let secret = Alphanumeric.sample_string(&mut rand::rng(), SECRET);
    let check = check(&secret);
    format!("{PREFIX}{secret}{check}")
}

/// A new code of an invitation.
pub(super) fn invitation() -> String {
    format!("tgi_{}", Alphanumeric.sample_string(&mut rand::rng(), SECRET))
}

/// The part of a token that may be shown again.
pub(super) fn prefix(token: &str) -> String {
    token.chars().take(PREFIX.len() + SHOWN).collect()
}

/// Whether a text has the form of a token, checksum included.
pub(super) fn is_token(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .filter(|rest| rest.is_ascii() && rest.len() == SECRET + CHECK)
        .is_some_and(|rest| check(&rest[..SECRET]) == rest[SECRET..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_checksum_that_finds_every_changed_character() {
        let token = token();
        assert!(is_token(&token));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_token(&String::from_utf8(changed).unwrap()), "{at}");
        }
        assert!(!is_token(&token[1..]) && !is_token("") && !is_token(&format!("{token}x")));
        assert!(token.starts_with(&prefix(&token)) && prefix(&token).len() == 8);
    }
}
