//! `wasi:http/outgoing-handler`: wasmtime's own implementation, whose requests go where all requests of an invocation go.
//!
//! Guarantees: never more requests than the limit, each recorded and within the invocation's deadline, each through the
//! outlet; a response is whole and within its caps before the guest sees any of it.

use std::pin::Pin;
use std::task::{Context as Polling, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, IoError};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, FutureIncomingResponse, FutureTrailers, Headers, IncomingBody, IncomingRequest, IncomingResponse,
    Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasmtime_wasi_http::p2::{HeaderError, HeaderResult, HttpError, HttpResult};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use super::crossing::{Crossing, counted};
use crate::egress::{EgressError, InboundResponse, OutboundRequest};
use crate::sandbox::host::{Run, WORD};
use crate::sandbox::pool::Held;
use crate::sandbox::requests::{Requests, Room};

/// Bytes of one set of header fields, as a program holds it: twice what the gate lets pass on the wire.
const FIELDS: usize = 64 << 10;

/// What one header field takes in the host beside its bytes: its place in the map, the heads of its name and its value.
const FIELD: usize = 128;

/// What the library keeps for an invocation.
pub(super) struct Context(WasiHttpCtx);

impl Default for Context {
    fn default() -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS);
        Self(context)
    }
}

/// Nothing is left to do for a response that is whole.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answering = dyn Future<Output = Result<(Response<WasiBody>, Rest), Error>> + Send;

impl WasiHttpHooks for Requests {
    /// The gate writes it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<Answering> {
        let (parts, body) = request.into_parts();
        let refuse = |error: EgressError| Box::new(std::future::ready(Err(code(error))));
        let headers = match texts(&parts.headers) {
            Ok(headers) => headers,
            Err(error) => return refuse(error),
        };
        let (method, url) = (parts.method.as_str().to_owned(), parts.uri.to_string());
        let head = OutboundRequest { method, url, headers: headers.into(), body: Bytes::new() };
        let sending = match self.open(head, collect(body, self.room()), options.and_then(patience)) {
            Ok(sending) => sending,
            Err(used_up) => return Box::new(std::future::ready(Err(Error::InternalError(Some(used_up))))),
        };
        let mut answering: Pin<Box<Answering>> = Box::pin(async move {
            let response = sending.await.map_err(code)?;
            Ok((inbound(response)?, Box::new(std::future::ready(Ok(()))) as Rest))
        });
        // Begun now, so that requests are judged in the order in which the guest makes them; the library goes on with it
        // in a task of its own, which the invocation pays for like the rest.
        match answering.as_mut().poll(&mut Polling::from_waker(Waker::noop())) {
            Poll::Ready(ended) => Box::new(std::future::ready(ended)),
            Poll::Pending => Box::new(self.beside(answering, |error| Err(code(error)))),
        }
    }
}

/// How long the guest wants to wait. The gate has one deadline for a whole request, so this is the sum of what the guest
/// gives its parts; a guest that bounds the connection only has the invocation's deadline.
fn patience(options: RequestOptions) -> Option<Duration> {
    let (connect, rest) = (options.connect_timeout.unwrap_or_default(), options.between_bytes_timeout);
    options.first_byte_timeout.map(|first| first.saturating_add(connect).saturating_add(rest.unwrap_or_default()))
}

/// The guest's header fields but for `content-length`, which the library has held against the body and the gate writes.
fn texts(headers: &HeaderMap) -> Result<Vec<(String, String)>, EgressError> {
    let own = headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
    own.map(|(name, value)| match std::str::from_utf8(value.as_bytes()) {
        Ok(value) => Ok((name.to_string(), value.to_owned())),
        Err(_) => Err(EgressError::InvalidRequest(format!("the value of the header `{name}` is not UTF-8"))),
    })
    .collect()
}

/// The whole body. What a guest writes counts as it writes it, so the budget of bytes bounds this, and the memory of all guests.
async fn collect(mut body: WasiBody, room: Room) -> Result<(Bytes, Held), EgressError> {
    let invalid = |why: &str| Err(EgressError::InvalidRequest(why.to_owned()));
    let (mut whole, mut held) = (Vec::new(), Held::default());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return invalid("the request's body was not finished, or is not as long as it said");
        };
        match frame.into_data() {
            Ok(data) => {
                room.keep(&mut held, whole.len() + data.len()).await?;
                whole.extend_from_slice(&data);
            }
            Err(_) => return invalid("the request has trailers, which are not sent"),
        }
    }
    Ok((whole.into(), held))
}

fn inbound(response: InboundResponse) -> Result<Response<WasiBody>, Error> {
    let InboundResponse { status, headers, body } = response;
    let mut inbound = Response::new(Full::new(body).map_err(|never| match never {}).boxed_unsync());
    *inbound.status_mut() = StatusCode::from_u16(status).map_err(|_| Error::HttpProtocolError)?;
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| Error::HttpProtocolError)?;
        let value = HeaderValue::try_from(value).map_err(|_| Error::HttpProtocolError)?;
        inbound.headers_mut().append(name, value);
    }
    Ok(inbound)
}

