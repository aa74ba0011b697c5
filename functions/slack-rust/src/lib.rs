//! Posts customer events to a Slack channel, through an incoming webhook.

use tidegate_sdk::{Destination, Error, Event, Result, Value, export, http::Request, json};

#[derive(serde::Deserialize)]
struct Settings {
    webhook_path: String,
    base_url: String,
}

struct Slack;

impl Destination for Slack {
    type Settings = Settings;

    fn track(event: &Event, settings: &Settings) -> Result {
        let name = event.name.as_deref().unwrap_or("something");
        post(settings, format!("*{}* did *{}*{}", user(event), escape(name), details(event.get("/properties"))))
    }

    fn identify(event: &Event, settings: &Settings) -> Result {
        post(settings, format!("*{}* was identified{}", user(event), details(event.get("/traits"))))
    }

    fn page(event: &Event, settings: &Settings) -> Result {
        let name = event.name.as_deref().or(event.get("/properties/url").as_str()).unwrap_or("a page");
        post(settings, format!("*{}* viewed the page *{}*", user(event), escape(name)))
    }

    fn screen(event: &Event, settings: &Settings) -> Result {
        let name = event.name.as_deref().unwrap_or("a screen");
        post(settings, format!("*{}* viewed the screen *{}*", user(event), escape(name)))
    }

    fn group(event: &Event, settings: &Settings) -> Result {
        let group = event.get("/traits/name").as_str().or(event.get("/groupId").as_str()).unwrap_or("a group");
        post(settings, format!("*{}* joined *{}*", user(event), escape(group)))
    }

    fn alias(event: &Event, settings: &Settings) -> Result {
        let previous = event.get("/previousId").as_str().unwrap_or("somebody");
        post(settings, format!("*{}* is the same as *{}*", user(event), escape(previous)))
    }
}

export!(Slack);

/// Slack knows a webhook by its path alone: one that is unknown or revoked is the customer's to repair.
fn post(settings: &Settings, text: String) -> Result {
    let url = format!("{}{}", settings.base_url.trim_end_matches('/'), settings.webhook_path);
    let response = Request::post(url).json(&json!({ "text": text })).send()?;
    match response.status {
        403 | 404 | 410 => Err(Error::InvalidSettings(format!("`webhook_path` is refused: {}", response.summary()))),
        _ => response.success().map(drop),
    }
}

fn user(event: &Event) -> String {
    escape(event.who())
}

/// Top-level values in one line, sorted by their names so that lines of one event are easy to compare.
fn details(values: &Value) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = values.as_object().into_iter().flatten().filter(|(_, value)| !value.is_object() && !value.is_array());
    let list: Vec<_> = pairs.map(|(key, value)| format!("{}: {}", escape(key), escape(&shown(value)))).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) }
}

/// Slack reads `<!channel>` and links inside these three characters; customers' data must not ring everybody.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
