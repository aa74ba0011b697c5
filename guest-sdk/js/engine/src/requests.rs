//! Requests: what a function asks of the world, and waits for.
//!
//! A request beside which there is no other is sent only when nothing else can run, so that the host is asked once and
//! not twice. A second one starts both: requests that are made together are under way together.

use std::cell::RefCell;

use rquickjs::{ArrayBuffer, Ctx, Function, IntoJs, Persistent, Result, Value};
use tidegate_sdk::bindings::tidegate::destination::http;

use crate::engine::{Engine, after_loading};
use crate::natives::encoding::Bytes;
use crate::text::Text;

thread_local! {
    static REQUESTS: RefCell<Requests> =
        const { RefCell::new(Requests { made: 0, waiting: Vec::new(), received: Vec::new() }) };
}

struct Requests {
    /// How many there have been: the handle of the next one.
    made: u32,
    /// In the order in which they were made.
    waiting: Vec<Waiting>,
    /// What has come, in the order in which it came. What nobody asks for never becomes a value of JavaScript's.
    received: Vec<Received>,
}

struct Waiting {
    handle: u32,
    request: http::Request,
    state: State,
    then: Then,
}

enum State {
    New,
    UnderWay(http::Pending),
    Refused(http::Error),
}

struct Received {
    url: String,
    response: http::Response,
}

/// Who is told how a request ended.
pub enum Then {
    /// A promise, by the functions that resolve and reject it.
    Settle(Persistent<Function<'static>>, Persistent<Function<'static>>),
    /// A function of the prelude, that takes a status and an id, or neither and an error's kind and message.
    Tell(Persistent<Function<'static>>),
}

/// Makes a request, and gives its handle.
pub fn make(request: http::Request, then: Then) -> u32 {
    REQUESTS.with_borrow_mut(|requests| {
        let handle = requests.made;
        requests.made += 1;
        requests.waiting.push(Waiting { handle, request, state: State::New, then });
        if requests.waiting.len() > 1 {
            requests.begin();
        }
        handle
    })
}

/// Whether any has not ended.
pub fn any() -> bool {
    REQUESTS.with_borrow(|requests| !requests.waiting.is_empty())
}

/// Starts what was made and not waited for: the call ends, and the host knows of it as of any other.
pub fn begin() {
    REQUESTS.with_borrow_mut(Requests::begin);
}

/// Waits for one to end and tells who wants to know; `false` if that many milliseconds were over before.
pub fn wait(engine: &Engine, context: &Ctx<'_>, timeout_ms: Option<f64>) -> Result<bool> {
    // The cast saturates: what is longer than any deadline waits for as long as the deadline lets it.
    let timeout = timeout_ms.map(|ms| ms.ceil() as u64);
    let Some((waiting, result)) = REQUESTS.with_borrow_mut(|requests| requests.wait(timeout)) else {
        return Ok(false);
    };
    let Waiting { request, then, .. } = waiting;
    match result {
        Ok(response) => arrived(engine, context, request, response, then)?,
        Err(error) => {
            let (kind, message) = described(&error);
            match then {
                Then::Tell(tell) => tell.restore(context)?.call::<_, ()>(((), (), kind, message))?,
                Then::Settle(_, reject) => {
                    let error: Value =
                        engine.fetch_error.clone().restore(context)?.call((request.url, kind, message))?;
                    reject.restore(context)?.call::<_, ()>((error,))?;
                }
            }
        }
    }
    Ok(true)
}

fn arrived(
    engine: &Engine,
    context: &Ctx<'_>,
    request: http::Request,
    response: http::Response,
    then: Then,
) -> Result<()> {
    let status = response.status;
    let id = REQUESTS.with_borrow_mut(|requests| {
        requests.received.push(Received { url: request.url.clone(), response });
        requests.received.len() - 1
    });
    match then {
        Then::Tell(tell) => tell.restore(context)?.call((status, id)),
        Then::Settle(resolve, _) => {
            let response: Value = if matches!(status, 301 | 302 | 303 | 307 | 308) {
                let body = (!request.body.is_empty()).then(|| ArrayBuffer::new(context.clone(), request.body));
                let fields: Vec<String> = request.headers.into_iter().flat_map(<[String; 2]>::from).collect();
                let redirect = engine.redirect.clone().restore(context)?;
                redirect.call((request.method, request.url, fields, body.transpose()?, status, id))?
            } else {
                engine.received.clone().restore(context)?.call((status, id, false))?
            };
            resolve.restore(context)?.call((response,))
        }
    }
}

impl Requests {
    fn begin(&mut self) {
        for waiting in self.waiting.iter_mut().filter(|waiting| matches!(waiting.state, State::New)) {
            waiting.state = match http::start(&waiting.request) {
                Ok(pending) => State::UnderWay(pending),
                Err(refused) => State::Refused(refused),
            };
        }
    }

