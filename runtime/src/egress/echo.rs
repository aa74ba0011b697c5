//! What a secret looks like when it comes back, and where that stands in a text.
//!
//! A text is searched as it is and with its escapes read (`plain`), so that it does not matter which encoder wrote which character how,
//! each time in one pass for all secrets. What is no escape of single characters has forms of its own: base64, base32, hexadecimal digits, UTF-16 and Latin-1.
//!
//! Guarantees: whatever is found is replaced whole, all of it looked for in the text as it came; the time is linear in the text,
//! whatever it and the secrets are. A server that cuts a secret into pieces or encrypts it is not seen through; it has the secret anyway.
//!
//! Leaves to others: whose answers are searched (`secrets`), what is kept of them (`delivery`).

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::plain::{Plain, Reading};

/// Shorter values are not looked for: they would blank out half of every text, and protect nothing.
const SHORTEST: usize = 4;
/// Fewer characters of base64 or base32, or in letters of another case, occur by chance.
const SHORTEST_CODED: usize = 8;
/// So many bytes of a form are searched for; where they stand, as much as the whole form is long is replaced, whatever follows them. To
/// compare the rest and replace what fits would tell a guest, guess by guess, how a secret goes on whose beginning it knows.
const BEGINNING: usize = 64;
/// How much more of a text has to be searched to find what begins before some place: a form's beginning, each byte of it in its
/// longest escape.
pub(super) const MARGIN: usize = BEGINNING * 16;
/// So many bytes of a text are searched at a time: less than a millisecond's work.
pub(super) const STEP: usize = 32 << 10;
/// More places in one text are nobody's answer: they are a text that was made to cost time.
const MOST_PLACES: usize = 100_000;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What is looked for: the values of some secrets in all their forms, and the handles that stand for them.
pub(super) struct Search {
    beginnings: AhoCorasick,
    forms: Vec<Form>,
}

struct Form {
    /// Which secret's.
    of: usize,
    handle: bool,
    /// Whether its first characters are missing, since what stands before the value took them into an escape.
    tail: bool,
    text: Box<[u8]>,
}

/// There are more than [`MOST_PLACES`].
#[derive(Debug)]
pub(super) struct TooMany;

/// Where secrets stand in a text, from the left to the right, and whose they are. No two overlap.
#[derive(Debug)]
pub(super) struct Places(Vec<(Range<usize>, usize)>);

impl Search {
    /// Of each secret its value and its handle.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = Vec::new();
        for (of, (value, handle)) in secrets.enumerate() {
            all.push(Form { of, handle: true, tail: false, text: handle.as_bytes().into() });
            if value.len() < SHORTEST {
                continue;
            }
            let mut forms = forms(value);
            forms.retain(|form| form.len() >= SHORTEST);
            forms.sort();
            forms.dedup();
            let form = |tail| move |text: Vec<u8>| Form { of, handle: false, tail, text: text.into() };
            all.extend(forms.into_iter().map(form(false)));
            all.extend(tails(value).into_iter().map(form(true)));
        }
        let beginnings = all.iter().map(|form| &form.text[..form.text.len().min(BEGINNING)]);
        let beginnings = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(beginnings)
            // It numbers its states with 31 bits; a manifest's settings, each with some dozen forms of 64 bytes, need twenty.
            .unwrap_or_else(|error| unreachable!("too many secrets for one search: {error}"));
        Self { beginnings, forms: all }
    }

    /// Where what is wanted stands: the values of the secrets with these numbers, or their handles too.
    pub(super) fn places(&self, text: &[u8], handles: bool, wanted: impl Fn(usize) -> bool) -> Result<Places, TooMany> {
        let mut searching = self.begin(text, handles, wanted);
        while !searching.step()? {}
        Ok(searching.over())
    }

    /// The same in steps, between which others may have the processor.
    pub(super) fn begin<'a, W: Fn(usize) -> bool>(
        &'a self,
        text: &'a [u8],
        handles: bool,
        wanted: W,
    ) -> Searching<'a, W> {
        // Also where there are escapes: what stands before a form may make one of its beginning that is none.
        let stage = if text.len() < SHORTEST { Stage::Over } else { Stage::Written(0) };
        Searching { search: self, text, handles, wanted, stage, seen: 0, found: Vec::new() }
    }
}

