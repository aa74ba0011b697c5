//! Before any event: who made an upload, by an ed25519 signature over the component and the manifest in it.
//!
//! Guarantees: a signature holds for one component, name, version and sequence, and for nothing else that anybody signs with the
//! same key; keys are read in the forms that `openssl` writes.
//! Leaves to others: whose key it is, and whether a later version was signed before (`store`).
//!
//! What is signed, byte for byte: `tidegate function signature 1` and a zero byte; the SHA-256 of the component, whose section
//! `tidegate:manifest` is the manifest; the sequence as 8 bytes, the highest first; then name and version of the manifest, each
//! after its length as 2 bytes, the higher first.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::model::hex::bytes;
use crate::model::{Digest, Manifest, PublicKey};

/// What a signature's text begins with: which algorithm it is.
const ALGORITHM: &str = "ed25519";

/// Where one signature ends and another purpose begins.
const DOMAIN: &[u8] = b"tidegate function signature 1\0";

/// What stands before the 32 bytes of a public key in DER (RFC 8410).
const PUBLIC_DER: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the 32 bytes of a private key in DER (RFC 8410).
const PRIVATE_DER: &[u8] =
    &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The largest sequence: SQLite's largest integer. Milliseconds reach it in the year 292,000,000.
pub const MAX_SEQUENCE: u64 = i64::MAX as u64;

/// Why a key or a signature cannot be used. No message has a private key in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is no public key.
    #[error(
        "this is no ed25519 public key: give its 64 hexadecimal digits, or PEM as `openssl pkey -pubout` writes it"
    )]
    NoPublicKey,
    /// The text is no private key.
    #[error(
        "this is no ed25519 private key: `tidegate signing-key new FILE` or `openssl genpkey -algorithm ed25519` makes one"
    )]
    NoPrivateKey,
    /// The text is no signature.
    #[error(
        "this is no signature: it is `ed25519 PUBLIC-KEY SEQUENCE SIGNATURE`, as `tidegate function sign` writes it"
    )]
    NoSignature,
    /// It was made over something else.
    #[error(
        "the signature is not over this component: sign what `tidegate function build` writes, after the last change, and upload that"
    )]
    Wrong,
}

/// A signature with the key that checks it. As text: `ed25519 PUBLIC-KEY SEQUENCE SIGNATURE`, in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// With what to check it.
    pub key: PublicKey,
    /// Its place among the signed versions of the function.
    pub sequence: u64,
    code: [u8; 64],
}

/// The private half of a signing key. It never leaves its owner's machine.
pub struct PrivateKey(Ed25519KeyPair);

fn message(digest: Digest, manifest: &Manifest, sequence: u64) -> Vec<u8> {
    let mut message = [DOMAIN, &digest.0, &sequence.to_be_bytes()].concat();
    for text in [&manifest.name, &manifest.version] {
        // A manifest's name and version have 64 characters at most.
        message.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        message.extend(text.as_bytes());
    }
    message
}

impl Signature {
    /// Whether it was made over this component with its key.
    ///
    /// # Errors
    /// [`SignatureError::Wrong`].
    pub fn check(&self, digest: Digest, manifest: &Manifest) -> Result<(), SignatureError> {
        let key = UnparsedPublicKey::new(&ED25519, self.key.0);
        key.verify(&message(digest, manifest, self.sequence), &self.code).map_err(|_| SignatureError::Wrong)
    }

    /// The signature itself in hexadecimal digits.
    pub fn code(&self) -> String {
        self.code.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM} {} {} {}", self.key, self.sequence, self.code())
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [ALGORITHM, key, sequence, code] = parts[..] else { return Err(SignatureError::NoSignature) };
        let read = || {
            let sequence = sequence.parse().ok().filter(|sequence| *sequence <= MAX_SEQUENCE)?;
            Some(Self { key: PublicKey(bytes(key)?), sequence, code: bytes(code)? })
        };
        read().ok_or(SignatureError::NoSignature)
    }
}

impl PrivateKey {
    /// A new key, as the text to keep it in: PKCS #8 in PEM, which `openssl` reads too.
    pub fn generate() -> Zeroizing<String> {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let der = Zeroizing::new([PRIVATE_DER, &*seed].concat());
        let text = Zeroizing::new(STANDARD.encode(&*der));
        Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *text))
    }

    /// Reads a key in PEM.
    ///
    /// # Errors
    /// [`SignatureError::NoPrivateKey`].
    pub fn read(text: &str) -> Result<Self, SignatureError> {
        let der = Zeroizing::new(pem(text, "PRIVATE KEY").ok_or(SignatureError::NoPrivateKey)?);
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_| SignatureError::NoPrivateKey)
    }

    /// The half that the host gets to know.
    pub fn public(&self) -> PublicKey {
        // An ed25519 public key has 32 bytes.
        PublicKey(self.0.public_key().as_ref().try_into().unwrap_or_default())
    }

    /// Signs a component and the manifest in it.
    pub fn sign(&self, digest: Digest, manifest: &Manifest, sequence: u64) -> Signature {
        let made = self.0.sign(&message(digest, manifest, sequence));
        // And a signature 64.
        let code = made.as_ref().try_into().unwrap_or([0; 64]);
        Signature { key: self.public(), sequence, code }
    }
}

