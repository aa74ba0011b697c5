//! A text with all of its escapes read, whoever wrote them: `\u0026`, `%26`, `&amp;` and `&#38;` all become `&`.
//!
//! Every character may be written in another way than the one before, and what is written in two layers is read in both: what is
//! read is looked at again together with what stands before it, until nothing more can be read. So a text and whatever an
//! encoder made of it, or several in turn, are the same here.
//!
//! Guarantees: linear in the text, whatever it is; what comes out is no longer than it; each byte knows where it was written.
//!
//! Leaves to others: what is looked for (`echo`).

use std::ops::Range;

use memchr::memchr3;

/// So many bytes after one that may begin an escape are looked at singly; the longest, `&#x0000026;`, has fewer.
const WINDOW: usize = 12;

/// The names in HTML of what stands in ASCII and is no letter and no digit.
const NAMES: [(&str, char); 45] = [
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("Tab", '\t'),
    ("NewLine", '\n'),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("tilde", '\u{2dc}'),
    ("euro", '€'),
];

/// The names of U+00A0 to U+00FF, which PHP's `htmlentities` writes.
const LATIN: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy",
    "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm",
    "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig",
    "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve",
    "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN",
    "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc",
    "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml",
    "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// What was read.
#[derive(Default)]
pub(super) struct Plain {
    bytes: Vec<u8>,
    /// Bytes that were not written as themselves right after the one before.
    moved: Vec<Moved>,
    /// Where the next byte stands if it is written as itself.
    next: usize,
    /// That a backslash was left out before the byte with this number, and where it stood.
    slash: Option<(usize, usize)>,
    /// The `u` or `x` that a backslash stands before, likewise.
    escape: Option<(usize, usize)>,
    /// For how many further bytes an escape may be under way.
    watch: usize,
}

/// A text that is being read, as far as it was.
pub(super) struct Reading<'t> {
    text: &'t [u8],
    escapes: Next<'t>,
    left_out: Next<'t>,
    plain: Plain,
    at: usize,
}

impl<'t> Reading<'t> {
    /// From the beginning on; nothing if all of it stands for itself.
    pub(super) fn of(text: &'t [u8]) -> Option<Self> {
        let mut escapes = Next::new(text, [b'\\', b'%', b'&']);
        // Left out: what parts lines, as in long base64, and what UTF-16 puts between the letters.
        let mut left_out = Next::new(text, [0, b'\r', b'\n']);
        if escapes.from(0).min(left_out.from(0)) == text.len() {
            return None;
        }
        let plain = Plain { bytes: Vec::with_capacity(text.len()), ..Plain::default() };
        Some(Self { text, escapes, left_out, plain, at: 0 })
    }

    /// Reads about so many bytes further, and says whether that was all.
    pub(super) fn step(&mut self, bytes: usize) -> bool {
        let Self { text, escapes, left_out, plain, at } = self;
        let stop = at.saturating_add(bytes).min(text.len());
        while *at < stop {
            if plain.watch == 0 {
                let until = escapes.from(*at).min(left_out.from(*at));
                plain.copy(text, *at..until);
                *at = until;
                if *at == text.len() {
                    break;
                }
            }
            let whole = if plain.watch == 0 { whole(&text[*at..]) } else { None };
            if let Some((char, length)) = whole {
                plain.take(char, *at, *at + length);
                *at += length;
                continue;
            }
            plain.watch = plain.watch.saturating_sub(1);
            plain.feed(text[*at], *at, *at + 1);
            *at += 1;
        }
        *at == text.len()
    }

    /// What was read.
    pub(super) fn over(self) -> Plain {
        self.plain
    }
}

/// A byte, and where what it was read from begins and ends.
struct Moved {
    at: usize,
    start: usize,
    end: usize,
}

impl Plain {
    /// Reads a text; nothing if all of it stands for itself.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut reading = Reading::of(text)?;
        while !reading.step(usize::MAX) {}
        Some(reading.over())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where these bytes were written.
    pub(super) fn written(&self, bytes: Range<usize>) -> Range<usize> {
        self.start(bytes.start)..self.end(bytes.end - 1)
    }

    fn start(&self, at: usize) -> usize {
        match self.before(at) {
            Some(moved) if moved.at == at => moved.start,
            Some(moved) => moved.end + (at - moved.at - 1),
            None => at,
        }
    }

    fn end(&self, at: usize) -> usize {
        match self.before(at) {
            Some(moved) => moved.end + (at - moved.at),
            None => at + 1,
        }
    }

    fn before(&self, at: usize) -> Option<&Moved> {
        self.moved[..self.moved.partition_point(|moved| moved.at <= at)].last()
    }

