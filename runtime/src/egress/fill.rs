//! *Fill*: the handles in a permitted request become the values that they stand for.
//!
//! Guarantees: a value goes to an origin that the manifest binds it to and into a place that the manifest names, or the
//! request is refused and nothing of it is sent, not even a DNS query; a value changes nothing around it: in a path it stays
//! a path, in a query one parameter's value, in JSON a string, in a header one line. What is checked here is what is sent.
//!
//! Leaves to others: the rules of a request without secrets (`permit`), how AWS is signed for (`sigv4`), over which networks secrets travel (`gate`).

use std::net::IpAddr;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, IF_RANGE, RANGE},
    uri::PathAndQuery,
};
use serde::de::IgnoredAny;

use super::{
    OutboundRequest,
    echo::{in_path, percent, unreserved},
    grant::Grant,
    origin::{Host, MAX_URL_BYTES, Origin, Scheme},
    permit::{GZIP, LastOrigin, MAX_HEADER_BYTES, PermittedRequest, permit},
    reach::Reach,
    secrets::{Bound, Held, LENGTH, Secrets},
    sigv4,
    verdict::{Denial, Rule},
};
use crate::model::Place;

/// How many bytes a request may gain: 64 of the longest secrets, or 10,000 usual ones.
const MAX_GROWTH: usize = 1 << 20;

/// Base64 as functions make it, with padding or without.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The two parts of `Basic dXNlcjo=`.
pub(super) struct Basic<'a> {
    pub(super) scheme: &'a str,
    pub(super) encoded: &'a str,
}

impl<'a> Basic<'a> {
    pub(super) fn of(value: &'a str) -> Option<Self> {
        let (scheme, encoded) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then(|| Self { scheme, encoded: encoded.trim() })
    }
}

/// Where in a request a handle was found.
#[derive(Clone, Copy)]
struct Spot<'a> {
    origin: &'a Origin,
    place: Place,
    /// The header's or parameter's name.
    name: Option<&'a str>,
}

/// What `permit` answers, with the secrets written in.
pub(super) fn permitted(
    request: &OutboundRequest,
    rules: (&Grant, &Reach),
    last: &LastOrigin,
    secrets: &Secrets,
) -> Result<PermittedRequest, Denial> {
    if secrets.is_empty() {
        return permit(request, rules, last, secrets);
    }
    let denial = match permit(request, rules, last, secrets) {
        Ok(permitted) => return fill(permitted, secrets),
        Err(denial) => denial,
    };
    let end = before_path(&request.url);
    if let Some((_, held)) = secrets.find(&request.url.as_bytes()[..end]).next() {
        return Err(refused(format!(
            "the secret `{}` stands in the scheme, host or port of a URL, where no secret goes (a path begins with `/`): {}",
            held.name, denial.reason
        )));
    }
    let Some(name) = secrets.begins_in(&request.url, end) else { return Err(denial) };
    match denial.rule {
        // These quote what they are given by who knows the secrets.
        Rule::Url | Rule::Method | Rule::Header => Err(denial),
        // The others quote a host, in which a part of what was revealed may stand: nobody could find that later.
        rule => Err(Denial::new(
            rule,
            format!(
                "the secret `{name}` begins in the scheme, host or port of a URL that the rule `{}` refuses; the rest of the reason \
                 is not told, since it would quote a part of that secret",
                rule.as_str()
            ),
        )),
    }
}

/// Where a URL's path begins.
fn before_path(url: &str) -> usize {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    url.len() - rest.len() + authority.len()
}

fn fill(mut request: PermittedRequest, secrets: &Secrets) -> Result<PermittedRequest, Denial> {
    let mut filler = Filler { secrets, used: None, grown: 0, signing: None };
    let origin = &request.origin.clone();
    if let Some(path) = filler.path(origin, &request.path)? {
        request.path = path;
    }
    filler.headers(origin, &mut request.headers)?;
    let content_type = request.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if let Some(body) = filler.body(origin, content_type, &request.body)? {
        request.body = body.into();
    }
    if let Some(held) = secrets.bound_to(origin) {
        // What is not readable cannot be searched for the secret.
        request.headers.insert(ACCEPT_ENCODING, GZIP);
        if let Some(part) = [RANGE, IF_RANGE].iter().find(|name| request.headers.contains_key(*name)) {
            return Err(refused(format!(
                "the header `{part}` asks `{origin}` for a part of its answer, in which the secret `{}` could stand in pieces \
                 that no search finds; leave it out and read the whole answer",
                held.name
            )));
        }
    }
    if let Some(held) = filler.signing {
        sign(&mut request, held)?;
    }
    request.secret = filler.used.map(|held| held.name.clone());
    if let (Some(name), Host::Address(address)) = (&request.secret, &origin.host) {
        travels(name, origin.scheme, *address)?;
    }
    Ok(request)
}

