//! Halves of characters: `\ud83d` without the other half, as programs write them that cut a text in the middle of a
//! character. They are legal JSON, and many readers of JSON refuse them.
//!
//! Guarantees: what is left is JSON that every reader takes, of the same length; nothing but such halves is changed.

/// What stands for a character that is none.
const REPLACEMENT: &[u8; 4] = b"fffd";

/// Replaces each half of a character that is written as an escape, in JSON that is otherwise valid.
pub(super) fn replace(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        match (unit(json, at), unit(json, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                json[at + 2..at + 6].copy_from_slice(REPLACEMENT);
                at += 6;
            }
            (Some(_), _) => at += 6,
            // Another escape: what it escapes begins none.
            (None, _) => at = (at + 2).min(json.len()),
        }
    }
}

/// The number in an escape that begins here.
fn unit(json: &[u8], at: usize) -> Option<u32> {
    let escape = json.get(at..at + 6)?;
    let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_the_replacement_and_whole_characters_stay() {
        for (given, expected) in [
            (r#"{"a":"x"}"#, r#"{"a":"x"}"#),
            (r#"{"a":"\ud83d\ude00"}"#, r#"{"a":"\ud83d\ude00"}"#),
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a":"\uDE00\uD83D"}"#, r#"{"a":"\ufffd\ufffd"}"#),
            (r#"{"\ud83d":"\ud83d\ud83d\ude00"}"#, r#"{"\ufffd":"\ufffd\ud83d\ude00"}"#),
            (r#"{"a":"\ud83d\n\u00e9"}"#, r#"{"a":"\ufffd\n\u00e9"}"#),
            // An escaped backslash is followed by plain letters.
            (r#"{"a":"\\ud83d"}"#, r#"{"a":"\\ud83d"}"#),
            (r#"{"a":"\\\ud83d"}"#, r#"{"a":"\\\ufffd"}"#),
        ] {
            let mut json = given.as_bytes().to_vec();
            replace(&mut json);
            assert_eq!(String::from_utf8_lossy(&json), expected);
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }
}