    /// Takes over what stands for itself.
    fn copy(&mut self, text: &[u8], range: Range<usize>) {
        if let Some(first) = text[range.clone()].first() {
            self.put(*first, range.start, range.start + 1);
            self.bytes.extend_from_slice(&text[range.start + 1..range.end]);
            self.next = range.end;
        }
    }

    /// Takes what an escape stands for that nothing before or after it has a part in.
    fn take(&mut self, char: Escaped, start: usize, end: usize) {
        match char {
            Escaped::Nothing => {}
            Escaped::Byte(byte) => self.put(byte, start, end),
            Escaped::Char(char) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.put(byte, start, end)),
        }
    }

    fn put(&mut self, byte: u8, start: usize, end: usize) {
        if start != self.next || end != start + 1 {
            self.moved.push(Moved { at: self.bytes.len(), start, end });
        }
        self.bytes.push(byte);
        self.next = end;
    }

    /// Takes one more byte, and whatever becomes of it together with those before it.
    fn feed(&mut self, byte: u8, start: usize, end: usize) {
        // A loop, since what is read may end another escape, as deep as the text is long.
        let mut byte = Some((byte, start));
        while let Some((next, start)) = byte {
            byte = self.step(next, start, end);
        }
    }

    /// The same for a single byte; what it completes is given back if it is to be looked at in turn.
    fn step(&mut self, byte: u8, start: usize, end: usize) -> Option<(u8, usize)> {
        let at = self.bytes.len();
        let slash = self.slash.filter(|(before, _)| *before == at).map(|(_, start)| start);
        match (byte, slash) {
            (b'\\', _) => {
                // However many there are: each layer of JSON doubles them.
                self.slash = Some((at, slash.unwrap_or(start)));
                self.watch = WINDOW;
                return None;
            }
            (0 | b'\r' | b'\n', _) => return None,
            (b'n' | b'r', Some(_)) => {
                self.slash = None;
                return None;
            }
            (b't', Some(slash)) => self.put(b'\t', slash, end),
            (b'b', Some(slash)) => self.put(8, slash, end),
            (b'f', Some(slash)) => self.put(12, slash, end),
            (_, slash) => {
                self.put(byte, slash.unwrap_or(start), end);
                if let (b'u' | b'x', Some(slash)) = (byte, slash) {
                    self.escape = Some((at, slash));
                }
            }
        }
        match byte {
            b'%' | b'&' => self.watch = WINDOW,
            b';' => return self.entity(end),
            _ if byte.is_ascii_hexdigit() => return self.digits(end),
            _ => {}
        }
        None
    }

    /// After a hexadecimal digit: `%26`, `%u0026`, `\x26`, `\u0026`.
    fn digits(&mut self, end: usize) -> Option<(u8, usize)> {
        let length = self.bytes.len();
        if let Some(code) = self.hex(2) {
            let at = length.wrapping_sub(3);
            let escaped = self.escape.is_some_and(|(escape, _)| escape == at) && self.bytes[at] == b'x';
            if escaped || self.bytes.get(at) == Some(&b'%') {
                let start = self.start(at);
                self.take_back(at);
                // Its backslash is used up; one before `%26` stands before what that is.
                self.slash = self.slash.filter(|_| !escaped);
                return Some((code as u8, start));
            }
        }
        let at = length.wrapping_sub(5);
        if self.bytes.get(at) != Some(&b'u') {
            return None;
        }
        let escaped = self.escape.is_some_and(|(escape, _)| escape == at);
        let from = if escaped {
            at
        } else {
            // As JavaScript's `escape` writes what is beyond U+00FF.
            at.checked_sub(1).filter(|percent| self.bytes[*percent] == b'%')?
        };
        let unit = self.hex(4)?;
        let start = self.start(from);
        self.take_back(from);
        self.slash = self.slash.filter(|_| !escaped);
        self.unit(unit, start, end)
    }

    /// The last so many bytes as a number.
    fn hex(&self, digits: usize) -> Option<u32> {
        hex(&self.bytes[self.bytes.len().checked_sub(digits)?..])
    }

    /// A unit of UTF-16: of a character that takes two, the first waits for the second as three bytes, as if it were one.
    fn unit(&mut self, unit: u32, start: usize, end: usize) -> Option<(u8, usize)> {
        let Some(char) = char::from_u32(unit) else {
            if let (0xdc00.., [.., 0xed, high @ 0xa0..0xb0, low]) = (unit, &self.bytes[..]) {
                let high = u32::from(*high & 0x0f) << 6 | u32::from(*low & 0x3f);
                let at = self.bytes.len() - 3;
                let start = self.start(at);
                self.take_back(at);
                // Ten bits of each, so a character.
                return self.char(char::from_u32(0x1_0000 + (high << 10) + (unit & 0x3ff))?, start, end);
            }
            for byte in [0xed, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8] {
                self.put(byte, start, end);
            }
            return None;
        };
        self.char(char, start, end)
    }

    fn char(&mut self, char: char, start: usize, end: usize) -> Option<(u8, usize)> {
        if char.is_ascii() {
            return Some((char as u8, start));
        }
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            self.put(byte, start, end);
        }
        None
    }

    /// After a semicolon: `&amp;`, `&#38;`, `&#x26;`.
    fn entity(&mut self, end: usize) -> Option<(u8, usize)> {
        let last = self.bytes.len() - 1;
        let from = last.saturating_sub(WINDOW);
        let at = from + self.bytes[from..last].iter().rposition(|byte| *byte == b'&')?;
        let char = entity(&self.bytes[at + 1..last])?;
        let start = self.start(at);
        self.take_back(at);
        self.char(char, start, end)
    }

    /// Forgets the bytes from this one on: something else was written with them.
    fn take_back(&mut self, at: usize) {
        self.bytes.truncate(at);
        while self.moved.last().is_some_and(|moved| moved.at >= at) {
            self.moved.pop();
        }
        self.slash = self.slash.filter(|(before, _)| *before <= at);
        self.escape = self.escape.filter(|(escape, _)| *escape < at);
        // Whatever comes next does not stand where it would.
        self.next = usize::MAX;
    }
}