/// Whether a request with this secret may go there. Plain `http` reaches only what the operator opened; of that, secrets
/// go to this machine itself, which is where tests and sidecars listen.
pub(super) fn travels(name: &str, scheme: Scheme, address: IpAddr) -> Result<(), Denial> {
    if scheme == Scheme::Https || address.is_loopback() {
        return Ok(());
    }
    Err(refused(format!(
        "the secret `{name}` does not travel over plain `http` to `{address}`, only to loopback addresses; use `https`"
    )))
}

struct Filler<'a> {
    secrets: &'a Secrets,
    used: Option<&'a Held>,
    grown: usize,
    /// What the request is to be signed with, once all else of it is there.
    signing: Option<&'a Held>,
}

impl<'a> Filler<'a> {
    /// The text with values for handles; nothing if it has no handle. `put` checks a place and encodes for it.
    fn text(
        &mut self,
        text: &[u8],
        mut put: impl FnMut(usize, &Held) -> Result<Option<String>, Denial>,
    ) -> Result<Option<Vec<u8>>, Denial> {
        let (mut filled, mut from) = (Vec::new(), 0);
        let secrets = self.secrets;
        for (at, held) in secrets.find(text) {
            let Some(value) = put(at, held)? else { continue };
            filled.extend_from_slice(&text[from..at]);
            filled.extend_from_slice(value.as_bytes());
            from = at + LENGTH;
            self.used = Some(held);
            self.grown += value.len().saturating_sub(LENGTH);
            if self.grown > MAX_GROWTH {
                return Err(refused(format!(
                    "with the values of its secrets the request would grow by more than {MAX_GROWTH} bytes"
                )));
            }
        }
        if from == 0 {
            return Ok(None);
        }
        filled.extend_from_slice(&text[from..]);
        Ok(Some(filled))
    }

    fn path(&mut self, origin: &Origin, whole: &PathAndQuery) -> Result<Option<PathAndQuery>, Denial> {
        if self.secrets.find(whole.as_str().as_bytes()).next().is_none() {
            return Ok(None);
        }
        let spot = Spot { origin, place: Place::Path, name: None };
        let path = self.text(whole.path().as_bytes(), |_, held| {
            spot.permits(held)?;
            path_value(held).map(Some)
        })?;
        let mut filled = path.unwrap_or_else(|| whole.path().as_bytes().to_vec());
        if let Some(query) = whole.query() {
            filled.push(b'?');
            filled.extend(self.pairs(query.as_bytes(), |name, held| {
                Spot { origin, place: Place::Query, name: Some(name) }.permits(held)?;
                one_line(held)?;
                Ok(percent(held.value.expose(), unreserved))
            })?);
        }
        let long = origin.to_string().len() + filled.len() > MAX_URL_BYTES;
        let read = PathAndQuery::try_from(filled).ok().filter(|_| !long);
        read.map(Some).ok_or_else(|| {
            let name = self.used.map_or("", |held| &held.name);
            refused(format!("with the value of the secret `{name}` the URL has more than {MAX_URL_BYTES} bytes"))
        })
    }

    /// `a=b&c=d`, where handles stand in values only.
    fn pairs(
        &mut self,
        text: &[u8],
        mut put: impl FnMut(&str, &Held) -> Result<String, Denial>,
    ) -> Result<Vec<u8>, Denial> {
        let mut filled = Vec::with_capacity(text.len());
        for (at, pair) in text.split(|byte| *byte == b'&').enumerate() {
            if at > 0 {
                filled.push(b'&');
            }
            let end = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(end.map_or(pair.len(), |end| end + 1));
            if let Some((_, held)) = self.secrets.find(name).next() {
                let name = &held.name;
                return Err(refused(format!(
                    "the secret `{name}` stands in the name of a parameter, where no secret goes"
                )));
            }
            let plain = decoded(name.strip_suffix(b"=").unwrap_or(name));
            filled.extend_from_slice(name);
            filled.extend(self.text(value, |_, held| put(&plain, held).map(Some))?.unwrap_or_else(|| value.to_vec()));
        }
        Ok(filled)
    }

