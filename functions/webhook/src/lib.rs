//! Posts every customer event as it is to a URL: an HTTP subscription.

use std::collections::BTreeMap;

use tidegate_sdk::{
    Destination, Error, Event, Result, Settings, Value, encode, export,
    http::{self, Request, Response},
    json,
};

#[derive(serde::Deserialize, Settings)]
struct Settings {
    /// Where each event is posted, such as https://example.com/events
    #[setting(label = "URL")]
    url: String,
    /// Sent as the user of basic authentication, with an empty password
    #[setting(label = "API key", secret, bind(origin = "{settings.url}", place = "basic-user"))]
    api_key: Option<String>,
    /// Sent with each event in the header `x-segment-settings`, as JSON in base64
    #[serde(default)]
    #[setting(label = "Settings for the server")]
    server_settings: BTreeMap<String, String>,
}

struct Webhook;

impl Destination for Webhook {
    type Settings = Settings;

    fn event(event: &Event, settings: &Settings) -> Result {
        understand(request(event, settings).send()?)
    }

    fn batch(events: &[Event], settings: &Settings) -> Vec<Result> {
        let responses = http::send_all(events.iter().map(|event| request(event, settings)));
        responses.into_iter().map(|response| understand(response?)).collect()
    }
}

export!(Webhook);

fn request(event: &Event, settings: &Settings) -> Request {
    let mut request = Request::post(&settings.url)
        .header("content-type", "application/json")
        .header("cache-control", "no-cache")
        .header("accept", "*/*")
        .body(event.json.as_str());
    if !settings.server_settings.is_empty() {
        let told = json!(settings.server_settings).to_string();
        request = request.header("x-segment-settings", encode::base64(told.as_bytes()));
    }
    match settings.api_key.as_deref() {
        None | Some("") => request,
        Some(key) => request.basic_auth(key, ""),
    }
}

/// The subscription's statuses: 200 and 202 took it, 400 does not want it, 401 and 403 do not know the key, 501 does
/// nothing with this type, 500 and 503 are for later. A JSON body's `message` is for the customer.
fn understand(response: Response) -> Result {
    if (200..300).contains(&response.status) {
        return Ok(());
    }
    let message = match response.json::<Value>().ok().as_ref().and_then(|body| body["message"].as_str()) {
        Some(message) => format!("HTTP {}: {message}", response.status),
        None => response.summary(),
    };
    response.success().map(drop).map_err(|error| match error {
        Error::Rejected(_) => Error::Rejected(message),
        Error::InvalidSettings(_) => Error::InvalidSettings(message),
        Error::Retry { after, .. } => Error::Retry { message, after },
        other => other,
    })
}