/// What an escape stands for.
enum Escaped {
    /// What is left out.
    Nothing,
    Byte(u8),
    Char(char),
}

impl Escaped {
    /// Unless it may begin another escape.
    fn plain(char: char) -> Option<Self> {
        match char {
            '\\' | '%' | '&' => None,
            '\0' | '\r' | '\n' => Some(Self::Nothing),
            _ => Some(Self::Char(char)),
        }
    }
}

/// The escape that a text begins with, if it is written out in it and is no part of another one, and its length: nearly all of them
/// are such, and are read at once.
fn whole(text: &[u8]) -> Option<(Escaped, usize)> {
    match text[0] {
        0 | b'\r' | b'\n' => Some((Escaped::Nothing, 1)),
        b'%' => {
            let code = hex(text.get(1..3)?)? as u8;
            let byte = if code.is_ascii() { Escaped::plain(char::from(code))? } else { Escaped::Byte(code) };
            Some((byte, 3))
        }
        b'&' => {
            let end = text.iter().take(WINDOW).position(|byte| *byte == b';')?;
            Some((Escaped::plain(entity(&text[1..end])?)?, end + 1))
        }
        _ => {
            let slashes = text.iter().position(|byte| *byte != b'\\')?;
            let rest = &text[slashes..];
            let (char, length) = match rest[0] {
                b'n' | b'r' => (Escaped::Nothing, 1),
                b't' => (Escaped::Byte(b'\t'), 1),
                b'b' => (Escaped::Byte(8), 1),
                b'f' => (Escaped::Byte(12), 1),
                // One half of a character is none.
                b'u' => (Escaped::plain(char::from_u32(hex(rest.get(1..5)?)?)?)?, 5),
                b'x' => return None,
                0 | b'\r' | b'\n' | b'%' | b'&' => return None,
                byte => (Escaped::Byte(byte), 1),
            };
            Some((char, slashes + length))
        }
    }
}

/// Hexadecimal digits as a number.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))
}

/// What stands between `&` and `;`.
fn entity(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    let code = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, char)) => u32::from(*char),
            None => 0xa0 + LATIN.iter().position(|known| *known == name)? as u32,
        },
    };
    char::from_u32(code)
}

/// Where the next of three bytes stands, from the left to the right.
struct Next<'t> {
    text: &'t [u8],
    of: [u8; 3],
    at: Option<usize>,
}

impl<'t> Next<'t> {
    fn new(text: &'t [u8], of: [u8; 3]) -> Self {
        Self { text, of, at: None }
    }