/// The reason in WASI's words. Where those have room for a text, it is ours; the record of the request has it always.
fn code(error: EgressError) -> Error {
    match error {
        EgressError::Denied(_) => Error::HttpRequestDenied,
        EgressError::InvalidRequest(why) => Error::InternalError(Some(why)),
        EgressError::Dns(why) => Error::DnsError { rcode: Some(why), info_code: None },
        EgressError::Connect(_) => Error::DestinationUnavailable,
        EgressError::Tls(_) => Error::TlsProtocolError,
        EgressError::Timeout(_) => Error::HttpResponseTimeout,
        EgressError::Protocol(_) => Error::HttpProtocolError,
        EgressError::TooLarge(_) => Error::HttpResponseBodySize(None),
    }
}

impl Run {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi.get_or_insert_default();
        WasiHttpCtxView { hooks: &mut self.requests, table: &mut self.table, ctx: &mut wasi.http.0 }
    }

    /// The guest writes so many bytes into a request that is not sent yet.
    fn part(&mut self, bytes: usize) -> Result<()> {
        self.called(bytes)?;
        self.keeps(bytes)
    }
}

impl types::Host for Run {
    fn convert_error_code(&mut self, error: HttpError) -> Result<ErrorCode> {
        error.downcast()
    }

    fn convert_header_error(&mut self, error: HeaderError) -> Result<types::HeaderError> {
        error.downcast()
    }

    fn http_error_code(&mut self, error: Resource<IoError>) -> Result<Option<ErrorCode>> {
        self.called(0)?;
        types::Host::http_error_code(&mut self.http(), error)
    }
}

counted!(outgoing_handler::Host, http {
    fn handle(
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>
    ) -> HttpResult<Resource<FutureIncomingResponse>>;
});

counted!(types::HostFields, http {
    fn new() -> Result<Resource<Headers>>;
    fn get(fields: Resource<Headers>, name: String) -> Result<Vec<Vec<u8>>>;
    fn has(fields: Resource<Headers>, name: String) -> Result<bool>;
    fn delete(fields: Resource<Headers>, name: String) -> HeaderResult<()>;
    fn entries(fields: Resource<Headers>) -> Result<Vec<(String, Vec<u8>)>>;
    drop Headers;
    own {
        fn from_list(&mut self, entries: Vec<(String, Vec<u8>)>) -> HeaderResult<Resource<Headers>> {
            self.called(entries.bytes())?;
            let kept = entries.iter().map(|(name, value)| FIELD + name.len() + value.len()).sum();
            self.keeps(kept).map_err(HeaderError::trap)?;
            types::HostFields::from_list(&mut self.http(), entries)
        }

        fn set(&mut self, fields: Resource<Headers>, name: String, values: Vec<Vec<u8>>) -> HeaderResult<()> {
            self.called(name.bytes() + values.bytes())?;
            let kept = values.iter().map(|value| FIELD + name.len() + value.len()).sum();
            self.keeps(kept).map_err(HeaderError::trap)?;
            types::HostFields::set(&mut self.http(), fields, name, values)
        }

        fn append(&mut self, fields: Resource<Headers>, name: String, value: Vec<u8>) -> HeaderResult<()> {
            self.called(name.bytes() + value.bytes())?;
            self.keeps(FIELD + name.len() + value.len()).map_err(HeaderError::trap)?;
            types::HostFields::append(&mut self.http(), fields, name, value)
        }

        /// A copy that is changed takes as much memory as what it was made of, so it counts as if the guest had given it.
        fn clone(&mut self, fields: Resource<Headers>) -> Result<Resource<Headers>> {
            let fields_of = self.table.get(&fields)?.iter();
            let (count, bytes) = fields_of.fold((0, 0), |(count, bytes), (name, value)| {
                (count + 1, bytes + name.as_str().len() + value.len())
            });
            self.called(bytes + count * 2 * WORD)?;
            self.keeps(bytes + count * FIELD)?;
            types::HostFields::clone(&mut self.http(), fields)
        }
    }
});

counted!(types::HostOutgoingRequest, http {
    fn new(headers: Resource<Headers>) -> Result<Resource<OutgoingRequest>>;
    fn body(request: Resource<OutgoingRequest>) -> Result<Result<Resource<OutgoingBody>, ()>>;
    fn method(request: Resource<OutgoingRequest>) -> Result<Method>;
    fn path_with_query(request: Resource<OutgoingRequest>) -> Result<Option<String>>;
    fn scheme(request: Resource<OutgoingRequest>) -> Result<Option<Scheme>>;
    fn authority(request: Resource<OutgoingRequest>) -> Result<Option<String>>;
    fn headers(request: Resource<OutgoingRequest>) -> Result<Resource<Headers>>;
    drop OutgoingRequest;
    own {
        fn set_method(&mut self, request: Resource<OutgoingRequest>, method: Method) -> Result<Result<(), ()>> {
            self.part(method.bytes())?;
            types::HostOutgoingRequest::set_method(&mut self.http(), request, method)
        }

        fn set_path_with_query(
            &mut self,
            request: Resource<OutgoingRequest>,
            path: Option<String>,
        ) -> Result<Result<(), ()>> {
            self.part(path.bytes())?;
            types::HostOutgoingRequest::set_path_with_query(&mut self.http(), request, path)
        }

        fn set_scheme(&mut self, request: Resource<OutgoingRequest>, scheme: Option<Scheme>) -> Result<Result<(), ()>> {
            self.part(scheme.bytes())?;
            types::HostOutgoingRequest::set_scheme(&mut self.http(), request, scheme)
        }

        fn set_authority(
            &mut self,
            request: Resource<OutgoingRequest>,
            authority: Option<String>,
        ) -> Result<Result<(), ()>> {
            self.part(authority.bytes())?;
            types::HostOutgoingRequest::set_authority(&mut self.http(), request, authority)
        }
    }
});

