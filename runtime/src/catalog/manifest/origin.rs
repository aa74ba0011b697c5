//! The form of an entry of `egress.allow`. Only its form: what it permits is decided by the gate.

/// The settings that an entry mentions.
///
/// An entry is `{settings.NAME}` (a whole origin), or a scheme, a host and perhaps a port, where the first label of
/// the host may be `*` and any label may be `{settings.NAME}`.
///
/// # Errors
/// Why it has not this form, and what would have.
pub(super) fn variables(entry: &str) -> Result<Vec<&str>, String> {
    if let Some(name) = variable(entry) {
        return Ok(vec![name]);
    }
    let Some((scheme, rest)) = entry.split_once("://") else {
        return Err("an origin begins with `https://`, as in `https://api.example.com`".to_owned());
    };
    if !matches!(scheme, "https" | "http") {
        return Err(format!("`{scheme}` is not a scheme that the gate speaks; use `https`"));
    }
    if let Some(extra) = rest.find(['/', '?', '#', '@']) {
        return Err(format!("an origin ends with the host or port; leave `{}` out", &rest[extra..]));
    }
    if rest.starts_with('[') {
        return match rest.rsplit_once(']') {
            Some((_, port)) if port.is_empty() || is_port(port.strip_prefix(':').unwrap_or_default()) => Ok(vec![]),
            _ => Err("an IPv6 address stands in brackets, with a port behind them at most".to_owned()),
        };
    }
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    if let Some(port) = port.filter(|port| !is_port(port)) {
        return Err(format!("`{port}` is not a port; use 1 to 65535"));
    }
    labels(host)
}

fn labels(host: &str) -> Result<Vec<&str>, String> {
    // A variable has a dot of its own.
    let mut inside = false;
    let separates = |character: char| {
        inside = character == '{' || inside && character != '}';
        character == '.' && !inside
    };
    let labels: Vec<&str> = host.split(separates).collect();
    if labels.len() < 2 {
        return Err("a host has a dot in it, as in `api.example.com`".to_owned());
    }
    if labels[0] == "*" && labels.len() < 3 {
        return Err("`*` stands for one name below a domain, as in `*.example.com`".to_owned());
    }
    let mut variables = Vec::new();
    for (at, label) in labels.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if let Some(name) = variable(label) {
            variables.push(name);
        } else if !(at == 0 && *label == "*" || (1..=63).contains(&label.len()) && label.bytes().all(plain)) {
            return Err(format!(
                "`{label}` is not a part of a host name: use lower-case letters, digits and hyphens, \
                 `*` as the first part, or `{{settings.NAME}}`"
            ));
        }
    }
    // The registrable part stays the partner's own word: a customer chooses a label below it, not another domain.
    if labels[labels.len() - 2..].iter().any(|label| variable(label).is_some()) {
        return Err("the last two parts of a host are fixed; a setting chooses what stands before them".to_owned());
    }
    Ok(variables)
}

fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("{settings.")?.strip_suffix('}').filter(|name| !name.contains(['{', '}', '.']))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_its_settings() {
        let cases: [(&str, &[&str]); 8] = [
            ("https://hooks.slack.com", &[]),
            ("https://*.zendesk.com", &[]),
            ("https://{settings.region}.api.example.com", &["region"]),
            ("https://{settings.a}.{settings.b}.example.com:8443", &["a", "b"]),
            ("{settings.url}", &["url"]),
            ("http://127.0.0.1:9000", &[]),
            ("https://[2001:db8::1]:8443", &[]),
            ("https://xn--bcher-kva.example", &[]),
        ];
        for (entry, expected) in cases {
            assert_eq!(variables(entry).unwrap(), expected, "{entry}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for entry in [
            "",
            "hooks.slack.com",
            "https://",
            "https://localhost",
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "https://a.example.com/path",
            "https://user@example.com",
            "https://example.com:0",
            "https://example.com:65616",
            "https://Example.com",
            "https://a..example.com",
            "https://{settings.host}",
            "https://{settings.domain}.com",
            "https://x{settings.a}.example.com",
            "{settings.a}.example.com",
            "{settings.a.b}",
            "https://[::1",
            "https://exa\u{0}mple.com",
        ] {
            assert!(variables(entry).is_err(), "{entry}");
        }
    }
}
