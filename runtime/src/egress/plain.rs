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
    /// The backslashes that were left out before what comes next.
    slash: Option<Slashes>,
    /// Those before each `u` or `x` that has some and whose digits are still coming: these may be written as escapes, too.
    escapes: Vec<Slashes>,
    /// For how many further bytes an escape may be under way.
    watch: usize,
}

/// Escapes whose digits are still coming, one within another.
const OPEN: usize = 8;
/// How many layers of JSON are told apart.
const LAYERS: usize = 8;
/// That of what was another escape than one with a backslash: it is looked at once all those have been read.
const OTHER: usize = LAYERS - 1;

/// Backslashes that stand before a byte: how many there are decides what becomes of an escape after them, and not of a letter.
#[derive(Clone, Copy)]
struct Slashes {
    /// The number of that byte.
    before: usize,
    /// Where the first of them was written.
    start: usize,
    /// How many there are, by how many escapes each was written in: `\\` has none, `\u005c` has one.
    layers: [u32; LAYERS],
}

impl Slashes {
    /// What is left of them once an escape has used one, as parsers of JSON would read it, one after the other: each makes one of two
    /// until an odd one is left for the escape. With it, in which layer that was.
    fn used(mut self) -> (Option<Self>, usize) {
        let mut layer = 0;
        loop {
            let there = std::mem::take(&mut self.layers[layer]);
            let next = (layer + 1).min(LAYERS - 1);
            self.layers[next] += there / 2;
            // There is at least one, so that one is left in the end.
            if there % 2 == 1 || self.layers == [0; LAYERS] {
                return (Some(self).filter(|left| left.layers != [0; LAYERS]), layer);
            }
            layer = next;
        }
    }
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

/// A byte that is looked at: where what it was read from begins, and how many escapes with a backslash it was read from.
struct Fed {
    byte: u8,
    start: usize,
    layer: usize,
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
        let mut fed = Some(Fed { byte, start, layer: 0 });
        while let Some(next) = fed {
            fed = self.step(next, end);
        }
    }

    /// The same for a single byte; what it completes is given back if it is to be looked at in turn.
    fn step(&mut self, fed: Fed, end: usize) -> Option<Fed> {
        let Fed { byte, start, layer } = fed;
        let at = self.bytes.len();
        let slash = self.slash.filter(|slash| slash.before == at);
        match (byte, slash) {
            (b'\\', _) => {
                let mut slash = slash.unwrap_or(Slashes { before: at, start, layers: [0; LAYERS] });
                slash.layers[layer.min(LAYERS - 1)] += 1;
                self.slash = Some(slash);
                self.watch = WINDOW;
                return None;
            }
            (0, _) => return None,
            (b'\r' | b'\n', _) | (b'n' | b'r', Some(_)) => {
                self.slash = None;
                return None;
            }
            (b't', Some(slash)) => self.put(b'\t', slash.start, end),
            (b'b', Some(slash)) => self.put(8, slash.start, end),
            (b'f', Some(slash)) => self.put(12, slash.start, end),
            (_, slash) => {
                self.put(byte, slash.map_or(start, |slash| slash.start), end);
                if let (b'u' | b'x', Some(slash)) = (byte, slash) {
                    if self.escapes.len() == OPEN {
                        self.escapes.remove(0);
                    }
                    self.escapes.push(slash);
                    self.watch = WINDOW;
                }
            }
        }
        match byte {
            b'%' | b'&' => self.watch = WINDOW,
            b';' => return self.entity(end),
            b'}' => return self.braced(end),
            _ if byte.is_ascii_hexdigit() => return self.digits(end),
            _ => {}
        }
        None
    }

    /// The backslashes before the byte with this number, if it is the letter of an escape.
    fn escape(&self, at: usize) -> Option<Slashes> {
        self.escapes.iter().rfind(|slash| slash.before == at).copied()
    }

    /// Takes an escape back whose letter has this number, and one of the backslashes before it; says where it began and the layer of
    /// what it stands for.
    fn use_up(&mut self, at: usize) -> (usize, usize) {
        let start = self.start(at);
        let (left, layer) = self.escape(at).map_or((None, 0), Slashes::used);
        self.take_back(at);
        self.slash = left;
        if left.is_some() {
            self.watch = WINDOW;
        }
        (start, layer + 1)
    }

