//! The natives that reach the host: HTTP, log, clock, randomness and the cache. Handed to the prelude, never to partners' code.

use std::cell::RefCell;

use rquickjs::function::{Func, Opt};
use rquickjs::{ArrayBuffer, Ctx, Exception, Object, Result};
use tidegate_sdk::bindings::tidegate::destination::{cache, clock, log, random};

use crate::engine::{after_loading, is_loading, wake_later};
use crate::natives::{digest, encoding, url};
use crate::text::Text;
use crate::{fetch, requests, uncaught};

thread_local! {
    static RANDOM: RefCell<Option<[u64; 2]>> = const { RefCell::new(None) };
    static ATTEMPTS: RefCell<Vec<(String, u32)>> = const { RefCell::new(Vec::new()) };
}

/// What `Math.random` begins with while a file is loaded: the same for every build, so that builds can be repeated.
const LOADING_SEED: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9];

/// The object that the prelude takes as `host`.
pub fn natives<'js>(context: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(context.clone())?;
    host.set("fetch", Func::from(fetch::fetch))?;
    host.set("start", Func::from(requests::start))?;
    host.set("cancel", Func::from(requests::cancel))?;
    host.set("receivedUrl", Func::from(requests::received_url))?;
    host.set("receivedHeaders", Func::from(requests::received_headers))?;
    host.set("receivedBody", Func::from(requests::received_body))?;
    host.set("receivedText", Func::from(requests::received_text))?;
    host.set("uncaught", Func::from(uncaught::note))?;
    host.set("wakeLater", Func::from(wake_later))?;
    host.set("log", Func::from(write_log))?;
    host.set("now", Func::from(now))?;
    host.set("monotonic", Func::from(monotonic))?;
    host.set("random", Func::from(random_bytes))?;
    host.set("cacheGet", Func::from(cache_get))?;
    host.set("cacheSet", Func::from(cache_set))?;
    host.set("cacheDelete", Func::from(cache_delete))?;
    host.set("attempt", Func::from(attempt))?;
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

fn write_log(context: Ctx<'_>, level_name: Text, text: Text) -> Result<()> {
    after_loading(&context, "`console`")?;
    log::write(level(&level_name.0), &text.0);
    Ok(())
}

/// A level by its name.
pub fn level(name: &str) -> log::Level {
    match name {
        "debug" => log::Level::Debug,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        _ => log::Level::Info,
    }
}

/// Milliseconds since 1970; while a file is loaded always 0, so that builds can be repeated.
fn now() -> f64 {
    if is_loading() { 0.0 } else { clock::now() as f64 }
}

fn monotonic() -> f64 {
    if is_loading() { 0.0 } else { clock::monotonic() as f64 / 1e6 }
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

/// Notes which attempt at each event, by its `messageId`, this call is.
pub fn note_attempts(attempts: impl Iterator<Item = (String, u32)>) {
    ATTEMPTS.set(attempts.collect());
}

/// Which attempt at the event with this `messageId` this call is; none if it is not about that event.
fn attempt(message_id: Text) -> Option<u32> {
    ATTEMPTS.with_borrow(|all| all.iter().find(|(id, _)| *id == message_id.0).map(|(_, attempt)| *attempt))
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
