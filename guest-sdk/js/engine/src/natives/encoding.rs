//! Bytes and text: UTF-8 and Base64.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use rquickjs::{ArrayBuffer, Ctx, Exception, FromJs, Result, Value};

use crate::text::Text;

/// Padding or none, and bits left over: what Node takes, and what the Web's `atob` takes of well-formed text.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Copied out of an `ArrayBuffer` or a `Uint8Array`, so that nothing can change it meanwhile.
pub struct Bytes(pub Vec<u8>);

impl<'js> FromJs<'js> for Bytes {
    fn from_js(context: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let buffer = value.as_object().and_then(|object| object.as_array_buffer());
        let array = value.as_object().and_then(|object| object.as_typed_array::<u8>());
        let raw = match (buffer, array) {
            (Some(buffer), _) => buffer.as_raw(),
            (None, Some(array)) => array.as_raw(),
            (None, None) => None,
        };
        // SAFETY: the engine's own place of these bytes; no JavaScript runs between here and the end of the copy.
        let bytes = raw.map(|raw| unsafe { raw.as_ref() }.to_vec());
        bytes.map(Self).ok_or_else(|| Exception::throw_type(context, "bytes were expected, as a Uint8Array"))
    }
}

/// `encodeUtf8(text)`.
pub fn encode_utf8(context: Ctx<'_>, text: Text) -> Result<ArrayBuffer<'_>> {
    ArrayBuffer::new(context, text.0.into_bytes())
}

/// `decodeUtf8(bytes, fatal, ignoreBOM)`.
pub fn decode_utf8(context: Ctx<'_>, bytes: Bytes, fatal: bool, ignore_mark: bool) -> Result<String> {
    let bytes = bytes.0;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) if fatal => {
            return Err(Exception::throw_type(&context, "The encoded data was not valid for encoding utf-8"));
        }
        Err(wrong) => String::from_utf8_lossy(wrong.as_bytes()).into_owned(),
    };
    let marked = text.strip_prefix('\u{FEFF}').filter(|_| !ignore_mark).map(str::to_owned);
    Ok(marked.unwrap_or(text))
}

/// `base64Encode(bytes)`.
pub fn base64_encode(bytes: Bytes) -> String {
    STANDARD.encode(bytes.0)
}

/// `base64Decode(text, lenient)`: lenient drops what is no Base64, as Node does; else it throws, as `atob` does.
pub fn base64_decode(context: Ctx<'_>, text: Text, lenient: bool) -> Result<ArrayBuffer<'_>> {
    let text = text.0;
    let mut clean: String = match lenient {
        // Node also reads the alphabet of URLs, and stops at the first `=`.
        true => {
            let plain = text.split('=').next().unwrap_or_default().chars();
            let plain = plain.map(|character| match character {
                '-' => '+',
                '_' => '/',
                other => other,
            });
            plain.filter(|character| character.is_ascii_alphanumeric() || matches!(character, '+' | '/')).collect()
        }
        false => text.chars().filter(|character| !character.is_ascii_whitespace()).collect(),
    };
    if lenient && clean.len() % 4 == 1 {
        clean.pop();
    }
    match FORGIVING.decode(&clean) {
        Ok(bytes) => ArrayBuffer::new(context, bytes),
        Err(_) => Err(Exception::throw_type(&context, "The string to be decoded is not correctly encoded.")),
    }
}
