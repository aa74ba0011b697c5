//! The natives that reach the host: HTTP, log, clock, randomness and the cache. Handed to the prelude, never to partners' code.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rquickjs::function::{Func, Opt};
use rquickjs::{ArrayBuffer, Ctx, Exception, IntoJs, Object, Result, Value};
use tidegate_sdk::bindings::tidegate::destination::{cache, clock, http, log, random};

use crate::engine::is_loading;
use crate::natives::{digest, encoding, url};
use crate::text::Text;

thread_local! {
    static PENDING: RefCell<BTreeMap<u32, http::Pending>> = const { RefCell::new(BTreeMap::new()) };
    static RANDOM: RefCell<Option<[u64; 2]>> = const { RefCell::new(None) };
}

/// What `Math.random` begins with while a file is loaded: the same for every build, so that builds can be repeated.
const LOADING_SEED: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9];

/// The object that the prelude takes as `host`.
pub fn natives<'js>(context: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(context.clone())?;
    host.set("start", Func::from(start))?;
    host.set("waitAny", Func::from(wait_any))?;
    host.set("cancel", Func::from(|handle: u32| drop(PENDING.with_borrow_mut(|pending| pending.remove(&handle)))))?;
    host.set("log", Func::from(write_log))?;
    host.set("now", Func::from(now))?;
    host.set("monotonic", Func::from(monotonic))?;
    host.set("sleep", Func::from(sleep))?;
    host.set("random", Func::from(random_bytes))?;
    host.set("cacheGet", Func::from(cache_get))?;
    host.set("cacheSet", Func::from(cache_set))?;
    host.set("cacheDelete", Func::from(cache_delete))?;
    host.set("digest", Func::from(digest::digest))?;
    host.set("hmac", Func::from(digest::hmac))?;
    host.set("encodeUtf8", Func::from(encoding::encode_utf8))?;
    host.set("decodeUtf8", Func::from(encoding::decode_utf8))?;
    host.set("base64Encode", Func::from(encoding::base64_encode))?;
    host.set("base64Decode", Func::from(encoding::base64_decode))?;
    host.set("parseUrl", Func::from(url::parse))?;
    host.set("setUrl", Func::from(url::set))?;
    Ok(host)
}

/// What is left of the world while a file is loaded: nothing.
fn after_loading(context: &Ctx<'_>, what: &str) -> Result<()> {
    if is_loading() {
        let message = format!("{what} is not available while the file is loaded; use it in a handler");
        return Err(Exception::throw_type(context, &message));
    }
    Ok(())
}

fn start<'js>(
    context: Ctx<'js>,
    method: Text,
    url: Text,
    headers: Vec<Vec<Text>>,
    body: Opt<Option<encoding::Bytes>>,
) -> Result<Value<'js>> {
    after_loading(&context, "`fetch`")?;
    let headers = headers.into_iter().filter_map(|field| {
        let [name, value] = <[Text; 2]>::try_from(field).ok()?;
        Some((name.0, value.0))
    });
    let body = body.0.flatten().map(|bytes| bytes.0).unwrap_or_default();
    let request = http::Request { method: method.0, url: url.0, headers: headers.collect(), body };
    match http::start(&request) {
        Ok(request) => PENDING.with_borrow_mut(|pending| {
            let handle = pending.last_key_value().map_or(0, |(last, _)| last + 1);
            pending.insert(handle, request);
            handle.into_js(&context)
        }),
        Err(error) => failure(&context, &error).map(Object::into_value),
    }
}

fn wait_any<'js>(context: Ctx<'js>, handles: Vec<u32>, timeout_ms: f64) -> Result<Option<Object<'js>>> {
    after_loading(&context, "waiting")?;
    // A float to integer cast saturates; what is not finite waits for as long as the deadline lets it.
    let timeout = timeout_ms.is_finite().then(|| timeout_ms.ceil() as u64);
    let ended = PENDING.with_borrow(|pending| {
        let requests: Vec<&http::Pending> = handles.iter().filter_map(|handle| pending.get(handle)).collect();
        (requests.len() == handles.len()).then(|| http::wait_any(&requests, timeout))
    });
    let ended = ended.ok_or_else(|| Exception::throw_internal(&context, "a request that is waited for is unknown"))?;
    let Some((index, result)) = ended else { return Ok(None) };
    if let Some(handle) = handles.get(index as usize) {
        PENDING.with_borrow_mut(|pending| pending.remove(handle));
    }
    let answer = Object::new(context.clone())?;
    answer.set("index", index)?;
    match result {
        Ok(response) => {
            let given = Object::new(context.clone())?;
            given.set("status", response.status)?;
            let headers: Vec<Vec<String>> =
                response.headers.into_iter().map(|(name, value)| vec![name, value]).collect();
            given.set("headers", headers)?;
            given.set("body", ArrayBuffer::new(context.clone(), response.body)?)?;
            answer.set("response", given)?;
        }
        Err(error) => answer.set("error", failure(&context, &error)?)?,
    }
    Ok(Some(answer))
}

