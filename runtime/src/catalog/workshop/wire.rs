//! What the serving process and the one that compiles tell each other, over pipes.
//!
//! Guarantees: a message is a head in JSON and a fixed number of byte strings, each with its length before it; what is
//! cut off, too long or no message is an error, never a guess.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalog::Finding;
use crate::model::{Inspection, Manifest};

/// Bytes of a head: a manifest and a hundred findings are kilobytes.
const MAX_HEAD: usize = 1 << 20;

/// What is to be made a function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Job {
    /// A component, in the first byte string.
    Component,
    /// A JavaScript file, in the first byte string.
    Source {
        /// What messages call it. Without a manifest the function is named after it.
        file: String,
        /// The text of `function.toml`, if there is one.
        manifest: Option<String>,
        /// The version of a file without a manifest; the first one, if nothing is said.
        #[serde(default)]
        version: Option<String>,
        /// Whether the manifest follows the code: its events are those that the code has handlers for, and it may reach the
        /// hosts that the code names.
        #[serde(default)]
        follows: bool,
    },
}

/// What came of it. The byte strings beside it: the component if it was built here, its machine code, what is known of an earlier one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is a function.
    Made { manifest: Box<Manifest>, inspection: Inspection, findings: Vec<Finding> },
    /// It is none.
    Refused(Refusal),
    /// The process may have no more memory.
    NoMemory,
    /// The process failed by itself.
    Failed(String),
}

/// Why an upload is no function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub what: Wrong,
    /// The same for a person, with the fix.
    pub message: String,
    /// The places in the source, where there is one.
    pub findings: Vec<Finding>,
}

/// What is wrong with an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wrong {
    /// The component does not pass the check, or cannot be run.
    Component,
    /// The manifest that came with the source.
    Manifest,
    /// The source.
    Source,
    /// This host builds no JavaScript.
    NoEngine,
}

/// Bytes that are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message between host and compiler is cut off, too long or of another version")]
pub(super) struct BadMessage;

/// The beginning of a message: everything but the byte strings, whose lengths are in it.
pub(super) fn head<H: Serialize>(head: &H, blobs: &[&[u8]]) -> Result<Vec<u8>, BadMessage> {
    let text = serde_json::to_vec(head).map_err(|_| BadMessage)?;
    if text.len() > MAX_HEAD {
        return Err(BadMessage);
    }
    let lengths = [text.len()].into_iter().chain(blobs.iter().map(|blob| blob.len()));
    let mut bytes: Vec<u8> = lengths.flat_map(|length| (length as u64).to_le_bytes()).collect();
    bytes.extend(text);
    Ok(bytes)
}

/// Reads a whole message with `N` byte strings.
pub(super) fn read<H: DeserializeOwned, const N: usize>(mut message: Bytes) -> Result<(H, [Bytes; N]), BadMessage> {
    let mut length = || {
        let (length, _) = message.split_first_chunk::<8>().ok_or(BadMessage)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| BadMessage)?;
        drop(message.split_to(8));
        Ok(length)
    };
    let head = length()?;
    let mut lengths = [0; N];
    for blob in &mut lengths {
        *blob = length()?;
    }
    let mut take = |length: usize| (length <= message.len()).then(|| message.split_to(length)).ok_or(BadMessage);
    let head = serde_json::from_slice(&take(head.min(MAX_HEAD + 1))?).map_err(|_| BadMessage)?;
    let mut blobs = [const { Bytes::new() }; N];
    for (blob, length) in blobs.iter_mut().zip(lengths) {
        *blob = take(length)?;
    }
    if message.is_empty() { Ok((head, blobs)) } else { Err(BadMessage) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(blobs: &[&[u8]; 2]) -> Vec<u8> {
        let job = Job::Source { file: "a.js".to_owned(), manifest: None, version: None, follows: false };
        [head(&job, blobs).unwrap(), blobs.concat()].concat()
    }

    #[test]
    fn a_message_comes_back_and_every_part_of_it_is_none() {
        let whole = message(&[b"source", b""]);
        let (job, [source, known]): (Job, _) = read(whole.clone().into()).unwrap();
        assert!(matches!(job, Job::Source { file, .. } if file == "a.js"));
        assert_eq!((&source[..], &known[..]), (&b"source"[..], &b""[..]));
        for length in 0..whole.len() {
            assert!(read::<Job, 2>(Bytes::copy_from_slice(&whole[..length])).is_err(), "{length}");
        }
        assert!(read::<Job, 2>([&whole[..], b"x"].concat().into()).is_err());
        assert!(read::<Job, 1>(whole.into()).is_err());
    }

    #[test]
    fn a_length_beyond_the_message_or_a_long_head_is_refused() {
        for at in [0, 8, 16] {
            let mut forged = message(&[b"source", b"known"]);
            forged[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(read::<Job, 2>(forged.into()).is_err(), "{at}");
        }
        let long = Job::Source { file: "x".repeat(MAX_HEAD), manifest: None, version: None, follows: false };
        assert!(head(&long, &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read::<Job, 2>(bytes.into());
        }
    }
}
