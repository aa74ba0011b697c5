//! Reads a body that has to wait once it is there: what is large waits in a file without a name, so that no number of slow
//! or waiting clients fills the memory.
//!
//! Guarantees: at most [`IN_MEMORY`] bytes of each body are in memory until it is asked for; the file is gone with the body.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::spawn_blocking;

use super::body::{ReadError, announced, drain};
use crate::ingest::BodyError;

/// Bytes of a body that are kept in memory: functions in JavaScript have fewer, and need no file.
const IN_MEMORY: usize = 1 << 20;

/// A body that is there.
pub(super) struct Spooled {
    /// What came first, if the rest is long.
    file: Option<File>,
    rest: Vec<u8>,
}

/// Reads a whole body of at most `limit` bytes as it stands, within `time`. What finds no room in memory goes into this folder.
pub(super) async fn spool(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
    folder: &Path,
) -> Result<Spooled, ReadError> {
    announced(headers, limit, false)?;
    let reading = read_pieces(body, limit, folder);
    tokio::time::timeout(time, reading).await.unwrap_or(Err(ReadError::TimedOut(time)))
}

async fn read_pieces(mut body: Body, limit: usize, folder: &Path) -> Result<Spooled, ReadError> {
    let (mut spooled, mut length) = (Spooled { file: None, rest: Vec::new() }, 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Broken(error.to_string()))?;
        let Some(piece) = frame.data_ref() else { continue };
        length = length.saturating_add(piece.len());
        if length > limit {
            drop(spooled);
            drain(body).await;
            return Err(BodyError::TooLarge { limit }.into());
        }
        spooled.rest.extend_from_slice(piece);
        if spooled.rest.len() > IN_MEMORY {
            let folder = folder.to_owned();
            // A disk may take its time, which is not the listeners'.
            let written = spawn_blocking(move || spooled.written(&folder)).await;
            spooled = written.map_err(|error| ReadError::Spool(io::Error::other(error)))?.map_err(ReadError::Spool)?;
        }
    }
    Ok(spooled)
}

impl Spooled {
    fn written(mut self, folder: &Path) -> io::Result<Self> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(folder)?),
        };
        file.write_all(&self.rest)?;
        self.rest.clear();
        Ok(self)
    }

    /// All of it, in memory.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) async fn bytes(self) -> io::Result<Bytes> {
        let Self { file: Some(mut file), rest } = self else { return Ok(self.rest.into()) };
        let read = spawn_blocking(move || {
            let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
            let mut all = Vec::with_capacity(length + rest.len());
            file.rewind()?;
            file.read_to_end(&mut all)?;
            all.extend_from_slice(&rest);
            Ok(all.into())
        });
        read.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    async fn read(pieces: &[usize], limit: usize) -> (Result<Spooled, ReadError>, Vec<u8>) {
        let bytes: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|at| (at % 251) as u8).collect();
        let (mut rest, mut parts) = (Bytes::from(bytes.clone()), VecDeque::new());
        for piece in pieces {
            parts.push_back(rest.split_to(*piece));
        }
        let body = Body::new(Pieces(parts));
        let folder = tempfile::tempdir().unwrap();
        let spooled = spool(&HeaderMap::new(), body, limit, Duration::from_secs(60), folder.path()).await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        (spooled, bytes)
    }

    #[tokio::test]
    async fn a_body_comes_out_as_it_came_in_and_only_a_small_one_waits_in_memory() {
        for (pieces, in_file) in [
            (&[][..], false),
            (&[1, 2, 3], false),
            (&[IN_MEMORY], false),
            (&[IN_MEMORY, 1], true),
            (&[IN_MEMORY / 2, IN_MEMORY, IN_MEMORY * 2, 7], true),
        ] {
            let (spooled, bytes) = read(pieces, 8 * IN_MEMORY).await;
            let spooled = spooled.unwrap();
            assert_eq!(spooled.file.is_some(), in_file, "{pieces:?}");
            assert!(spooled.rest.len() <= IN_MEMORY);
            assert!(spooled.bytes().await.unwrap() == bytes, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_body_with_one_byte_too_many_is_refused() {
        assert!(read(&[5, 5], 10).await.0.is_ok());
        let (refused, _) = read(&[5, 6], 10).await;
        assert!(matches!(refused, Err(ReadError::Refused(BodyError::TooLarge { limit: 10 }))));
    }
}
