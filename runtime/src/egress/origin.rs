//! The first look at a guest's URL: the only parser of addresses in the gate.
//!
//! Guarantees: a [`Target`] is made once from text and never turned back into text to be parsed again. The host and
//! port in it are what the policy judges, what is dialled, what the `host` header says and what TLS is asked for.
//! Whatever two parsers could read differently is refused: user names, backslashes, empty ports, leading zeros,
//! numbers that only some readers take for IPv4, names in Unicode.
//!
//! Leaves to others: whether the origin may be reached (`policy`, `reach`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use http::uri::PathAndQuery;
use thiserror::Error;

/// Bytes of a URL. Twice what common servers take as a request line.
pub const MAX_URL_BYTES: usize = 8 << 10;
/// Bytes of a host name (RFC 1035, without the root's dot).
const MAX_NAME_BYTES: usize = 253;
/// Bytes of one label of a host name (RFC 1035).
const MAX_LABEL_BYTES: usize = 63;

/// Names whose meaning depends on where they are asked (RFC 6761, 6762, 7686, 8375, 9476, ICANN's `internal`, and
/// what routers use). `test` and `example` are not here: they mean nothing anywhere, and the addresses are judged.
const LOCAL_NAMES: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "arpa",
    "onion",
    "alt",
    "invalid",
];

/// How a request travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Whom a request is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// A name of two labels or more: lower-case ASCII, without the root's dot.
    Name(Arc<str>),
    /// An address, written in its canonical form.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Scheme, host and port: what a policy speaks about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    /// How.
    pub scheme: Scheme,
    /// Whom.
    pub host: Host,
    /// 1 to 65535.
    pub port: u16,
}

impl Origin {
    /// Reads an origin: a URL with no path but `/`, no query and no fragment.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let (scheme, authority, rest) = split(text)?;
        if !matches!(rest, "" | "/") {
            return Err(malformed(text, format!("an origin ends after its host and port, so leave out `{rest}`")));
        }
        authority_of(text, scheme, authority)
    }

    /// The `host` header: the port is named where it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// A whole URL, read once.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whom it is for.
    pub origin: Origin,
    /// What is asked for there, exactly as the guest wrote it.
    pub path: PathAndQuery,
}

impl Target {
    /// Reads a URL. A fragment is dropped: it is never sent.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        Self::parse_with(text, |_| None)
    }

    /// The same. `known` may know the origin by how it is written, since it was read before.
    pub fn parse_with(text: &str, known: impl FnOnce(&str) -> Option<Origin>) -> Result<Self, BadUrl> {
        let (scheme, authority, rest) = split(text)?;
        let origin = match known(&text[..text.len() - rest.len()]) {
            Some(origin) => origin,
            None => authority_of(text, scheme, authority)?,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let path = match rest.as_bytes().first() {
            None => PathAndQuery::from_static("/"),
            Some(b'/') => path_of(text, rest)?,
            Some(_) => path_of(text, &format!("/{rest}"))?,
        };
        Ok(Self { origin, path })
    }
}

/// Why a text is not a URL that the gate takes.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadUrl {
    /// It is not written as the gate needs it.
    #[error("the URL `{}` is not usable: {reason}", shown(url))]
    Malformed {
        /// What was given. It is cut where it is shown: who knows secrets takes them out first.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It names a host that no grant can open.
    #[error("the host `{host}` is not reachable: {reason}")]
    Host {
        /// The host.
        host: String,
        /// Why not.
        reason: String,
    },
}

fn malformed(url: &str, reason: impl Into<String>) -> BadUrl {
    BadUrl::Malformed { url: url.into(), reason: reason.into() }
}

/// Characters of a URL that are shown: enough to recognise it by, few enough for one line of a log.
pub(super) const SHOWN: usize = 200;

