//! `fetch` for what nearly every request is: an address, plain headers and a text.
//!
//! Guarantees: what this takes becomes the request that the prelude's `Request` and `Headers` would have made of it, byte
//! for byte; what they would change, refuse or warn of is left to them.

use rquickjs::atom::PredefinedAtom;
use rquickjs::object::Filter;
use rquickjs::{Ctx, FromJs, Object, Persistent, Promise, Result, Value};
use tidegate_sdk::bindings::tidegate::destination::http;
use url::Url;

use crate::engine::is_loading;
use crate::requests::{self, Then};
use crate::text::Text;

/// `fetch(url, method, headers, body)`: a promise, or `undefined` where this is not for it.
pub fn fetch<'js>(
    context: Ctx<'js>,
    url: Text,
    method: Value<'js>,
    headers: Value<'js>,
    body: Option<Text>,
) -> Result<Option<Promise<'js>>> {
    if is_loading() {
        return Ok(None);
    }
    let (Some(url), Some(method)) = (address(url.0), method_of(&context, method)?) else { return Ok(None) };
    if body.is_some() && matches!(&*method, "GET" | "HEAD") {
        return Ok(None);
    }
    let Some(mut headers) = fields(&context, &headers)? else { return Ok(None) };
    let has = |headers: &Fields, wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if body.is_some() && !has(&headers, "content-type") {
        headers.push(("Content-Type".to_owned(), "text/plain;charset=UTF-8".to_owned()));
    }
    if !has(&headers, "accept") {
        headers.push(("Accept".to_owned(), "*/*".to_owned()));
    }
    let body = body.map(|text| text.0.into_bytes()).unwrap_or_default();
    let (promise, resolve, reject) = Promise::new(&context)?;
    let then = Then::Settle(Persistent::save(&context, resolve), Persistent::save(&context, reject));
    requests::make(http::Request { method, url, headers, body }, then);
    Ok(Some(promise))
}

/// The address as it is sent: without a fragment; not if it has a user, which becomes a header.
fn address(text: String) -> Option<String> {
    if is_as_sent(&text) {
        return Some(text);
    }
    let mut url = Url::parse(&text).ok()?;
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_fragment(None);
    Some(url.into())
}

/// Whether the parser would change nothing: a plain name, a path of plain characters, nothing else. Most addresses are
/// such, and to see that takes a tenth of what parsing does.
fn is_as_sent(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    // A last label that begins with a digit may be an address of numbers, and `xn--` begins a name of other letters.
    let plain_host = host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        && host.split('.').all(|label| !label.is_empty() && !label.starts_with("xn--"))
        && host.split('.').next_back().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_lowercase()));
    plain_host
        && path.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/'))
        && path.split('/').all(|segment| !matches!(segment, "." | ".."))
}

/// The method in capitals, which is `GET` where there is none.
fn method_of<'js>(context: &Ctx<'js>, method: Value<'js>) -> Result<Option<String>> {
    if method.is_undefined() || method.is_null() {
        return Ok(Some("GET".to_owned()));
    }
    if !method.is_string() {
        return Ok(None);
    }
    let method = Text::from_js(context, method)?.0;
    Ok((method.is_ascii() && !method.is_empty()).then(|| method.to_ascii_uppercase()))
}

type Fields = Vec<(String, String)>;

/// The fields of a plain object, those of one name beside each other, as the first of them writes it.
fn fields<'js>(context: &Ctx<'js>, headers: &Value<'js>) -> Result<Option<Fields>> {
    if headers.is_undefined() || headers.is_null() {
        return Ok(Some(Vec::new()));
    }
    let Some(object) = headers.as_object().filter(|object| !object.is_function()) else { return Ok(None) };
    if is_iterable(object)? {
        return Ok(None);
    }
    let mut fields = Fields::new();
    for field in object.own_props::<String, Value>(Filter::new().string().enum_only()) {
        let (name, value) = field?;
        // To make text of an object may run code, which must not run twice.
        if value.is_object() || value.is_symbol() {
            return Ok(None);
        }
        let value = Text::from_js(context, value)?.0;
        if !is_token(&name) || !is_value(&value) {
            return Ok(None);
        }
        match fields.iter().rposition(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some(at) => fields.insert(at + 1, (fields[at].0.clone(), value)),
            None => fields.push((name, value)),
        }
    }
    Ok(Some(fields))
}

fn is_iterable(object: &Object<'_>) -> Result<bool> {
    let iterator: Value = object.get(PredefinedAtom::SymbolIterator)?;
    Ok(!iterator.is_undefined() && !iterator.is_null())
}

fn is_token(name: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(of_token)
}

/// Whether every character is a tab or a visible one of Latin-1.
fn is_value(value: &str) -> bool {
    value.chars().all(|character| matches!(character, '\t' | ' '..='~' | '\u{80}'..='\u{ff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_parsed_is_as_the_parser_would_leave_it() {
        let plain = [
            "https://a.example/",
            "http://hooks.slack.com/services/T0/B0/x-_.y",
            "https://a/b//c",
            "https://4.a/.b/..c",
        ];
        for text in plain {
            assert!(is_as_sent(text) && Url::parse(text).unwrap().as_str() == text, "{text}");
        }
        let parsed = [
            "https://a.example",
            "https://A.example/",
            "https://1.2.3.4/",
            "https://0x7f/",
            "https://a.example:443/",
            "https://a.b./",
            "https://xn--4/",
            "https://u@a.example/",
            "https://a.example/a/../b",
            "https://a.example/./b",
            "https://a.example/%2e",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://a.example/ ",
            " https://a.example/",
            "https:///",
            "ftp://a/",
            "",
        ];
        for text in parsed {
            assert!(!is_as_sent(text), "{text}");
        }
        assert_eq!(address("https://A.example#f".to_owned()).as_deref(), Some("https://a.example/"));
        assert_eq!(address("https://u:p@a.example/".to_owned()), None);
        assert_eq!(address("ftp://a.example/".to_owned()), None);
    }
}
