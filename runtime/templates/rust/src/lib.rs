//! Sends events to the API of Example. What each error means to the host is in README.md.

use tidegate_sdk::{Destination, Event, Result, Settings, Value, export, http::Request, json};

/// What a customer fills in. `tidegate function build` writes it into the manifest.
#[derive(serde::Deserialize, Settings)]
struct Settings {
    /// From the page "API" of your account
    #[setting(label = "API key", secret, bind(origin = "https://api.example.com", place = "bearer"))]
    api_key: String,
}

struct Function;

impl Destination for Function {
    type Settings = Settings;

    fn track(event: &Event, settings: &Settings) -> Result {
        send(event, settings, event.name.as_deref().unwrap_or("track"), event.get("/properties"))
    }

    fn identify(event: &Event, settings: &Settings) -> Result {
        send(event, settings, "identify", event.get("/traits"))
    }
}

export!(Function);

fn send(event: &Event, settings: &Settings, name: &str, properties: &Value) -> Result {
    Request::post("https://api.example.com/events")
        .bearer(&settings.api_key)
        // An event may come again, with the same id: the API drops what it already has.
        .idempotency_key(event, name)
        .json(&json!({"id": event.message_id, "user": event.who(), "name": name, "properties": properties}))
        .send()?
        .success()?;
    Ok(())
}
