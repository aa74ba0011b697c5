//! What a secret looks like when it comes back: as it is, and in the encodings that servers and functions put things into.
//!
//! Guarantees: whatever is found is replaced whole, in one pass for each form. A server that cuts a secret into pieces or
//! encrypts it is not seen through; it has the secret anyway.
//!
//! Leaves to others: whose answers are searched (`secrets`), what is kept of them (`delivery`).

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem::Finder;

/// Shorter values are not looked for: they would blank out half of every text, and protect nothing.
const SHORTEST: usize = 4;
/// Fewer characters of base64 occur by chance.
const SHORTEST_BASE64: usize = 8;

/// All forms of one value, the longest first.
pub(super) struct Echo(Vec<Finder<'static>>);

impl Echo {
    pub(super) fn new(value: &str) -> Self {
        let mut forms = if value.len() < SHORTEST { Vec::new() } else { forms(value) };
        forms.sort_by(|one, other| (other.len(), one).cmp(&(one.len(), other)));
        forms.dedup();
        Self(forms.iter().map(|form| Finder::new(form).into_owned()).collect())
    }

    /// The text with every form replaced; nothing if none is there.
    pub(super) fn replaced(&self, text: &[u8], with: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        for form in &self.0 {
            let now = changed.as_deref().unwrap_or(text);
            let mut found = form.find_iter(now).peekable();
            if found.peek().is_none() {
                continue;
            }
            let (mut next, mut from) = (Vec::with_capacity(now.len()), 0);
            for at in found {
                next.extend_from_slice(&now[from..at]);
                next.extend_from_slice(with);
                from = at + form.needle().len();
            }
            next.extend_from_slice(&now[from..]);
            changed = Some(next);
        }
        changed
    }
}

fn forms(value: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let component = percent(value, unreserved);
    // A request may be repeated as a whole, so what stands in one is looked for in these as well.
    let sent = [value.to_owned(), json.clone(), component.clone(), percent(value, in_path)];
    let mut forms: Vec<Vec<u8>> = [
        // PHP escapes slashes; others write what is not ASCII as `\u…`.
        json.replace('/', "\\/"),
        ascii_json(&json),
        component.replace("%20", "+"),
        lower_case(&component),
        lower_case(&component).replace("%20", "+"),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    // `btoa` and older servers write a byte for each character up to U+00FF.
    let latin: Option<Vec<u8>> = value.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    if let Some(latin) = latin.filter(|_| !value.is_ascii()) {
        forms.extend(base64_forms(&latin));
        forms.push(latin);
    }
    for text in sent {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        forms.extend(base64_forms(text.as_bytes()));
        forms.extend([hex.to_uppercase(), hex, text].map(String::into_bytes));
    }
    forms
}

/// Characters outside ASCII as JavaScript and Python's `json` write them.
fn ascii_json(json: &str) -> String {
    let mut units = [0; 2];
    json.chars()
        .map(|char| match char {
            char if char.is_ascii() => char.to_string(),
            char => char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect()
}

/// The part of base64 that this value decides, for each of the three ways in which it can begin in a longer text.
fn base64_forms(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..3_usize).flat_map(move |before| {
        let padded = [&[0; 2][..before], value].concat();
        // Six bits a character: what shares one with the bytes before or after is not decided by the value.
        let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)]
            .map(|text| text.as_bytes()[first..end].to_vec())
            .into_iter()
            .filter(|form| form.len() >= SHORTEST_BASE64)
    })
}

/// %-encoding of everything that `keep` does not name.
pub(super) fn percent(text: &str, keep: fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if keep(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What never needs encoding in a URL (RFC 3986, section 2.3).
pub(super) fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What may stand in a path: its segments' characters, and what parts them (RFC 3986, section 3.3).
pub(super) fn in_path(byte: u8) -> bool {
    unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/'
        )
}

/// The same %-encoding with lower-case digits.
fn lower_case(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut text, part| {
        let (digits, rest) = part.split_at(part.len().min(2));
        text.push('%');
        text.push_str(&digits.to_ascii_lowercase());
        text.push_str(rest);
        text
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const VALUE: &str = "s€cret/T0+B0 \"x\"?";

    fn masked(text: &str) -> String {
        let replaced = Echo::new(VALUE).replaced(text.as_bytes(), b"***");
        replaced.map_or_else(|| text.to_owned(), |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn every_usual_form_of_a_value_is_found() {
        let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
        let form = url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect::<String>();
        let json = serde_json::Value::from(VALUE).to_string();
        for text in [
            VALUE.to_owned(),
            json.clone(),
            json.replace('/', "\\/"),
            json.replace('€', "\\u20ac"),
            form.clone(),
            form.replace('+', "%20"),
            form.replace("%E2%82%AC", "%e2%82%ac").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3F", "%3f"),
            hex.clone(),
            hex.to_uppercase(),
        ] {
            let found = masked(&format!("before {text} after {text}"));
            assert_eq!(found.matches("***").count(), 2, "{text}: {found}");
            assert!(found.starts_with("before ") && !found.contains("T0"), "{found}");
        }
    }

    #[test]
    fn base64_is_found_wherever_the_value_begins_in_it() {
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy", ":"] {
                for engine in [STANDARD, URL_SAFE] {
                    let text = engine.encode(format!("{before}{VALUE}{after}"));
                    let found = masked(&text);
                    assert!(found.contains("***"), "{before} {after}: {found}");
                    assert!(found.len() < 20, "no more than the ends are left: {found}");
                }
            }
        }
    }

    #[test]
    fn short_values_and_other_texts_stay() {
        assert_eq!(Echo::new("key").replaced(b"the key", b"***"), None);
        assert_eq!(masked("s€cret/T0+B0"), "s€cret/T0+B0");
    }

    proptest::proptest! {
        /// Whatever the value is, its plain form never stays.
        #[test]
        fn nothing_of_a_value_stays(value in "\\PC{4,40}", around in "[a-z]{0,5}") {
            let replaced = Echo::new(&value).replaced(format!("{around}{value}{around}").as_bytes(), b"");
            let left = String::from_utf8(replaced.expect("it was there")).expect("text");
            proptest::prop_assert!(left.len() <= 2 * around.len());
        }
    }
}