fn shown(url: &str) -> String {
    let mut shown: String = url.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if url.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Scheme, authority and the rest of a URL whose bytes are all harmless.
fn split(text: &str) -> Result<(Scheme, &str, &str), BadUrl> {
    if text.len() > MAX_URL_BYTES {
        return Err(malformed(text, format!("it has {} bytes; {MAX_URL_BYTES} is the most", text.len())));
    }
    // A backslash is a slash to some readers; what is not visible ASCII is stripped or encoded by some.
    if let Some(byte) = text.bytes().find(|byte| !byte.is_ascii_graphic() || *byte == b'\\') {
        let byte = char::from(byte).escape_default();
        return Err(malformed(
            text,
            format!("the byte `{byte}` must be written as %-encoding, or in Punycode in a host"),
        ));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| malformed(text, "it must begin with `https://`"))?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ => return Err(malformed(text, "its scheme must be `https`")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Ok((scheme, authority, rest))
}

fn authority_of(text: &str, scheme: Scheme, authority: &str) -> Result<Origin, BadUrl> {
    if authority.contains('@') {
        return Err(malformed(
            text,
            "a user name or password before the host is not taken; use an `authorization` header",
        ));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, after) =
                inner.split_once(']').ok_or_else(|| malformed(text, "the `[` of its host has no `]`"))?;
            let host = ipv6(address)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(malformed(text, "only a port may follow the `]` of its host")),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (name_or_ipv4(host)?, Some(port)),
            None => (name_or_ipv4(authority)?, None),
        },
    };
    let port = port.map_or(Some(scheme.default_port()), canonical_port);
    let port =
        port.ok_or_else(|| malformed(text, "its port must be a number from 1 to 65535 without leading zeros"))?;
    Ok(Origin { scheme, host, port })
}

fn canonical_port(text: &str) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}

fn ipv6(text: &str) -> Result<Host, BadUrl> {
    let lower = text.to_ascii_lowercase();
    match lower.parse::<Ipv6Addr>() {
        Ok(address) if address.to_string() == lower => Ok(Host::Address(IpAddr::V6(address))),
        Ok(address) => Err(refused(text, format!("write the address as `{address}`"))),
        Err(_) => Err(refused(text, "it is not an IPv6 address")),
    }
}

fn name_or_ipv4(text: &str) -> Result<Host, BadUrl> {
    let mut name = text.to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    check_name(&name).map_err(|reason| refused(text, reason))?;
    // Whatever ends in a number is an address to some readers (`0251.0376.0251.0376`, `2130706433`, `0x7f.1`).
    let last = name.rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        return match name.parse::<Ipv4Addr>() {
            // With the root's dot it is an address to some readers and a name to others.
            Ok(address) if address.to_string() == text => Ok(Host::Address(IpAddr::V4(address))),
            _ => Err(refused(text, "a host that ends in a number must be an IPv4 address of four plain decimal parts")),
        };
    }
    if last.len() == name.len() {
        return Err(refused(
            text,
            "a host name needs two labels or more; single labels mean something else on every network",
        ));
    }
    if LOCAL_NAMES.contains(&last) {
        return Err(refused(text, format!("names that end in `.{last}` are local to a network")));
    }
    Ok(Host::Name(name.into()))
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".into());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("it has {} bytes; {MAX_NAME_BYTES} is the most", name.len()));
    }
    name.split('.').try_for_each(check_label)
}

/// Checks one label of a host name: lower-case letters, digits and inner hyphens.
pub(super) fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("it has an empty label".into());
    }
    if label.len() > MAX_LABEL_BYTES {
        return Err(format!("its label `{label}` has {} bytes; {MAX_LABEL_BYTES} is the most", label.len()));
    }
    if !label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(format!("`{label}` is not made of ASCII letters, digits and hyphens"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(format!("its label `{label}` begins or ends with a hyphen"));
    }
    Ok(())
}

fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
        || label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn refused(host: &str, reason: impl Into<String>) -> BadUrl {
    BadUrl::Host { host: host.into(), reason: reason.into() }
}

fn path_of(url: &str, path: &str) -> Result<PathAndQuery, BadUrl> {
    PathAndQuery::try_from(path).map_err(|error| malformed(url, format!("its path or query: {error}")))
}

#[cfg(test)]
mod tests;
