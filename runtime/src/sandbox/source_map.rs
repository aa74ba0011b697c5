//! After an invocation: places in code that was made of a partner's files become places in those files.
//!
//! A component may carry a table in its custom section `tidegate:source-map`: it is never in the guest's memory, and
//! read only when something that a guest said names a place.
//!
//! Guarantees: a table is bounded, and looking something up in it can neither fail nor be slow, whoever wrote it; a text
//! without such places stays as it is. Leaves to others: making the table (`catalog`).

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;
use wasmparser::{Parser, Payload};

use super::log::escape;
use crate::model::{Answer, Digest, Ending, InvocationReport};

/// What stacks call code that was made of other files. No partner calls a file like this by chance.
pub const BUILT: &str = "tidegate-built.js";

/// The custom section of a component that holds its table.
pub const SECTION: &str = "tidegate:source-map";

/// Mappings in one table: every token of a partner's own code and every line of what it uses, for bundles of some
/// megabytes. As a table they take 4 MiB.
pub const MAX_MAPPINGS: usize = 200_000;

/// Files in one table. The largest bundles of functions have hundreds.
const MAX_FILES: usize = 4_096;

/// Bytes of a file's name: what two hundred characters take, of which a person reads the last part.
const MAX_NAME: usize = 400;

/// Places that are replaced in one text. A stack has ten.
const MAX_PLACES: usize = 32;

/// Bytes by which a text may grow by that, about: ten long names in a stack. What a guest says is bounded, and its own table must not undo that.
const MAX_GROWTH: usize = 4 << 10;

/// Bytes of tables that are kept for the next report of the same version: sixteen of the largest, hundreds of usual ones.
const KEPT_BYTES: u64 = 64 << 20;

/// Numbers of one mapping.
const NUMBERS: usize = 5;

/// Where a piece of made code comes from. Lines and columns count from 0, columns in UTF-16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mapping {
    /// The line in the made code.
    pub line: u32,
    /// The column there, at which this piece begins.
    pub column: u32,
    /// Which of the table's files.
    pub file: u32,
    /// The line in that file.
    pub from_line: u32,
    /// The column there.
    pub from_column: u32,
}

/// A table of places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceMap {
    files: Vec<String>,
    /// In the order of the made code.
    mappings: Vec<Mapping>,
}

impl SourceMap {
    /// A table of these files and mappings, in any order. What exceeds the bounds is left out.
    pub fn new(files: Vec<String>, mut mappings: Vec<Mapping>) -> Self {
        let files: Vec<String> = files.into_iter().take(MAX_FILES).map(|name| shortened(&name)).collect();
        mappings.retain(|mapping| (mapping.file as usize) < files.len());
        mappings.sort_unstable();
        mappings.truncate(MAX_MAPPINGS);
        Self { files, mappings }
    }

