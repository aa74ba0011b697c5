//! How an input is made of the seeds: a seed, and changes to it that shrink to none.

use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes of an input: beyond it there is only more of the same.
const LONGEST: usize = 64 << 10;

/// A seed and what is done to it.
#[derive(Clone, Debug)]
pub struct Mutation {
    seed: usize,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    /// One bit.
    Flip(Index, u8),
    /// One byte.
    Set(Index, u8),
    /// A word that the format knows, or that is hard for many.
    Insert(Index, Index),
    /// Some bytes are gone.
    Delete(Index, usize),
    /// Some bytes again, up to so many times.
    Repeat(Index, usize, usize),
    /// The rest is that of another seed.
    Splice(Index, Index, Index),
    /// The rest is gone.
    Cut(Index),
    /// Other bytes.
    Noise(Index, Vec<u8>),
}

/// Words that are at the edge of something in every format.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x00",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"\r\n",
    b"\n",
    b"\"",
    b"\\",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b".",
    b"/",
    b"@",
    b"%00",
    b"\\u0000",
    b"\\ud800",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b" ",
    b"\t",
    b"null",
    b"true",
    b"[[[[[[[[[[[[[[[[",
];

impl Mutation {
    /// Any of them, of so many seeds.
    pub fn any(seeds: usize) -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        let change = prop_oneof![
            1 => (at(), 0_u8..8).prop_map(|(place, bit)| Change::Flip(place, bit)),
            1 => (at(), any::<u8>()).prop_map(|(place, byte)| Change::Set(place, byte)),
            3 => (at(), at()).prop_map(|(place, word)| Change::Insert(place, word)),
            1 => (at(), 1_usize..64).prop_map(|(place, length)| Change::Delete(place, length)),
            1 => (at(), 1_usize..32, 1_usize..200).prop_map(|(place, length, times)| Change::Repeat(place, length, times)),
            1 => (at(), at(), at()).prop_map(|(place, other, from)| Change::Splice(place, other, from)),
            1 => at().prop_map(Change::Cut),
            1 => (at(), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(place, bytes)| Change::Noise(place, bytes)),
        ];
        (0..seeds, prop::collection::vec(change, 0..8)).prop_map(|(seed, changes)| Self { seed, changes })
    }

    /// The input.
    pub fn apply(&self, seeds: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
        let mut input = seeds[self.seed].clone();
        for change in &self.changes {
            change.apply(&mut input, seeds, tokens);
            input.truncate(LONGEST);
        }
        input
    }
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&str]) {
        let (length, some) = (input.len(), !input.is_empty());
        let insert = |input: &mut Vec<u8>, at: usize, bytes: &[u8]| drop(input.splice(at..at, bytes.iter().copied()));
        match self {
            Self::Flip(place, bit) if some => input[place.index(length)] ^= 1 << bit,
            Self::Set(place, byte) if some => input[place.index(length)] = *byte,
            Self::Insert(place, word) => {
                let at = word.index(WORDS.len() + tokens.len());
                let word = WORDS.get(at).copied().unwrap_or_else(|| tokens[at - WORDS.len()].as_bytes());
                insert(input, place.index(length + 1), word);
            }
            Self::Delete(place, most) if some => {
                let at = place.index(length);
                drop(input.drain(at..(at + most).min(length)));
            }
            Self::Repeat(place, most, times) if some => {
                let at = place.index(length);
                let piece = input[at..(at + most).min(length)].repeat(*times);
                insert(input, at, &piece);
            }
            Self::Splice(place, other, from) => {
                let other = &seeds[other.index(seeds.len())];
                input.truncate(place.index(length + 1));
                input.extend(&other[from.index(other.len() + 1)..]);
            }
            Self::Cut(place) => input.truncate(place.index(length + 1)),
            Self::Noise(place, bytes) => insert(input, place.index(length + 1), bytes),
            Self::Flip(..) | Self::Set(..) | Self::Delete(..) | Self::Repeat(..) => {}
        }
    }
}
