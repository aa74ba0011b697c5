//! Posts every customer event as it is to a URL: an HTTP subscription.

use tidegate_sdk::{
    Destination, Error, Event, Result, Value, export,
    http::{self, Request, Response},
};

#[derive(serde::Deserialize)]
struct Settings {
    url: String,
    api_key: Option<String>,
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
    let request = Request::post(&settings.url)
        .header("content-type", "application/json")
        .header("cache-control", "no-cache")
        .header("accept", "*/*")
        .body(event.json.as_str());
    match settings.api_key.as_deref() {
        None | Some("") => request,
        Some(key) => request.basic_auth(key, ""),
    }
}

/// The subscription's statuses: 200 and 202 took it, 400 does not want it, 401 and 403 do not know the key, 501 does
/// nothing with this type, 500 and 503 are for later. A JSON body's `message` is for the customer.
fn understand(response: Response) -> Result {
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
