//! Reads a request's body: piece by piece, within a size and a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;

use crate::ingest::{BodyError, Inflate};

/// Bytes of a refused body that are still read, and thrown away, so that a client that sends first and reads later
/// gets to see why. Above it the connection is closed on the sender.
const DRAIN_BYTES: u64 = 16 << 20;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It is not acceptable.
    #[error(transparent)]
    Refused(#[from] BodyError),
    /// `content-encoding` is neither gzip nor identity.
    #[error("`content-encoding: {0}` is not supported here: send gzip, or no compression")]
    Encoding(String),
    /// It took too long.
    #[error("the body was not complete after {} s (`http.body_timeout_s`)", .0.as_secs())]
    TimedOut(Duration),
    /// The connection broke.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// There is no room for it, or none that can be used.
    #[error("the host has no room for the body while it arrives")]
    Spool(std::io::Error),
}

/// How the body is compressed: `Ok(true)` for gzip.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, ReadError> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(false) };
    let text = encoding.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match text.as_str() {
        "gzip" | "x-gzip" => Ok(true),
        "" | "identity" => Ok(false),
        _ => Err(ReadError::Encoding(text.chars().take(80).collect())),
    }
}

/// Reads a whole body of at most `limit` bytes after decompression, within `time`.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Vec<u8>, ReadError> {
    let gzip = is_gzip(headers)?;
    announced(headers, limit, gzip)?;
    let reading = read_pieces(body, Inflate::new(gzip, limit));
    tokio::time::timeout(time, reading).await.unwrap_or(Err(ReadError::TimedOut(time)))
}

/// Refuses a body of which its headers say that it is too large, where nobody would read the answer after sending it.
pub(super) fn announced(headers: &HeaderMap, limit: usize, gzip: bool) -> Result<(), ReadError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let waits = headers.contains_key(header::EXPECT);
    let above = |bytes: u64| announced.is_some_and(|announced| announced > bytes);
    let most = limit as u64;
    if above(most.saturating_add(DRAIN_BYTES)) || (waits && !gzip && above(most)) {
        return Err(BodyError::TooLarge { limit }.into());
    }
    Ok(())
}

async fn read_pieces(mut body: Body, mut inflate: Inflate) -> Result<Vec<u8>, ReadError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Broken(error.to_string()))?;
        let Some(piece) = frame.data_ref() else { continue };
        if let Err(refused) = inflate.take(piece) {
            drop(inflate);
            drain(body).await;
            return Err(refused.into());
        }
    }
    Ok(inflate.finish()?)
}

/// Reads on for a while, and throws away what comes.
pub(super) async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |piece| piece.len() as u64);
        left = match left.checked_sub(bytes) {
            Some(left) => left,
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gzip_and_nothing_are_encodings_here() {
        let cases = [("gzip", Some(true)), ("GZIP", Some(true)), ("identity", Some(false)), ("", Some(false))];
        for (value, expected) in cases.into_iter().chain([("br", None), ("gzip, gzip", None), ("deflate", None)]) {
            let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, value.parse().unwrap())]);
            assert_eq!(is_gzip(&headers).ok(), expected, "{value}");
        }
        assert_eq!(is_gzip(&HeaderMap::new()).ok(), Some(false));
    }
}
