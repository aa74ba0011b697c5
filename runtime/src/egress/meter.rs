//! Counts what a server sends, on the wire, before anything is made of it.
//!
//! Guarantees: a response costs no more bytes than its allowance, however they are dressed: interim responses, chunk
//! extensions, empty deflate blocks. When the allowance is used up, reading fails and the connection is dropped.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::ResponseCaps;

/// Interim (1xx) responses before the real one. Servers send one or two.
pub const MAX_INTERIM: u32 = 16;
/// Bytes for status lines, interim responses, chunk sizes and what compression adds, beside the caps themselves.
const SLACK: u64 = 64 << 10;

/// What one connection may still read for the request that is under way.
#[derive(Debug, Default)]
pub struct Meter {
    left: AtomicU64,
    interim: AtomicU32,
}

impl Meter {
    /// Starts the count for one request: twice the caps, because small chunks double a body.
    pub fn restart(&self, caps: &ResponseCaps) {
        let sum = caps.body_bytes.saturating_add(u64::from(caps.header_bytes));
        self.left.store(sum.saturating_mul(2).saturating_add(SLACK), Relaxed);
        self.interim.store(0, Relaxed);
    }

    /// Counts one interim response.
    pub fn interim(&self) {
        self.interim.fetch_add(1, Relaxed);
    }

    /// Which allowance is used up, if one is.
    pub fn spent(&self) -> Option<&'static str> {
        if self.interim.load(Relaxed) > MAX_INTERIM {
            Some("it sent more than 16 interim responses")
        } else if self.left.load(Relaxed) == 0 {
            Some("it sent more than twice the largest response's bytes on the wire")
        } else {
            None
        }
    }

    fn count(&self, bytes: usize) {
        let left = self.left.load(Relaxed);
        self.left.store(left.saturating_sub(bytes as u64), Relaxed);
    }
}

/// A connection's two forms.
#[derive(Debug)]
pub enum Stream {
    /// To an address that the operator opened.
    Plain(TcpStream),
    /// To everybody else.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream whose reads are counted.
#[derive(Debug)]
pub struct Metered {
    stream: Stream,
    meter: Arc<Meter>,
}

impl Metered {
    /// Counts this stream's reads with this meter.
    pub fn new(stream: Stream, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(spent) = self.meter.spent() {
            return Poll::Ready(Err(io::Error::other(spent)));
        }
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.meter.count(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
