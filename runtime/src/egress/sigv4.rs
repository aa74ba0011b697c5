//! AWS Signature Version 4, made where the key is: the function writes the `authorization` header with a handle in the place of
//! the signature, and everything that is signed is what is sent.
//!
//! Guarantees: the host and the time are signed; a header that is named and not there, or an order that AWS would not
//! accept, is an error before anything is sent.
//!
//! Leaves to others: who may sign, and for whom (`fill`).

use http::header::{AsHeaderName, HOST};
use sha2::{Digest, Sha256};

use super::{
    echo::{percent, unreserved},
    permit::PermittedRequest,
    secrets::hmac,
};
use crate::model::Secret;

/// What such a header begins with.
pub(super) const SCHEME: &str = "AWS4-HMAC-SHA256 ";

/// The end of a credential's scope.
const TERMINATION: &str = "aws4_request";

/// The signature of a request whose `authorization` header is `header`, with `handle` where the signature goes.
pub(super) fn signature(
    request: &PermittedRequest,
    header: &str,
    handle: &str,
    secret: &Secret,
) -> Result<String, &'static str> {
    let field = |name: &str| {
        let fields = header.strip_prefix(SCHEME).unwrap_or_default().split(',').map(str::trim);
        fields.filter_map(|field| field.split_once('=')).find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    if field("Signature") != Some(handle) || header.matches(handle).count() != 1 {
        return Err("its handle must stand once, as `Signature=HANDLE`");
    }
    let scope = field("Credential").and_then(|credential| credential.split_once('/')).map(|(_, scope)| scope);
    let scope = scope.ok_or("it has no `Credential=KEY/DATE/REGION/SERVICE/aws4_request`")?;
    let [date, region, service, TERMINATION] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err("its `Credential` is not `KEY/DATE/REGION/SERVICE/aws4_request`");
    };
    let time = one(request, "x-amz-date").ok_or("it has no header `x-amz-date`")?;
    if date.len() != 8 || !time.starts_with(date) {
        return Err("the date in its `Credential` is not that of `x-amz-date`");
    }
    let names = field("SignedHeaders").ok_or("it has no `SignedHeaders`")?;
    let canonical = canonical(request, names, service)?;
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = zeroize::Zeroizing::new(format!("AWS4{}", secret.expose()).into_bytes());
    let key = [region, service, TERMINATION]
        .iter()
        .fold(hmac(&first, date.as_bytes()), |key, part| hmac(&key, part.as_bytes()));
    Ok(hex(&hmac(&key, to_sign.as_bytes())))
}

/// The request in the one form that both sides hash.
fn canonical(request: &PermittedRequest, names: &str, service: &str) -> Result<String, &'static str> {
    let list: Vec<&str> = names.split(';').collect();
    if !list.is_sorted() || !list.contains(&HOST.as_str()) || !list.contains(&"x-amz-date") {
        return Err("its `SignedHeaders` must be sorted and have `host` and `x-amz-date` among them");
    }
    let mut lines = String::new();
    for name in list {
        let values: Vec<String> = request.headers.get_all(name).iter().map(|value| plain(value.as_bytes())).collect();
        if values.is_empty() {
            return Err("a header that it names in `SignedHeaders` is not there");
        }
        lines.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    let path = request.path.path();
    // Every service but S3 encodes the path once more.
    let path = if service == "s3" { path.to_owned() } else { percent(path, |byte| unreserved(byte) || byte == b'/') };
    let query = query(request.path.query().unwrap_or_default())?;
    let body = one(request, "x-amz-content-sha256").unwrap_or_else(|| hex(&Sha256::digest(&request.body)));
    Ok(format!("{}\n{path}\n{query}\n{lines}\n{names}\n{body}", request.method))
}

/// The value without spaces around it, and with one where there were several.
fn plain(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn one(request: &PermittedRequest, name: impl AsHeaderName) -> Option<String> {
    request.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The parameters sorted by name and value, encoded as AWS does.
fn query(query: &str) -> Result<String, &'static str> {
    if query.contains('+') {
        return Err("a space in its query must be written as `%20`, and a plus as `%2B`");
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (recoded(name), recoded(value))).collect();
    pairs.sort();
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// %-encoding as AWS wants it, whichever way it was done.
fn recoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut encoded = percent(parts.next().unwrap_or_default(), unreserved);
    for part in parts {
        let code = part.get(..2).filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if unreserved(byte) => encoded.push(char::from(byte)),
            Some(byte) => encoded.push_str(&format!("%{byte:02X}")),
            None => encoded.push_str("%25"),
        }
        encoded.push_str(&percent(&part[code.map_or(0, str::len)..], unreserved));
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
