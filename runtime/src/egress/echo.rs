//! What a secret looks like when it comes back: as it is, and in the encodings that servers and functions put things into.
//!
//! Guarantees: whatever is found is replaced whole, all of it looked for in the text as it came. A server that cuts a secret into pieces or
//! encrypts it is not seen through; it has the secret anyway.
//!
//! Leaves to others: whose answers are searched (`secrets`), what is kept of them (`delivery`).

use std::ops::Range;

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

    /// Where any form is in a text; within one form no place twice.
    fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        self.0.iter().flat_map(move |form| form.find_iter(text).map(move |at| at..at + form.needle().len()))
    }
}

/// Which bytes of a text are replaced, and by what. All is looked for in the text as it was: nothing that is put into it is
/// searched, so that what comes out is bounded by what went in.
pub(super) struct Marks<'t> {
    text: &'t [u8],
    /// For each byte the number of what replaces it, from 1; with [`BEGINS`] where that begins. Empty if nothing was found.
    marks: Vec<u16>,
}

/// That what replaces this byte begins here.
const BEGINS: u16 = 1 << 15;

impl<'t> Marks<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, marks: Vec::new() }
    }

    /// Every form of a value is replaced by what has this number.
    pub(super) fn mark(&mut self, echo: &Echo, number: usize) {
        for place in echo.find(self.text) {
            self.mark_place(place, number);
        }
    }

    /// This text is.
    pub(super) fn mark_text(&mut self, wanted: &[u8], number: usize) {
        for at in memchr::memmem::find_iter(self.text, wanted) {
            self.mark_place(at..at + wanted.len(), number);
        }
    }

    /// What overlaps with another place is replaced together with that.
    fn mark_place(&mut self, place: Range<usize>, number: usize) {
        let Ok(number) = u16::try_from(number + 1) else { return };
        self.marks.resize(self.text.len(), 0);
        let marks = &mut self.marks[place];
        let alone = marks.iter().all(|mark| *mark == 0);
        marks.iter_mut().filter(|mark| **mark == 0).for_each(|mark| *mark = number);
        if alone {
            marks[0] |= BEGINS;
        }
    }

    /// The text with everything replaced; nothing if nothing was found. Cut off where it has `most` bytes.
    pub(super) fn replaced<'w>(self, with: impl Fn(usize) -> &'w [u8], most: usize) -> Option<Vec<u8>> {
        if self.marks.is_empty() {
            return None;
        }
        let (mut next, mut before) = (Vec::with_capacity(self.text.len().min(most)), 0);
        for (byte, mark) in self.text.iter().zip(&self.marks) {
            match mark & !BEGINS {
                0 => next.push(*byte),
                number if before == 0 || mark & BEGINS != 0 => next.extend_from_slice(with(usize::from(number - 1))),
                _ => {}
            }
            before = *mark;
            if next.len() > most {
                next.truncate(most);
                break;
            }
        }
        Some(next)
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

    fn replaced(echo: &Echo, text: &[u8], with: &[u8]) -> Option<Vec<u8>> {
        let mut marks = Marks::new(text);
        marks.mark(echo, 0);
        marks.replaced(|_| with, usize::MAX)
    }

    #[test]
    fn what_is_put_in_is_not_searched_again_and_what_comes_out_is_bounded() {
        // Each value stands in the name of the one before it, sixteen times.
        let values = ["aaaa", "bbbb", "cccc", "dddd"];
        let names = ["b", "c", "d", "e"].map(|letter| letter.repeat(64));
        let echoes = values.map(Echo::new);
        let text = "a".repeat(4_096);
        let shown = |most| {
            let mut marks = Marks::new(text.as_bytes());
            echoes.iter().enumerate().for_each(|(number, echo)| marks.mark(echo, number));
            marks.replaced(|number| names[number].as_bytes(), most).unwrap()
        };
        assert_eq!(shown(usize::MAX), "b".repeat(64 * 1_024).into_bytes());
        assert_eq!(shown(1_000).len(), 1_000);
    }

    #[test]
    fn places_that_overlap_are_replaced_together_and_nothing_of_either_stays() {
        let mut marks = Marks::new(b"<first-second>first-x-second");
        marks.mark(&Echo::new("first-sec"), 0);
        marks.mark(&Echo::new("second"), 1);
        marks.mark(&Echo::new("first-"), 2);
        let names = ["A", "B", "C"];
        let shown = marks.replaced(|number| names[number].as_bytes(), usize::MAX).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), "<A>Cx-B");
    }

    fn masked(text: &str) -> String {
        let replaced = replaced(&Echo::new(VALUE), text.as_bytes(), b"***");
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
        assert_eq!(replaced(&Echo::new("key"), b"the key", b"***"), None);
        assert_eq!(masked("s€cret/T0+B0"), "s€cret/T0+B0");
    }

    proptest::proptest! {
        /// Whatever the value is, its plain form never stays.
        #[test]
        fn nothing_of_a_value_stays(value in "\\PC{4,40}", around in "[a-z]{0,5}") {
            let replaced = replaced(&Echo::new(&value), format!("{around}{value}{around}").as_bytes(), b"");
            let left = String::from_utf8(replaced.expect("it was there")).expect("text");
            proptest::prop_assert!(left.len() <= 2 * around.len());
        }
    }
}