    fn headers(&mut self, origin: &Origin, headers: &mut HeaderMap) -> Result<(), Denial> {
        for (name, value) in headers.iter_mut() {
            if let Some((_, held)) = self.secrets.find(name.as_str().as_bytes()).next() {
                let held = &held.name;
                return Err(refused(format!(
                    "the secret `{held}` stands in the name of a header, where no secret goes"
                )));
            }
            if name == AUTHORIZATION && value.as_bytes().starts_with(sigv4::SCHEME.as_bytes()) {
                self.signed(origin, value)?;
                continue;
            }
            let filled = match value.to_str().ok().filter(|_| name == AUTHORIZATION).and_then(Basic::of) {
                Some(basic) => self.basic(origin, &basic)?,
                None => None,
            };
            let filled = match filled {
                Some(filled) => Some(filled),
                None => self.header(origin, name, value)?,
            };
            if let Some(filled) = filled {
                // Nothing that a value could have is left: it was checked to be one line.
                *value = HeaderValue::from_bytes(&filled)
                    .map_err(|error| refused(format!("the header `{name}` cannot be sent with its secret: {error}")))?;
                value.set_sensitive(true);
            }
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if self.used.is_some() && bytes > MAX_HEADER_BYTES {
            return Err(refused(format!("with its secrets the header fields have more than {MAX_HEADER_BYTES} bytes")));
        }
        Ok(())
    }

    fn header(&mut self, origin: &Origin, name: &HeaderName, value: &HeaderValue) -> Result<Option<Vec<u8>>, Denial> {
        let bearer = value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        let place = if bearer && name == AUTHORIZATION { Place::Bearer } else { Place::Header };
        let spot = Spot { origin, place, name: Some(name.as_str()) };
        self.text(value.as_bytes(), |_, held| {
            spot.permits(held)?;
            one_line(held).map(|value| Some(value.to_owned()))
        })
    }

    /// `AWS4-HMAC-SHA256 …, Signature=HANDLE`: the handle is where the signature goes.
    fn signed(&mut self, origin: &Origin, value: &HeaderValue) -> Result<(), Denial> {
        let secrets = self.secrets;
        for (_, held) in secrets.find(value.as_bytes()) {
            Spot { origin, place: Place::SignAwsSigv4, name: None }.permits(held)?;
            (self.signing, self.used) = (Some(held), Some(held));
        }
        Ok(())
    }

    /// User and password, which the function has put into base64 with the handles in them.
    fn basic(&mut self, origin: &Origin, basic: &Basic<'_>) -> Result<Option<Vec<u8>>, Denial> {
        let Ok(plain) = BASE64.decode(basic.encoded) else { return Ok(None) };
        let colon = plain.iter().position(|byte| *byte == b':').unwrap_or(plain.len());
        let filled = self.text(&plain, |at, held| {
            let place = if at < colon { Place::BasicUser } else { Place::BasicPassword };
            Spot { origin, place, name: Some(AUTHORIZATION.as_str()) }.permits(held)?;
            let value = one_line(held)?;
            if place == Place::BasicUser && value.contains(':') {
                let name = &held.name;
                return Err(refused(format!(
                    "the secret `{name}` has a colon, which the user of basic authentication cannot have"
                )));
            }
            Ok(Some(value.to_owned()))
        })?;
        Ok(filled.map(|filled| format!("{} {}", basic.scheme, BASE64.encode(filled)).into_bytes()))
    }

    fn body(&mut self, origin: &Origin, content_type: &[u8], body: &[u8]) -> Result<Option<Vec<u8>>, Denial> {
        let Some((_, first)) = self.secrets.find(body).next() else { return Ok(None) };
        let spot = Spot { origin, place: Place::Body, name: None };
        spot.permits(first)?;
        let form = b"application/x-www-form-urlencoded";
        if content_type.get(..form.len()).is_some_and(|start| start.eq_ignore_ascii_case(form)) {
            return self
                .pairs(body, |_, held| {
                    spot.permits(held)?;
                    Ok(percent(held.value.expose(), unreserved))
                })
                .map(Some);
        }
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>();
        if values.any(|value| value.is_err()) {
            return Err(refused(format!(
                "the secret `{}` stands in a body that is neither JSON nor of the type `application/x-www-form-urlencoded`",
                first.name
            )));
        }
        self.text(body, |at, held| {
            // After an odd number of backslashes its first letter is part of an escape: that is no handle.
            if body[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
                return Ok(None);
            }
            spot.permits(held)?;
            let json = serde_json::Value::from(held.value.expose()).to_string();
            Ok(Some(json[1..json.len() - 1].to_owned()))
        })
    }
}

impl Spot<'_> {
    fn permits(&self, held: &Held) -> Result<(), Denial> {
        let in_header = matches!(self.place, Place::Header | Place::Bearer | Place::BasicUser | Place::BasicPassword);
        let fits = |bind: &&Bound| match bind.place {
            // A whole `authorization` header that is bound is bound whatever its scheme.
            Place::Header => in_header && bind.name.as_deref() == self.name,
            Place::Query => self.place == Place::Query && bind.name.as_deref() == self.name,
            place => place == self.place,
        };
        let open: Vec<&Bound> = held.binds.iter().filter(|bind| bind.opens(self.origin)).collect();
        let name = &held.name;
        if open.is_empty() {
            let why = match &held.binds[..] {
                [] => format!(
                    "the manifest binds it nowhere; write `bind = [{{ origin = \"{}\", place = \"{}\" }}]` below `[settings.{name}]`",
                    self.origin,
                    self.place.as_str()
                ),
                binds => {
                    let mut entries: Vec<_> = binds.iter().map(|bind| &*bind.entry).collect();
                    entries.dedup();
                    format!("the manifest binds it to `{}`", entries.join("`, `"))
                }
            };
            return Err(refused(format!("the secret `{name}` may not go to `{}`: {why}", self.origin)));
        }
        if open.iter().any(fits) {
            return Ok(());
        }
        let places: Vec<_> = open.iter().map(|bind| said(bind.place, bind.name.as_deref())).collect();
        Err(refused(format!(
            "the secret `{name}` may not stand in {} of a request to `{}`: the manifest binds it to {}",
            said(self.place, self.name),
            self.origin,
            places.join(", ")
        )))
    }
}