/// Points of small order, as keys are written but for the sign in the last bit: whoever has such a key signs everything, since a
/// signature says nothing about it. Two of them can be written in another way as well.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn is_small_order(key: &[u8; 32]) -> bool {
    let mut point = *key;
    point[31] &= 0x7f;
    SMALL_ORDER.iter().any(|known| bytes(known) == Some(point))
}

/// Reads a public key in hexadecimal digits or PEM. One that vouches for nothing is none.
///
/// # Errors
/// [`SignatureError::NoPublicKey`].
pub fn public_key(text: &str) -> Result<PublicKey, SignatureError> {
    let from_pem = || pem(text, "PUBLIC KEY")?.strip_prefix(PUBLIC_DER)?.try_into().ok();
    let key = bytes(text.trim()).or_else(from_pem).filter(|key| !is_small_order(key));
    key.map(PublicKey).ok_or(SignatureError::NoPublicKey)
}

fn pem(text: &str, kind: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let inner = text.split_once(&begin)?.1.split_once(&end)?.0;
    let digits = Zeroizing::new(inner.split_ascii_whitespace().collect::<String>());
    STANDARD.decode(digits.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `openssl genpkey -algorithm ed25519`, and `openssl pkey -pubout` of it.
    const OPENSSL: [&str; 2] = [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
    ];

    fn manifest(name: &str, version: &str) -> Manifest {
        let text = format!("name = \"{name}\"\nversion = \"{version}\"\nevents = [\"track\"]\n");
        super::super::manifest::parse(&text).unwrap()
    }

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        // The seed and the public key of RFC 8032, 7.1, test 1.
        let hex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let key = PrivateKey::read(OPENSSL[0]).unwrap();
        assert_eq!(key.public().to_string(), hex);
        assert_eq!(public_key(OPENSSL[1]), Ok(key.public()));
        assert_eq!(public_key(&format!(" {hex}\n")), Ok(key.public()));
        let own = PrivateKey::read(&PrivateKey::generate()).unwrap();
        assert_ne!(own.public(), key.public());
        for wrong in ["", &hex[2..], OPENSSL[0], "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert_eq!(public_key(wrong), Err(SignatureError::NoPublicKey), "{wrong}");
        }
        for weak in SMALL_ORDER {
            let signed = format!("{}{:02x}", &weak[..62], u8::from_str_radix(&weak[62..], 16).unwrap() | 0x80);
            for key in [weak, &signed] {
                assert_eq!(
                    public_key(key),
                    Err(SignatureError::NoPublicKey),
                    "whoever signs by {key} signs everything"
                );
            }
        }
        for wrong in ["", hex, OPENSSL[1], &OPENSSL[0].replace('M', "N")] {
            assert!(PrivateKey::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_signature_covers_component_name_version_and_sequence() {
        let key = PrivateKey::read(OPENSSL[0]).unwrap();
        let (digest, own) = (Digest([7; 32]), manifest("mailer", "1.2"));
        let signature = key.sign(digest, &own, 5);
        assert_eq!(signature.to_string().parse(), Ok(signature.clone()));
        assert_eq!(signature.check(digest, &own), Ok(()));
        assert_eq!(signature.check(Digest([8; 32]), &own), Err(SignatureError::Wrong));
        for (name, version) in [("mailer", "1.3"), ("mailer1", ".2"), ("maile", "r1.2")] {
            assert_eq!(signature.check(digest, &manifest(name, version)), Err(SignatureError::Wrong), "{name}");
        }
        let later = Signature { sequence: 6, ..signature.clone() };
        assert_eq!(later.check(digest, &own), Err(SignatureError::Wrong));
        let another = Signature { key: PublicKey([9; 32]), ..signature.clone() };
        assert_eq!(another.check(digest, &own), Err(SignatureError::Wrong));
        let text = signature.to_string();
        for wrong in
            ["", "ed25519", &text[1..], &format!("{text} x"), &text.replace(" 5 ", " -5 "), &text[..text.len() - 2]]
        {
            assert_eq!(wrong.parse::<Signature>(), Err(SignatureError::NoSignature), "{wrong}");
        }
    }
}