/// A search that is under way.
pub(super) struct Searching<'a, W> {
    search: &'a Search,
    text: &'a [u8],
    handles: bool,
    wanted: W,
    stage: Stage<'a>,
    /// Places in the text of this stage, also those that are not wanted.
    seen: usize,
    found: Vec<(Range<usize>, usize)>,
}

/// What is done next, and from where on.
enum Stage<'a> {
    /// The text is searched as it came.
    Written(usize),
    /// Its escapes are read.
    Read(Box<Reading<'a>>),
    /// What was read is searched.
    Plain(Box<Plain>, usize),
    Over,
}

impl<W: Fn(usize) -> bool> Searching<'_, W> {
    /// Goes on for [`STEP`] bytes, and says whether that was all.
    pub(super) fn step(&mut self) -> Result<bool, TooMany> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Written(at) => {
                self.find(self.text, at, |place| place)?;
                match at + STEP {
                    at if at < self.text.len() => Stage::Written(at),
                    _ => Reading::of(self.text).map_or(Stage::Over, |reading| Stage::Read(Box::new(reading))),
                }
            }
            Stage::Read(mut reading) => match reading.step(STEP) {
                true => {
                    self.seen = 0;
                    Stage::Plain(Box::new(reading.over()), 0)
                }
                false => Stage::Read(reading),
            },
            Stage::Plain(plain, at) => {
                self.find(plain.bytes(), at, |place| plain.written(place))?;
                match at + STEP {
                    at if at < plain.bytes().len() => Stage::Plain(plain, at),
                    _ => Stage::Over,
                }
            }
            Stage::Over => Stage::Over,
        };
        Ok(matches!(self.stage, Stage::Over))
    }

    /// What was found.
    pub(super) fn over(self) -> Places {
        Places(together(self.found))
    }

    /// What begins in the step from `at` on. It is looked at as far as what begins there may go.
    fn find(&mut self, text: &[u8], at: usize, written: impl Fn(Range<usize>) -> Range<usize>) -> Result<(), TooMany> {
        let next = at.saturating_add(STEP).min(text.len());
        let looked = &text[at..next.saturating_add(BEGINNING - 1).min(text.len())];
        for beginning in self.search.beginnings.find_overlapping_iter(looked) {
            let first = at + beginning.start();
            if first >= next {
                continue;
            }
            if self.seen >= MOST_PLACES {
                return Err(TooMany);
            }
            self.seen += 1;
            let form = &self.search.forms[beginning.pattern().as_usize()];
            if form.handle && !self.handles || !(self.wanted)(form.of) {
                continue;
            }
            let end = first.saturating_add(form.text.len()).min(text.len());
            // The escape that took the first characters goes, too.
            let start = first.saturating_sub(usize::from(form.tail));
            self.found.push((written(start..end), form.of));
        }
        Ok(())
    }
}

/// Places that overlap as one, named by the first of the secrets in it.
fn together(mut found: Vec<(Range<usize>, usize)>) -> Vec<(Range<usize>, usize)> {
    found.sort_by_key(|(place, _)| (place.start, place.end));
    let mut places: Vec<(Range<usize>, usize)> = Vec::new();
    for (place, of) in found {
        match places.last_mut() {
            Some((before, first)) if place.start < before.end => {
                before.end = before.end.max(place.end);
                *first = of.min(*first);
            }
            _ => places.push((place, of)),
        }
    }
    places
}

impl Places {
    /// Whose the first of them is, if it begins before `end`.
    pub(super) fn first(&self, end: usize) -> Option<usize> {
        self.0.first().filter(|(place, _)| place.start < end).map(|(_, of)| *of)
    }

    /// The text up to `end` with everything replaced that begins before that; nothing if nothing does. Cut off where it
    /// has `most` bytes.
    pub(super) fn replaced<'w>(
        &self,
        text: &[u8],
        end: usize,
        with: impl Fn(usize) -> &'w [u8],
        most: usize,
    ) -> Option<Vec<u8>> {
        let mut places = self.0.iter().take_while(|(place, _)| place.start < end).peekable();
        places.peek()?;
        let (mut next, mut from) = (Vec::with_capacity(end.min(most)), 0);
        for (place, of) in places {
            next.extend_from_slice(&text[from..place.start]);
            next.extend_from_slice(with(*of));
            from = place.end;
            if next.len() > most {
                break;
            }
        }
        next.extend_from_slice(text.get(from..end).unwrap_or_default());
        next.truncate(most);
        Some(next)
    }
}

