//! Text from JavaScript, whose strings may hold halves of surrogate pairs.

use rquickjs::{Coerced, Ctx, FromJs, Result, Value};

/// A string in UTF-8; a half of a surrogate pair, which UTF-8 has no form for, becomes U+FFFD.
pub struct Text(pub String);

impl<'js> FromJs<'js> for Text {
    fn from_js(context: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let string = Coerced::<rquickjs::String>::from_js(context, value)?.0;
        let text = string.to_cstring()?;
        // SAFETY: the engine keeps `len` bytes alive behind the pointer for as long as `text` lives.
        let bytes = unsafe { std::slice::from_raw_parts(text.as_ptr().cast::<u8>(), text.len()) };
        Ok(Self(lossy(bytes)))
    }
}

/// The engine writes a lone surrogate as three bytes: ED, A0 to BF, 80 to BF.
fn lossy(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, others)) = rest.split_first() {
        match rest {
            [0xED, 0xA0..=0xBF, 0x80..=0xBF, after @ ..] => {
                clean.extend_from_slice("\u{FFFD}".as_bytes());
                rest = after;
            }
            _ => {
                clean.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&clean).into_owned()
}

#[cfg(test)]
mod tests {
    use super::lossy;

    #[test]
    fn half_a_surrogate_pair_is_one_replacement_character() {
        assert_eq!(lossy("é😀".as_bytes()), "é😀");
        assert_eq!(lossy(b"a\xED\xA0\x80b\xED\xBF\xBF"), "a\u{FFFD}b\u{FFFD}");
    }
}