counted!(types::HostRequestOptions, http {
    fn new() -> Result<Resource<RequestOptions>>;
    fn connect_timeout(options: Resource<RequestOptions>) -> Result<Option<u64>>;
    fn set_connect_timeout(options: Resource<RequestOptions>, after: Option<u64>) -> Result<Result<(), ()>>;
    fn first_byte_timeout(options: Resource<RequestOptions>) -> Result<Option<u64>>;
    fn set_first_byte_timeout(options: Resource<RequestOptions>, after: Option<u64>) -> Result<Result<(), ()>>;
    fn between_bytes_timeout(options: Resource<RequestOptions>) -> Result<Option<u64>>;
    fn set_between_bytes_timeout(options: Resource<RequestOptions>, after: Option<u64>) -> Result<Result<(), ()>>;
    drop RequestOptions;
});

impl types::HostOutgoingBody for Run {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Result<Result<Resource<DynOutputStream>, ()>> {
        self.called(0)?;
        types::HostOutgoingBody::write(&mut self.http(), body)
    }

    fn finish(&mut self, body: Resource<OutgoingBody>, trailers: Option<Resource<Headers>>) -> HttpResult<()> {
        self.called(0)?;
        let finished = types::HostOutgoingBody::finish(&mut self.http(), body, trailers);
        self.requests.body_finished();
        finished
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        types::HostOutgoingBody::drop(&mut self.http(), body)
    }
}

counted!(types::HostFutureIncomingResponse, http {
    fn subscribe(response: Resource<FutureIncomingResponse>) -> Result<Resource<DynPollable>>;
    fn get(
        response: Resource<FutureIncomingResponse>
    ) -> Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>>;
    drop FutureIncomingResponse;
});

counted!(types::HostIncomingResponse, http {
    fn status(response: Resource<IncomingResponse>) -> Result<u16>;
    fn headers(response: Resource<IncomingResponse>) -> Result<Resource<Headers>>;
    fn consume(response: Resource<IncomingResponse>) -> Result<Result<Resource<IncomingBody>, ()>>;
    drop IncomingResponse;
});

counted!(types::HostIncomingBody, http {
    fn stream(body: Resource<IncomingBody>) -> Result<Result<Resource<DynInputStream>, ()>>;
    fn finish(body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>>;
    drop IncomingBody;
});

counted!(types::HostFutureTrailers, http {
    fn subscribe(trailers: Resource<FutureTrailers>) -> Result<Resource<DynPollable>>;
    fn get(
        trailers: Resource<FutureTrailers>
    ) -> Result<Option<Result<Result<Option<Resource<Headers>>, ErrorCode>, ()>>>;
    drop FutureTrailers;
});

// The other direction: toolchains import these with the rest, and nothing here is ever asked.

counted!(types::HostIncomingRequest, http {
    fn method(request: Resource<IncomingRequest>) -> Result<Method>;
    fn path_with_query(request: Resource<IncomingRequest>) -> Result<Option<String>>;
    fn scheme(request: Resource<IncomingRequest>) -> Result<Option<Scheme>>;
    fn authority(request: Resource<IncomingRequest>) -> Result<Option<String>>;
    fn headers(request: Resource<IncomingRequest>) -> Result<Resource<Headers>>;
    fn consume(request: Resource<IncomingRequest>) -> Result<Result<Resource<IncomingBody>, ()>>;
    drop IncomingRequest;
});

counted!(types::HostOutgoingResponse, http {
    fn new(headers: Resource<Headers>) -> Result<Resource<OutgoingResponse>>;
    fn status_code(response: Resource<OutgoingResponse>) -> Result<u16>;
    fn set_status_code(response: Resource<OutgoingResponse>, status: u16) -> Result<Result<(), ()>>;
    fn headers(response: Resource<OutgoingResponse>) -> Result<Resource<Headers>>;
    fn body(response: Resource<OutgoingResponse>) -> Result<Result<Resource<OutgoingBody>, ()>>;
    drop OutgoingResponse;
});

counted!(types::HostResponseOutparam, http {
    fn set(to: Resource<ResponseOutparam>, response: Result<Resource<OutgoingResponse>, ErrorCode>) -> Result<()>;
    fn send_informational(to: Resource<ResponseOutparam>, status: u16, headers: Resource<Headers>) -> HttpResult<()>;
    drop ResponseOutparam;
});
