//! A body while it arrives: plain or gzip, and never more of it in memory than a body may have.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use super::BodyError;

/// Gzip data for a body may be this much larger than the body itself: data that does not compress, and headers.
const GZIP_OVERHEAD: usize = 1024;

/// Takes a body piece by piece. It stops at the first piece with which the decompressed body is too large,
/// however little was sent until then.
pub struct Inflate {
    limit: usize,
    taken: usize,
    form: Form,
}

enum Form {
    Plain(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

struct Capped {
    limit: usize,
    bytes: Vec<u8>,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflate {
    /// Expects a body of at most `limit` bytes after decompression.
    pub fn new(gzip: bool, limit: usize) -> Self {
        let form = match gzip {
            true => Form::Gzip(Box::new(MultiGzDecoder::new(Capped { limit, bytes: Vec::new() }))),
            false => Form::Plain(Vec::new()),
        };
        Self { limit, taken: 0, form }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] and [`BodyError::NotGzip`]; after either, give it nothing more.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), BodyError> {
        self.taken = self.taken.saturating_add(piece.len());
        let limit = self.limit;
        match &mut self.form {
            Form::Plain(bytes) => {
                if self.taken > limit {
                    return Err(BodyError::TooLarge { limit });
                }
                bytes.extend_from_slice(piece);
            }
            Form::Gzip(decoder) => {
                // Without this, gzip members of nothing could be sent for ever.
                if self.taken > limit.saturating_add(GZIP_OVERHEAD) {
                    return Err(BodyError::TooLarge { limit });
                }
                decoder.write_all(piece).map_err(|error| told(&error, limit))?;
            }
        }
        Ok(())
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`BodyError::NotGzip`] if it was cut off, [`BodyError::TooLarge`] if its last bytes were too many.
    pub fn finish(self) -> Result<Vec<u8>, BodyError> {
        match self.form {
            Form::Plain(bytes) => Ok(bytes),
            Form::Gzip(_) if self.taken == 0 => Ok(Vec::new()),
            Form::Gzip(decoder) => decoder.finish().map(|sink| sink.bytes).map_err(|error| told(&error, self.limit)),
        }
    }
}

fn told(error: &io::Error, limit: usize) -> BodyError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BodyError::TooLarge { limit },
        _ => BodyError::NotGzip(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(gzip: bool, limit: usize, pieces: &[&[u8]]) -> Result<Vec<u8>, BodyError> {
        let mut body = Inflate::new(gzip, limit);
        for piece in pieces {
            body.take(piece)?;
        }
        body.finish()
    }

    #[test]
    fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
        for zip in [false, true] {
            for (len, ok) in [(0, true), (1, true), (1000, true), (1001, false)] {
                let plain = vec![b'x'; len];
                let sent = if zip { gzip(&plain) } else { plain.clone() };
                let got = inflate(zip, 1000, &[&sent]);
                assert_eq!(got, if ok { Ok(plain) } else { Err(BodyError::TooLarge { limit: 1000 }) }, "{zip} {len}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_while_it_unfolds() {
        let bomb = gzip(&vec![0; 50 << 20]);
        let mut body = Inflate::new(true, 1 << 20);
        let mut sent = 0;
        let end = bomb.chunks(256).find_map(|piece| {
            sent += piece.len();
            body.take(piece).err()
        });
        assert_eq!(end, Some(BodyError::TooLarge { limit: 1 << 20 }));
        assert!(sent < bomb.len() / 10, "stopped after {sent} of {} bytes", bomb.len());
    }

    #[test]
    fn cut_and_false_gzip_are_told_apart_from_too_large() {
        let whole = gzip(&[7; 5000]);
        assert!(matches!(inflate(true, 10_000, &[&whole[..whole.len() - 3]]), Err(BodyError::NotGzip(_))));
        assert!(matches!(inflate(true, 10_000, &[b"{\"batch\":[]}"]), Err(BodyError::NotGzip(_))));
    }

    #[test]
    fn empty_members_for_ever_are_too_large() {
        let nothing = gzip(b"");
        let pieces = vec![&nothing[..]; 1000];
        assert_eq!(inflate(true, 1000, &pieces), Err(BodyError::TooLarge { limit: 1000 }));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_come_back_or_are_refused(bytes: Vec<u8>, cut in 1usize..40, noise: bool) {
            let sent = if noise { bytes.clone() } else { gzip(&bytes) };
            let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
            let got = inflate(true, 64, &pieces);
            match got {
                Ok(body) => prop_assert!(body.len() <= 64 && (noise || body == bytes)),
                Err(error) => prop_assert!(noise || bytes.len() > 64, "{error}"),
            }
        }
    }
}