    /// After a hexadecimal digit: `%26`, `%u0026`, `\x26`, `\u0026`.
    fn digits(&mut self, end: usize) -> Option<Fed> {
        let length = self.bytes.len();
        if let Some(code) = self.hex(2) {
            let at = length.wrapping_sub(3);
            if self.escape(at).is_some() && self.bytes[at] == b'x' {
                let (start, layer) = self.use_up(at);
                return Some(Fed { byte: code as u8, start, layer });
            }
            if self.bytes.get(at) == Some(&b'%') {
                // A backslash before it stands before what it is.
                let start = self.start(at);
                self.take_back(at);
                return Some(Fed { byte: code as u8, start, layer: OTHER });
            }
        }
        let at = length.wrapping_sub(5);
        if self.bytes.get(at) != Some(&b'u') {
            return None;
        }
        let unit = self.hex(4)?;
        if self.escape(at).is_some() {
            let (start, layer) = self.use_up(at);
            return self.unit(unit, start, end, layer);
        }
        // As JavaScript's `escape` writes what is beyond U+00FF.
        let percent = at.checked_sub(1).filter(|percent| self.bytes[*percent] == b'%')?;
        let start = self.start(percent);
        self.take_back(percent);
        self.unit(unit, start, end, OTHER)
    }

    /// After a brace: `\u{26}`, as Rust, PHP and newer JavaScript write it.
    fn braced(&mut self, end: usize) -> Option<Fed> {
        let at = self.escapes.last()?.before;
        let digits = self.bytes.get(at..)?.strip_prefix(b"u{")?.strip_suffix(b"}")?;
        if !(1..=6).contains(&digits.len()) {
            return None;
        }
        let char = char::from_u32(hex(digits)?)?;
        let (start, layer) = self.use_up(at);
        self.char(char, start, end, layer)
    }

    /// The last so many bytes as a number.
    fn hex(&self, digits: usize) -> Option<u32> {
        hex(&self.bytes[self.bytes.len().checked_sub(digits)?..])
    }

    /// A unit of UTF-16: of a character that takes two, the first waits for the second as three bytes, as if it were one.
    fn unit(&mut self, unit: u32, start: usize, end: usize, layer: usize) -> Option<Fed> {
        let Some(char) = char::from_u32(unit) else {
            if let (0xdc00.., [.., 0xed, high @ 0xa0..0xb0, low]) = (unit, &self.bytes[..]) {
                let high = u32::from(*high & 0x0f) << 6 | u32::from(*low & 0x3f);
                let at = self.bytes.len() - 3;
                let start = self.start(at);
                self.take_back(at);
                // Ten bits of each, so a character.
                return self.char(char::from_u32(0x1_0000 + (high << 10) + (unit & 0x3ff))?, start, end, layer);
            }
            for byte in [0xed, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8] {
                self.put(byte, start, end);
            }
            return None;
        };
        self.char(char, start, end, layer)
    }

    fn char(&mut self, char: char, start: usize, end: usize, layer: usize) -> Option<Fed> {
        if char.is_ascii() {
            return Some(Fed { byte: char as u8, start, layer });
        }
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            self.put(byte, start, end);
        }
        None
    }

    /// After a semicolon: `&amp;`, `&#38;`, `&#x26;`.
    fn entity(&mut self, end: usize) -> Option<Fed> {
        let last = self.bytes.len() - 1;
        let from = last.saturating_sub(WINDOW);
        let at = from + self.bytes[from..last].iter().rposition(|byte| *byte == b'&')?;
        let char = entity(&self.bytes[at + 1..last])?;
        let start = self.start(at);
        self.take_back(at);
        self.char(char, start, end, OTHER)
    }

    /// Forgets the bytes from this one on: something else was written with them.
    fn take_back(&mut self, at: usize) {
        self.bytes.truncate(at);
        while self.moved.last().is_some_and(|moved| moved.at >= at) {
            self.moved.pop();
        }
        self.slash = self.slash.filter(|slash| slash.before <= at);
        while self.escapes.last().is_some_and(|slash| slash.before >= at) {
            self.escapes.pop();
        }
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
                // Where they use up more than one, something is left; one half of a character is none.
                b'u' if slashes.is_power_of_two() => (Escaped::plain(char::from_u32(hex(rest.get(1..5)?)?)?)?, 5),
                b'u' | b'x' => return None,
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
mod tests;