fn failure<'js>(context: &Ctx<'js>, error: &http::Error) -> Result<Object<'js>> {
    let (kind, message) = match error {
        http::Error::Denied(message) => ("denied", message),
        http::Error::InvalidRequest(message) => ("invalid-request", message),
        http::Error::Dns(message) => ("dns", message),
        http::Error::Connect(message) => ("connect", message),
        http::Error::Tls(message) => ("tls", message),
        http::Error::Timeout(message) => ("timeout", message),
        http::Error::Protocol(message) => ("protocol", message),
        http::Error::TooLarge(message) => ("too-large", message),
        http::Error::Limit(message) => ("limit", message),
    };
    let object = Object::new(context.clone())?;
    object.set("kind", kind)?;
    object.set("message", &**message)?;
    Ok(object)
}

fn write_log(context: Ctx<'_>, level: Text, text: Text) -> Result<()> {
    after_loading(&context, "`console`")?;
    let level = match &*level.0 {
        "debug" => log::Level::Debug,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        _ => log::Level::Info,
    };
    log::write(level, &text.0);
    Ok(())
}

/// Milliseconds since 1970; while a file is loaded always 0, so that builds can be repeated.
fn now() -> f64 {
    if is_loading() { 0.0 } else { clock::now() as f64 }
}

fn monotonic() -> f64 {
    if is_loading() { 0.0 } else { clock::monotonic() as f64 / 1e6 }
}

fn sleep(context: Ctx<'_>, ms: f64) -> Result<()> {
    after_loading(&context, "a timer")?;
    clock::sleep(ms.ceil() as u64);
    Ok(())
}

fn random_bytes(context: Ctx<'_>, count: u32) -> Result<ArrayBuffer<'_>> {
    after_loading(&context, "randomness")?;
    ArrayBuffer::new(context, random::bytes(count))
}

fn cache_get(context: Ctx<'_>, key: Text) -> Result<Option<String>> {
    after_loading(&context, "`cache`")?;
    Ok(cache::get(&key.0))
}

fn cache_set(context: Ctx<'_>, key: Text, value: Text, ttl_ms: Opt<Option<f64>>) -> Result<()> {
    after_loading(&context, "`cache`")?;
    let ttl = ttl_ms.0.flatten().map(|ms| ms as u64);
    cache::set(&key.0, &value.0, ttl).map_err(|why| Exception::throw_range(&context, &why))
}

fn cache_delete(context: Ctx<'_>, key: Text) -> Result<()> {
    after_loading(&context, "`cache`")?;
    cache::delete(&key.0);
    Ok(())
}

/// `Math.random`: xoroshiro128+, which the host's randomness seeds at first use in each instance.
pub fn math_random() -> f64 {
    RANDOM.with_borrow_mut(|state| {
        let seeded = || if is_loading() { LOADING_SEED } else { seed() };
        let [mut one, mut two] = state.unwrap_or_else(seeded);
        let sum = one.wrapping_add(two);
        two ^= one;
        one = one.rotate_left(24) ^ two ^ (two << 16);
        two = two.rotate_left(37);
        *state = Some([one, two]);
        (sum >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// Forgets the state that loading left: each instance takes a seed of its own.
pub fn forget_random() {
    RANDOM.set(None);
}

fn seed() -> [u64; 2] {
    let bytes = random::bytes(16);
    let part = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes);
    // All zeros would stay zeros.
    [part(0) | 1, part(8)]
}

/// The engine's own clock, in microseconds: behind `Date`.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
extern "C" fn __rquickjs_host_now_us() -> f64 {
    now() * 1e3
}