/// Puts the signature in the place of the handle.
fn sign(request: &mut PermittedRequest, held: &Held) -> Result<(), Denial> {
    let unfit = |why: &str| refused(format!("the secret `{}` cannot sign this request for AWS: {why}", held.name));
    let Some(value) = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Err(unfit("its `authorization` is no text"));
    };
    let signature = sigv4::signature(request, value, &held.handle, &held.value).map_err(unfit)?;
    let signed = HeaderValue::try_from(value.replace(&*held.handle, &signature));
    let signed = signed.map_err(|_| unfit("its `authorization` is no text"))?;
    request.headers.insert(AUTHORIZATION, signed);
    Ok(())
}

/// A place for people.
fn said(place: Place, name: Option<&str>) -> String {
    match (place, name) {
        (Place::Header, Some(name)) => format!("the header `{name}`"),
        (Place::Query, Some(name)) => format!("the query parameter `{name}`"),
        (Place::Header, None) => "a header".to_owned(),
        (Place::Query, None) => "the query".to_owned(),
        (Place::Bearer, _) => "the bearer token".to_owned(),
        (Place::BasicUser, _) => "the user of basic authentication".to_owned(),
        (Place::BasicPassword, _) => "the password of basic authentication".to_owned(),
        (Place::Path, _) => "the path".to_owned(),
        (Place::Body, _) => "the body".to_owned(),
        (Place::SignHmacSha256, _) => "`sign-hmac-sha256`, which is no place in a request".to_owned(),
        (Place::SignAwsSigv4, _) => "the signature for AWS".to_owned(),
    }
}

fn refused(reason: String) -> Denial {
    Denial::new(Rule::Secret, reason)
}

/// The value for a place where a line's end would begin something else.
fn one_line(held: &Held) -> Result<&str, Denial> {
    let value = held.value.expose();
    if value.chars().any(char::is_control) {
        let name = &held.name;
        return Err(refused(format!(
            "the secret `{name}` has a control character such as CR, LF or NUL, and can stand in a body only"
        )));
    }
    Ok(value)
}

/// The value as a part of a path: several segments stay several, what is %-encoded stays so, a query does not begin.
fn path_value(held: &Held) -> Result<String, Denial> {
    let value = one_line(held)?;
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if value.split('/').any(dots) {
        return Err(refused(format!("the secret `{}` has a segment `.` or `..`, which a path cannot have", held.name)));
    }
    let mut encoded = String::with_capacity(value.len() + 8);
    for (at, part) in value.split('%').enumerate() {
        let digits = |part: &str| part.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if at > 0 {
            encoded.push_str(if digits(part) { "%" } else { "%25" });
        }
        encoded.push_str(&percent(part, in_path));
    }
    Ok(encoded)
}

/// The name of a parameter, as the server reads it.
fn decoded(name: &[u8]) -> String {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let hex = digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(code)) => {
                plain.push(code);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests;