    fn wait(&mut self, timeout_ms: Option<u64>) -> Option<(Waiting, std::result::Result<http::Response, http::Error>)> {
        if let ([Waiting { state: State::New, .. }], None) = (&self.waiting[..], timeout_ms) {
            let waiting = self.waiting.pop()?;
            let result = http::send(&waiting.request);
            return Some((waiting, result));
        }
        self.begin();
        let mut pending = Vec::with_capacity(self.waiting.len());
        for (at, waiting) in self.waiting.iter().enumerate() {
            match &waiting.state {
                State::UnderWay(request) => pending.push(request),
                State::Refused(error) => {
                    let error = error.clone();
                    return Some((self.waiting.remove(at), Err(error)));
                }
                // `begin` left none.
                State::New => {}
            }
        }
        let (index, result) = http::wait_any(&pending, timeout_ms)?;
        Some((self.waiting.remove(index as usize), result))
    }
}

fn described(error: &http::Error) -> (&'static str, &str) {
    match error {
        http::Error::Denied(message) => ("denied", message),
        http::Error::InvalidRequest(message) => ("invalid-request", message),
        http::Error::Dns(message) => ("dns", message),
        http::Error::Connect(message) => ("connect", message),
        http::Error::Tls(message) => ("tls", message),
        http::Error::Timeout(message) => ("timeout", message),
        http::Error::Protocol(message) => ("protocol", message),
        http::Error::TooLarge(message) => ("too-large", message),
        http::Error::Limit(message) => ("limit", message),
    }
}

/// `start(method, url, headers, body, tell)`: the request's handle.
pub fn start(
    context: Ctx<'_>,
    method: Text,
    url: Text,
    headers: Vec<Vec<Text>>,
    body: Option<Bytes>,
    tell: Persistent<Function<'static>>,
) -> Result<u32> {
    after_loading(&context, "`fetch`")?;
    let headers = headers.into_iter().filter_map(|field| {
        let [name, value] = <[Text; 2]>::try_from(field).ok()?;
        Some((name.0, value.0))
    });
    let body = body.map(|bytes| bytes.0).unwrap_or_default();
    let request = http::Request { method: method.0, url: url.0, headers: headers.collect(), body };
    Ok(make(request, Then::Tell(tell)))
}

/// `cancel(handle)`: gives a request up, if it has not ended.
pub fn cancel(handle: u32) {
    REQUESTS.with_borrow_mut(|requests| requests.waiting.retain(|waiting| waiting.handle != handle));
}

fn of_received<T>(id: usize, read: impl FnOnce(&mut Received) -> T) -> Option<T> {
    REQUESTS.with_borrow_mut(|requests| requests.received.get_mut(id).map(read))
}

/// `receivedUrl(id)`.
pub fn received_url(id: usize) -> Option<String> {
    of_received(id, |received| received.url.clone())
}

/// `receivedHeaders(id)`: names and values, taking turns.
pub fn received_headers(id: usize) -> Option<Vec<String>> {
    of_received(id, |received| {
        std::mem::take(&mut received.response.headers).into_iter().flat_map(<[String; 2]>::from).collect()
    })
}

/// `receivedBody(id)`: the bytes, which are handed over.
pub fn received_body<'js>(context: Ctx<'js>, id: usize) -> Result<Value<'js>> {
    let body = of_received(id, |received| std::mem::take(&mut received.response.body));
    ArrayBuffer::new(context.clone(), body.unwrap_or_default())?.into_js(&context)
}

/// `receivedText(id)`: the bytes as text; what is not UTF-8 becomes U+FFFD.
pub fn received_text(id: usize) -> Option<String> {
    of_received(id, |received| String::from_utf8_lossy(&received.response.body).into_owned())
}