    /// The table as the section holds it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.mappings.len() * NUMBERS * 4 + 1_024);
        let number = |bytes: &mut Vec<u8>, number: usize| bytes.extend((number as u32).to_le_bytes());
        number(&mut bytes, self.files.len());
        for name in &self.files {
            number(&mut bytes, name.len());
            bytes.extend(name.as_bytes());
        }
        for Mapping { line, column, file, from_line, from_column } in &self.mappings {
            for one in [line, column, file, from_line, from_column] {
                bytes.extend(one.to_le_bytes());
            }
        }
        bytes
    }

    /// The table that a section holds; `None` if it is none, or exceeds the bounds.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = number(bytes)?;
        if count > MAX_FILES {
            return None;
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, after) = number(rest)?;
            let (name, after) = after.split_at_checked(length)?;
            files.push(std::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME)?.to_owned());
            rest = after;
        }
        let (records, []) = rest.as_chunks::<{ NUMBERS * 4 }>() else { return None };
        if records.len() > MAX_MAPPINGS {
            return None;
        }
        let mappings = records.iter().map(|record| {
            let at = |index: usize| {
                let four = [record[index * 4], record[index * 4 + 1], record[index * 4 + 2], record[index * 4 + 3]];
                u32::from_le_bytes(four)
            };
            Mapping { line: at(0), column: at(1), file: at(2), from_line: at(3), from_column: at(4) }
        });
        Some(Self::new(files, mappings.collect()))
    }

    /// The table in a component, if it has one.
    pub fn of(component: &[u8]) -> Option<Self> {
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.ok()? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) if depth == 1 && section.name() == SECTION => {
                    return Self::decode(section.data());
                }
                _ => {}
            }
        }
        None
    }

    /// Bytes that it takes in memory, about.
    fn size(&self) -> usize {
        self.mappings.len() * size_of::<Mapping>() + self.files.iter().map(|name| name.len() + 32).sum::<usize>()
    }

    /// Where the code at this line and column comes from, all of them counted from 1.
    pub fn original(&self, line: usize, column: usize) -> Option<(&str, usize, usize)> {
        let (line, column) = (u32::try_from(line.checked_sub(1)?).ok()?, u32::try_from(column.checked_sub(1)?).ok()?);
        let after = self.mappings.partition_point(|mapping| (mapping.line, mapping.column) <= (line, column));
        let found = self.mappings.get(after.checked_sub(1)?).filter(|mapping| mapping.line == line)?;
        let file = self.files.get(found.file as usize)?;
        Some((file, found.from_line as usize + 1, found.from_column as usize + 1))
    }

    /// The text with each place in made code replaced by the place that it comes from.
    pub fn rewrite<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let (mut rest, mut done) = (text, String::new());
        for _ in 0..MAX_PLACES {
            let grown = (done.len() + rest.len()).saturating_sub(text.len());
            let Some(at) = rest.find(BUILT).filter(|_| grown < MAX_GROWTH) else { break };
            let after = &rest[at + BUILT.len()..];
            let (numbers, length) = line_and_column(after);
            done.push_str(&rest[..at]);
            match numbers.and_then(|(line, column)| self.original(line, column)) {
                Some((file, line, column)) => {
                    // The name may be anybody's.
                    let (file, _) = escape(file, MAX_NAME);
                    // Writing to a string does not fail.
                    let _ = write!(done, "{file}:{line}:{column}");
                }
                None => done.push_str(&rest[at..at + BUILT.len() + length]),
            }
            rest = &after[length..];
        }
        if done.is_empty() && rest.len() == text.len() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(done + rest)
    }
}

/// The tables of the versions that failed last.
pub(super) struct SourceMaps(Cache<Digest, Option<Arc<SourceMap>>>);

impl SourceMaps {
    pub(super) fn new() -> Self {
        let size = |map: &Option<Arc<SourceMap>>| map.as_ref().map_or(0, |map| map.size()) + 64;
        let weigher = move |_: &Digest, map: &Option<Arc<SourceMap>>| u32::try_from(size(map)).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(KEPT_BYTES).weigher(weigher).build())
    }

    /// Replaces the places in everything that the guest of this component said. Without the component they stay.
    pub(super) async fn locate<E: Display>(
        &self,
        digest: Digest,
        report: &mut InvocationReport,
        component: impl Future<Output = Result<Bytes, E>>,
    ) {
        if !texts(report).any(|text| text.contains(BUILT)) {
            return;
        }
        let read = async {
            Ok::<_, String>(SourceMap::of(&component.await.map_err(|error| error.to_string())?).map(Arc::new))
        };
        match self.0.try_get_with(digest, read).await {
            Ok(Some(map)) => {
                for text in texts(report) {
                    if let Cow::Owned(rewritten) = map.rewrite(text) {
                        *text = rewritten;
                    }
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%digest, %error, "a component could not be read for its places"),
        }
    }
}

/// The messages and log lines of a report.
fn texts(report: &mut InvocationReport) -> impl Iterator<Item = &mut String> {
    let answers = match &mut report.ending {
        Ending::Answered(answers) => &mut answers[..],
        _ => &mut [],
    };
    let messages = answers.iter_mut().filter_map(|answer| match answer {
        Answer::Delivered | Answer::Unsupported => None,
        Answer::Rejected(message) | Answer::InvalidSettings(message) => Some(message),
        Answer::Retry { message, .. } | Answer::Failed { message, .. } => Some(message),
    });
    messages.chain(report.log.iter_mut().map(|line| &mut line.text))
}

/// What `:LINE:COLUMN` at the beginning says, or `:LINE`, and how many bytes that is.
fn line_and_column(text: &str) -> (Option<(usize, usize)>, usize) {
    let number = |text: &str| {
        let digits = text.strip_prefix(':')?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        Some((digits[..length].parse::<usize>().ok()?, length + 1))
    };
    let Some((line, first)) = number(text) else { return (None, 0) };
    match number(&text[first..]) {
        Some((column, second)) => (Some((line, column)), first + second),
        None => (Some((line, 1)), first),
    }
}

