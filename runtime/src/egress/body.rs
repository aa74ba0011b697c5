//! Reads a response within its caps, decompressing on the way.
//!
//! Guarantees: the caps are applied while reading, after decompression; one byte too many ends it. Memory is bounded
//! by the cap and a fixed window. Truncated and malformed compression is the server's fault and said to be.
//!
//! Leaves to others: the connection and its time (`send`).

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

use super::{EgressError, ResponseCaps, send::Sender};

/// Fields that speak about the connection and not about the response.
const CONNECTION_FIELDS: [HeaderName; 7] = [
    CONNECTION,
    TRANSFER_ENCODING,
    TRAILER,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
];

/// How a body is compressed, as far as the gate undoes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// Not, or in a way that is the guest's own business because it asked for it.
    Plain,
    /// `gzip`.
    Gzip,
    /// `deflate`: with or without zlib's frame, because servers disagree.
    Deflate,
}

impl Coding {
    /// The coding that a response declares.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut declared = headers.get_all(CONTENT_ENCODING).iter();
        let coding = declared.next().filter(|_| declared.next().is_none());
        match coding.map(HeaderValue::as_bytes) {
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => {
                Self::Gzip
            }
            Some(coding) if coding.eq_ignore_ascii_case(b"deflate") => Self::Deflate,
            _ => Self::Plain,
        }
    }
}

/// Checks a response's head and makes the guest's header list from it.
pub fn head(
    from: Sender<'_>,
    version: Version,
    headers: &HeaderMap,
    coding: Coding,
    caps: &ResponseCaps,
) -> Result<Vec<(String, String)>, EgressError> {
    framing(from, version, headers)?;
    if headers.len() > caps.headers as usize {
        return Err(too_large(from, "header fields", headers.len() as u64, u64::from(caps.headers)));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > caps.header_bytes as usize {
        return Err(too_large(from, "bytes of header fields", bytes as u64, u64::from(caps.header_bytes)));
    }
    let undone = |name: &HeaderName| coding != Coding::Plain && (*name == CONTENT_ENCODING || *name == CONTENT_LENGTH);
    Ok(headers
        .iter()
        .filter(|(name, _)| !CONNECTION_FIELDS.contains(name) && !undone(name))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect())
}

/// Two ways to tell where a body ends are a way to smuggle another response (RFC 9112, section 6.3).
fn framing(from: Sender<'_>, version: Version, headers: &HeaderMap) -> Result<(), EgressError> {
    let broken = |reason: &str| Err(EgressError::Protocol(format!("`{from}` broke the protocol: {reason}")));
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if version != Version::HTTP_11
            || encodings.next().is_some()
            || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
        {
            return broken("its `transfer-encoding` is not `chunked` alone");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return broken("it sent both `content-length` and `transfer-encoding`");
        }
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return broken("it sent `content-length` twice");
    }
    Ok(())
}

pub(super) fn too_large(from: Sender<'_>, what: &str, has: u64, most: u64) -> EgressError {
    EgressError::TooLarge(format!("the response of `{from}` has {has} or more {what}; {most} is the most"))
}

/// Takes a body piece by piece.
pub struct Collector<'a> {
    from: Sender<'a>,
    cap: u64,
    state: State,
}

enum State {
    /// Nothing yet.
    Empty(Coding),
    /// One piece, not copied.
    One(Bytes),
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Zlib(Box<ZlibDecoder<Bounded>>),
    Deflate(Box<DeflateDecoder<Bounded>>),
}

impl<'a> Collector<'a> {
    /// Collects up to `cap` bytes after decompression.
    pub fn new(from: Sender<'a>, coding: Coding, cap: u64) -> Self {
        Self { from, cap, state: State::Empty(coding) }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: Bytes) -> Result<(), EgressError> {
        if piece.is_empty() {
            return Ok(());
        }
        let cap = self.cap;
        let written = match &mut self.state {
            State::Empty(Coding::Plain) if piece.len() as u64 <= cap => {
                self.state = State::One(piece);
                return Ok(());
            }
            State::Empty(coding) => {
                self.state = State::begin(*coding, piece[0], cap);
                return self.push(piece);
            }
            State::One(first) => {
                let mut whole =
                    Bounded { bytes: Vec::with_capacity(2 * (first.len() + piece.len())), cap, over: false };
                let written = whole.write_all(first).and_then(|()| whole.write_all(&piece));
                self.state = State::Plain(whole);
                written
            }
            State::Plain(whole) => whole.write_all(&piece),
            State::Gzip(decoder) => decoder.write_all(&piece),
            State::Zlib(decoder) => decoder.write_all(&piece),
            State::Deflate(decoder) => decoder.write_all(&piece),
        };
        written.map_err(|error| self.explain(&error))
    }

    /// The whole body, once the last piece is in.
    pub fn finish(mut self) -> Result<Bytes, EgressError> {
        let ended = match &mut self.state {
            State::Empty(_) => return Ok(Bytes::new()),
            State::One(bytes) => return Ok(std::mem::take(bytes)),
            State::Plain(whole) => Ok(whole),
            State::Gzip(decoder) => decoder.try_finish().map(|()| decoder.get_mut()),
            State::Zlib(decoder) => decoder.try_finish().map(|()| decoder.get_mut()),
            State::Deflate(decoder) => decoder.try_finish().map(|()| decoder.get_mut()),
        };
        match ended.map(|whole| std::mem::take(&mut whole.bytes)) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn explain(&self, error: &io::Error) -> EgressError {
        let over = match &self.state {
            State::Plain(whole) => whole.over,
            State::Gzip(decoder) => decoder.get_ref().over,
            State::Zlib(decoder) => decoder.get_ref().over,
            State::Deflate(decoder) => decoder.get_ref().over,
            State::Empty(_) | State::One(_) => false,
        };
        if over {
            too_large(self.from, "bytes of body", self.cap + 1, self.cap)
        } else {
            EgressError::Protocol(format!("the compressed response of `{}` is malformed: {error}", self.from))
        }
    }
}

impl State {
    fn begin(coding: Coding, first: u8, cap: u64) -> Self {
        let whole = Bounded { bytes: Vec::new(), cap, over: false };
        match coding {
            Coding::Plain => Self::Plain(whole),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(whole))),
            // zlib's first byte names method 8 with a window of 32 KiB at most; a deflate stream that begins with the
            // same bits would be a stored block with a reserved padding.
            Coding::Deflate if first & 0x0f == 8 && first >> 4 <= 7 => Self::Zlib(Box::new(ZlibDecoder::new(whole))),
            Coding::Deflate => Self::Deflate(Box::new(DeflateDecoder::new(whole))),
        }
    }
}

/// A buffer that refuses to grow beyond its cap.
struct Bounded {
    bytes: Vec<u8>,
    cap: u64,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + piece.len()) as u64 > self.cap {
            self.over = true;
            return Err(io::Error::other("over its cap"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
