//! `tidegate event`: send events as a client would.

use std::path::PathBuf;

use serde_json::Value;

use super::client::Client;
use super::destination::{named, text};
use super::print::{self, Format};
use super::target::Target;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Send one event, or a JSON array of events, to the tracking API.
    Send {
        /// The source's write key.
        #[arg(long, env = "TIDEGATE_WRITE_KEY", value_name = "KEY")]
        write_key: String,
        /// A file with the event, a JSON object with a `type`; `-` reads standard input.
        file: PathBuf,
        /// The host's tracking API.
        #[arg(long, env = "TIDEGATE_TRACKING", default_value = "http://127.0.0.1:8080", value_name = "URL")]
        to: String,
        /// A PEM file with the authority that vouches for the host's certificate, beside the system's.
        #[arg(long, env = "TIDEGATE_CA", value_name = "FILE")]
        ca: Option<PathBuf>,
    },
}

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let Command::Send { write_key, file, to, ca } = command;
    let given: Value = serde_json::from_str(&text(&file)?)
        .map_err(|error| anyhow::anyhow!("{} is not JSON: {error}", named(&file)))?;
    let events = match given {
        Value::Array(events) => events,
        event @ Value::Object(_) => vec![event],
        other => {
            anyhow::bail!("{} must hold an event (a JSON object) or an array of events, not {other}", named(&file))
        }
    };
    let client = Client::to(Target { ca, flag: "--to", ..Target::plain(to, None) })?;
    let body = serde_json::json!({ "writeKey": write_key, "batch": events });
    print::one(format, &client.post("/v1/batch", &body).await?);
    Ok(0)
}