fn forms(value: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(value).to_string();
    // A request may be repeated as a whole, so how the gate writes a value is looked for within other codes as well.
    let sent =
        [value.to_owned(), json[1..json.len() - 1].to_owned(), percent(value, unreserved), percent(value, in_path)];
    let mut forms: Vec<Vec<u8>> = sent
        .iter()
        .flat_map(|text| [base64_forms(text.as_bytes()), base32_forms(text.as_bytes()), hex(text)].concat())
        .collect();
    forms.extend(sent.into_iter().map(String::into_bytes));
    let mut written = vec![value.as_bytes().to_vec()];
    // As the name of a header comes back.
    if value.len() >= SHORTEST_CODED {
        written.extend([value.to_ascii_lowercase(), value.to_ascii_uppercase()].map(String::into_bytes));
    }
    // `btoa` and older servers write a byte for each character up to U+00FF.
    if !value.is_ascii() {
        let latin: Vec<u8> = value.chars().flat_map(latin).collect();
        forms.extend(base64_forms(&latin));
        // Bytes that are no UTF-8 reach a guest as this.
        written.push(String::from_utf8_lossy(&latin).into_owned().into_bytes());
        written.push(latin);
    }
    let wide: Vec<u16> = value.encode_utf16().collect();
    for wide in
        [u16::to_le_bytes, u16::to_be_bytes].map(|bytes| wide.iter().copied().flat_map(bytes).collect::<Vec<u8>>())
    {
        forms.extend(base64_forms(&wide));
        written.push(wide);
    }
    for text in written {
        let plain = Plain::of(&text).map_or_else(|| text.clone(), |plain| plain.bytes().to_vec());
        // A space in a form.
        let in_form = |text: &[u8]| text.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect();
        forms.extend([in_form(&plain), in_form(&text), plain, text]);
    }
    forms
}

/// Characters of a value that an escape which begins before it can take: `%2` takes one, `\u` four.
const MOST_TAKEN: usize = 4;

/// What is left of a value where what stands before it made an escape of its first characters.
fn tails(value: &str) -> Vec<Vec<u8>> {
    let plain = Plain::of(value.as_bytes()).map_or_else(|| value.as_bytes().to_vec(), |plain| plain.bytes().to_vec());
    let of = |taken: usize| plain.get(taken..).filter(|rest| rest.len() >= SHORTEST_CODED).map(<[u8]>::to_vec);
    (1..=MOST_TAKEN).filter_map(of).collect()
}

fn latin(char: char) -> Vec<u8> {
    match u8::try_from(u32::from(char)) {
        Ok(byte) => vec![byte],
        Err(_) => char.to_string().into_bytes(),
    }
}

fn hex(text: &str) -> Vec<Vec<u8>> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [hex.to_uppercase(), hex].map(String::into_bytes).into()
}

/// The part of base64 that this value decides, for each of the three ways in which it can begin in a longer text.
fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    coded(value, 3, 6, |padded| {
        [STANDARD_NO_PAD.encode(padded), URL_SAFE_NO_PAD.encode(padded)].map(String::into_bytes)
    })
}

/// The same of base32, for each of its five.
fn base32_forms(value: &[u8]) -> Vec<Vec<u8>> {
    coded(value, 5, 5, |padded| {
        let bit = |at: usize| padded.get(at / 8).is_some_and(|byte| byte & 0x80 >> (at % 8) != 0);
        let digit = |at: usize| BASE32[(0..5).fold(0, |digit, bit_at| digit << 1 | usize::from(bit(at * 5 + bit_at)))];
        let text: Vec<u8> = (0..(padded.len() * 8).div_ceil(5)).map(digit).collect();
        [text.to_ascii_lowercase(), text]
    })
}

/// What a code of so many bits a digit, which begins anew every `group` bytes, makes of a value wherever that begins.
fn coded(value: &[u8], group: usize, bits: usize, code: impl Fn(&[u8]) -> [Vec<u8>; 2]) -> Vec<Vec<u8>> {
    let of = |before: usize| {
        let padded = [&[0; 4][..before], value].concat();
        // What shares a digit with the bytes before or after is not decided by the value.
        let (first, end) = ((before * 8).div_ceil(bits), padded.len() * 8 / bits);
        code(&padded).map(|text| text[first..end.max(first)].to_vec())
    };
    (0..group).flat_map(of).filter(|form| form.len() >= SHORTEST_CODED).collect()
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

#[cfg(test)]
mod tests;
