//! One HTTP/1.1 connection, driven by whoever uses it.
//!
//! Guarantees: there is no task behind a connection. Whoever gives up a request drops its connection with it, at once,
//! and nothing is left running; an idle connection costs a socket and no processor.
//!
//! Leaves to others: where it leads (`dial`), who may use it again (`pool`), what a response may hold (`body`).

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;

use super::{
    ResponseCaps,
    meter::{Meter, Metered, Stream},
};

/// A header field is its name, its value, a colon, a space and a line end.
const FIELD_FRAME: usize = 4;
/// Bytes of a status line with its reason.
const STATUS_LINE: usize = 4 << 10;
/// What hyper reserves for the fields of a response on the stack; more costs an allocation for each response.
const FIELDS_WITHOUT_ALLOCATION: u32 = 100;
/// The most that is read ahead of whoever takes the body.
const READ_BUFFER: usize = 64 << 10;

/// An open connection that serves one request at a time.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Gone when the connection has ended.
    driver: Driver,
    meter: Arc<Meter>,
}

impl Connection {
    /// Speaks HTTP on an open stream. Responses above the caps are refused while their head is read.
    pub async fn start(stream: Stream, caps: &ResponseCaps) -> Result<Self, hyper::Error> {
        let meter = Arc::new(Meter::default());
        meter.restart(caps);
        let head = caps.header_bytes as usize + caps.headers as usize * FIELD_FRAME + STATUS_LINE;
        let mut builder = http1::Builder::new();
        builder.max_header_size(head).max_buf_size(head.max(READ_BUFFER));
        if caps.headers > FIELDS_WITHOUT_ALLOCATION {
            builder.max_headers(caps.headers as usize);
        }
        let (sender, driver) = builder.handshake(TokioIo::new(Metered::new(stream, meter.clone()))).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), meter })
    }

    /// What it reads is counted here.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Sends a request and waits for the head of its response. A request that was not begun is handed back.
    pub async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
        caps: &ResponseCaps,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        self.meter.restart(caps);
        let meter = self.meter.clone();
        hyper::ext::on_informational(&mut request, move |_| meter.interim());
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            response.as_mut().poll(cx)
        })
        .await
    }

    /// The next piece of a response's body.
    pub async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        poll_fn(|cx| {
            // Asking first tells the driver that the bytes are wanted.
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            drive(&mut self.driver, cx);
            Pin::new(&mut *body).poll_frame(cx)
        })
        .await
    }

    /// Whether it can take another request now. What ends it later, or comes unasked, the next exchange finds before it sends.
    pub async fn is_idle(&mut self) -> bool {
        if self.driver.is_some() && self.sender.is_ready() {
            return true;
        }
        // The driver may not have come to the response's end yet.
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            Poll::Ready(())
        })
        .await;
        self.driver.is_some() && self.sender.is_ready()
    }
}

type Driver = Option<Box<http1::Connection<TokioIo<Metered>, Full<Bytes>>>>;

fn drive(driver: &mut Driver, cx: &mut Context<'_>) {
    // Its error, if any, also reaches the request or body that it belongs to.
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}
