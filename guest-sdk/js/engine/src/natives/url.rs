//! URLs as the Web's standard reads them.

use rquickjs::{Ctx, Object, Result};
use url::Url;
use url::quirks;

use crate::text::Text;

/// `parseUrl(url, base)`: its parts, or `undefined`.
pub fn parse<'js>(context: Ctx<'js>, url: Text, base: Option<Text>) -> Result<Option<Object<'js>>> {
    let base = match base.map(|base| Url::parse(&base.0)) {
        None => None,
        Some(Ok(base)) => Some(base),
        Some(Err(_)) => return Ok(None),
    };
    match Url::options().base_url(base.as_ref()).parse(&url.0) {
        Ok(url) => parts(&context, &url).map(Some),
        Err(_) => Ok(None),
    }
}

/// `setUrl(href, part, value)`: the parts with one of them changed; the same parts where the value does not fit.
pub fn set<'js>(context: Ctx<'js>, href: Text, part: Text, value: Text) -> Result<Option<Object<'js>>> {
    let Ok(mut url) = Url::parse(&href.0) else { return Ok(None) };
    let value = &*value.0;
    // What does not fit leaves the URL as it is: that is the standard, except for `href`, which its caller checks.
    let _ = match &*part.0 {
        "href" => quirks::set_href(&mut url, value).map_err(drop),
        "protocol" => quirks::set_protocol(&mut url, value),
        "username" => quirks::set_username(&mut url, value),
        "password" => quirks::set_password(&mut url, value),
        "host" => quirks::set_host(&mut url, value),
        "hostname" => quirks::set_hostname(&mut url, value),
        "port" => quirks::set_port(&mut url, value),
        "pathname" => {
            quirks::set_pathname(&mut url, value);
            Ok(())
        }
        "search" => {
            quirks::set_search(&mut url, value);
            Ok(())
        }
        "hash" => {
            quirks::set_hash(&mut url, value);
            Ok(())
        }
        _ => Err(()),
    };
    parts(&context, &url).map(Some)
}

fn parts<'js>(context: &Ctx<'js>, url: &Url) -> Result<Object<'js>> {
    let parts = Object::new(context.clone())?;
    for (name, value) in [
        ("href", quirks::href(url)),
        ("protocol", quirks::protocol(url)),
        ("username", quirks::username(url)),
        ("password", quirks::password(url)),
        ("host", quirks::host(url)),
        ("hostname", quirks::hostname(url)),
        ("port", quirks::port(url)),
        ("pathname", quirks::pathname(url)),
        ("search", quirks::search(url)),
        ("hash", quirks::hash(url)),
        ("origin", &quirks::origin(url)),
    ] {
        parts.set(name, value)?;
    }
    Ok(parts)
}