/// The first number of some bytes, and the rest.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*four) as usize, rest))
}

/// A name within its bound: of a long one the end.
fn shortened(name: &str) -> String {
    name[name.ceil_char_boundary(name.len().saturating_sub(MAX_NAME))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_grows_by_its_places_within_a_bound() {
        let mapping = Mapping { line: 0, column: 0, file: 0, from_line: 0, from_column: 0 };
        let map = SourceMap::new(vec!["f".repeat(MAX_NAME)], vec![mapping]);
        let text = format!("at {BUILT}:1:1 ").repeat(30);
        let rewritten = map.rewrite(&text);
        assert!(rewritten.len() > text.len() + MAX_GROWTH / 2, "it is rewritten");
        assert!(rewritten.len() < text.len() + MAX_GROWTH + MAX_NAME && rewritten.ends_with(&format!("{BUILT}:1:1 ")));
    }

    fn map() -> SourceMap {
        let at = |line, column, file, from_line, from_column| Mapping { line, column, file, from_line, from_column };
        let files = vec!["src/handler.ts".to_owned(), "node_modules/ms/index.js".to_owned()];
        SourceMap::new(files, vec![at(4, 2, 1, 9, 0), at(2, 0, 0, 11, 4), at(2, 8, 0, 11, 20), at(3, 0, 7, 0, 0)])
    }

    #[test]
    fn a_place_is_that_of_the_piece_it_lies_in() {
        let cases = [
            ((3, 1), Some(("src/handler.ts", 12, 5))),
            ((3, 8), Some(("src/handler.ts", 12, 5))),
            ((3, 9), Some(("src/handler.ts", 12, 21))),
            ((3, 900), Some(("src/handler.ts", 12, 21))),
            ((5, 3), Some(("node_modules/ms/index.js", 10, 1))),
            ((5, 2), None),
            ((4, 1), None),
            ((0, 0), None),
            ((usize::MAX, usize::MAX), None),
        ];
        for ((line, column), expected) in cases {
            assert_eq!(map().original(line, column), expected, "{line}:{column}");
        }
        assert_eq!(SourceMap::decode(&map().encode()), Some(map()));
    }

    #[test]
    fn places_in_a_text_become_those_of_the_partners_files_and_all_else_stays() {
        let cases = [
            ("boom (in f, tidegate-built.js:3:9)", "boom (in f, src/handler.ts:12:21)"),
            (
                "at tidegate-built.js:3:1\n at tidegate-built.js:5:9",
                "at src/handler.ts:12:5\n at node_modules/ms/index.js:10:1",
            ),
            ("tidegate-built.js:3", "src/handler.ts:12:5"),
            ("tidegate-built.js:4:1 tidegate-built.js", "tidegate-built.js:4:1 tidegate-built.js"),
            ("tidegate-built.js:99999999999999999999:1", "tidegate-built.js:99999999999999999999:1"),
            ("handler.js:3:9 é", "handler.js:3:9 é"),
        ];
        for (text, expected) in cases {
            assert_eq!(map().rewrite(text), expected);
        }
        let many = "tidegate-built.js:3:1 ".repeat(1_000);
        assert_eq!(map().rewrite(&many).matches("handler.ts").count(), MAX_PLACES);
    }

    #[test]
    fn a_component_carries_one_table_outermost() {
        let with = |section: &[u8]| {
            let mut component = wasm_encoder::Component::new();
            component.section(&wasm_encoder::CustomSection { name: SECTION.into(), data: section.into() });
            component.finish()
        };
        assert_eq!(SourceMap::of(&with(&map().encode())), Some(map()));
        for none in [&with(b"\xff\xff\xff\xff")[..], &with(&[]), b"\0asm\x0d\0\x01\0", b"", b"(component)"] {
            assert_eq!(SourceMap::of(none), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_and_no_text_make_it_panic(bytes: Vec<u8>, at in 0_usize..400, text in "(tidegate-built.js|:|[0-9é]){0,40}") {
            let _ = SourceMap::decode(&bytes).map(|map| map.original(1, 1).is_some());
            let mut encoded = map().encode();
            let at = at % encoded.len();
            encoded[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = SourceMap::decode(&encoded).map(|map| map.rewrite(&text).len());
            let _ = map().rewrite(&text);
        }
    }
}