    /// The first one from here on, or the text's end.
    fn from(&mut self, from: usize) -> usize {
        match self.at {
            Some(at) if at >= from => at,
            _ => {
                let [one, two, three] = self.of;
                let found = memchr3(one, two, three, &self.text[from..]);
                *self.at.insert(found.map_or(self.text.len(), |at| from + at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<u8> {
        Plain::of(text.as_bytes()).map_or_else(|| text.as_bytes().to_vec(), |plain| plain.bytes)
    }

    #[test]
    fn every_way_to_write_a_character_is_read() {
        for (text, expected) in [
            ("plain", "plain"),
            (r"a\/b\u0026c\u003C\u003e", "a/b&c<>"),
            (r#"\"\\\\\"x"#, "\"\"x"),
            (r"a\tb\fc\bd\x26\xc3\xa9", "a\tb\u{c}c\u{8}d&é"),
            ("%26%2f%2F%C3%a9%u20ac%u0026", "&//é€&"),
            ("&amp;&lt;&#38;&#038;&#x26;&#X0026;&apos;&euro;&eacute;&yuml;&nbsp;", "&<&&&&'€éÿ\u{a0}"),
            (r"\ud83d\ude00\u20AC", "😀€"),
            ("a\0b\0\r\nc", "abc"),
            (r"a\nb\r\nc", "abc"),
            // In several layers, of the same kind or not.
            ("%252526", "&"),
            (r"\\u0026 \\\\\/ %5Cu0026 \u002526", "& / & &"),
            ("&amp;amp;#38;lt;", "<"),
            ("%26amp%3B", "&"),
            // No escapes.
            (
                "100% of & more; %zz \\q &nothing; &#; &#xd800; %u12",
                "100% of & more; %zz q &nothing; &#; &#xd800; %u12",
            ),
        ] {
            assert_eq!(String::from_utf8(read(text)).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_half_of_a_character_stays_one_and_the_end_of_a_text_is_no_escape() {
        assert_eq!(read(r"\ud83dx"), [0xed, 0xa0, 0xbd, b'x']);
        assert_eq!(read(r"\ude00\ud83d"), [0xed, 0xb8, 0x80, 0xed, 0xa0, 0xbd]);
        for text in ["%", "%2", "\\", "\\u", "\\u00", "&", "&am", "&#", ";"] {
            assert_eq!(String::from_utf8(read(text)).unwrap(), text.trim_start_matches('\\'), "{text}");
        }
    }

    #[test]
    fn each_byte_knows_where_it_was_written() {
        let text = r#"{"a":"12\/\u0026x%41","b":"\ud83d\ude00y"}"#;
        let plain = Plain::of(text.as_bytes()).unwrap();
        for (read, written) in [
            ("12", "12"),
            ("/", r"\/"),
            ("/&", r"\/\u0026"),
            ("&xA", r"\u0026x%41"),
            ("A\"", "%41\""),
            ("😀y", r"\ud83d\ude00y"),
        ] {
            let at = memchr::memmem::find(plain.bytes(), read.as_bytes()).unwrap();
            assert_eq!(&text[plain.written(at..at + read.len())], written);
        }
    }

    #[test]
    fn what_ends_one_escape_after_another_is_read_to_the_last() {
        let deep = "%3".repeat(200_000) + "4";
        assert_eq!(read(&deep), b"4");
        assert_eq!(Plain::of(deep.as_bytes()).unwrap().written(0..1), 0..deep.len());
    }

    proptest::proptest! {
        /// What an encoder made of a text reads as the text does, in one layer and in two.
        #[test]
        fn a_text_and_what_encoders_make_of_it_are_the_same(text in "[ -~éß€😀]{1,20}", ways in proptest::collection::vec((0..7_usize, 0..7_usize), 20)) {
            let write = |char: char, way: usize| match way {
                1 => char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
                2 => char.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02x}")).collect(),
                3 => format!("&#{};", u32::from(char)),
                4 => format!("&#x{:X};", u32::from(char)),
                5 if "\"/\\".contains(char) => format!("\\{char}"),
                _ => char.to_string(),
            };
            // Written as itself a character may begin an escape of the text's own; that is the text's.
            let marks = |char: char| "\\%&;".contains(char) || char.is_ascii_hexdigit() || "uxnrtbf".contains(char);
            let once: String = text.chars().zip(&ways).map(|(char, (way, _))| write(char, if marks(char) { way % 4 + 1 } else { *way })).collect();
            let twice: String = once.chars().zip(ways.iter().cycle()).map(|(char, (_, way))| if char == '\\' { "\\\\".to_owned() } else if char == '%' && *way == 2 { "%25".to_owned() } else { char.to_string() }).collect();
            // A backslash and a letter are an escape, or two characters, and nobody writes such a letter in another way.
            let ambiguous = |two: &[u8]| two[0] == b'\\' && b"nrtbfux".contains(&two[1]);
            proptest::prop_assume!(!text.as_bytes().windows(2).any(ambiguous));
            proptest::prop_assume!(["5c", "5C", "92", "bsol"].iter().all(|slash| !text.contains(slash)));
            let expected = read(&text);
            proptest::prop_assert_eq!(&read(&once), &expected, "{}", once);
            proptest::prop_assert_eq!(&read(&twice), &expected, "{}", twice);
        }

        /// Nothing is read outside of the text, and places are in order.
        #[test]
        fn places_are_within_the_text_and_in_order(text in r"[\\%&;#xu0-9a-f\x00\r\nn/]{0,60}") {
            if let Some(plain) = Plain::of(text.as_bytes()) {
                let places: Vec<_> = (0..plain.bytes().len()).map(|at| plain.written(at..at + 1)).collect();
                proptest::prop_assert!(places.iter().all(|place| place.start < place.end && place.end <= text.len()));
                proptest::prop_assert!(places.windows(2).all(|two| two[0].start <= two[1].start && two[0].end <= two[1].end));
            }
        }
    }
}
