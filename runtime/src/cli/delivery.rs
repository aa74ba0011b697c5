//! `tidegate delivery`: what is owed to destinations, and what became of it.

use serde_json::Value;

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List deliveries, the newest first.
    List(Box<ListArgs>),
    /// Show one delivery with its event, why it is dead if it is, and its last attempt.
    Show {
        /// Its id, `dlv_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show every attempt that was kept: requests, answers, log.
    Attempts {
        /// The delivery's id, `dlv_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Try a dead delivery again; `tidegate replay` does so with many.
    Retry {
        /// Its id, `dlv_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(clap::Args)]
pub(super) struct ListArgs {
    /// Only those of this destination.
    #[arg(long)]
    destination: Option<String>,
    /// Only those of events from this source.
    #[arg(long)]
    source: Option<String>,
    /// Only those of this connection.
    #[arg(long)]
    connection: Option<String>,
    /// Only those in this state.
    #[arg(long, value_parser = ["pending", "delivered", "filtered", "dead"])]
    state: Option<String>,
    /// Only those accepted then or later, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only those accepted before then.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only those whose last recorded attempt ended so, such as gateway_timeout.
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// Only those of events of this name: `event` of a track, `name` of a page or screen.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only those of events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    server: ServerArgs,
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("state", "/state"),
    ("attempts", "/attempts"),
    ("type", "/event_type"),
    ("message id", "/message_id"),
    ("outcome", "/why"),
    ("next attempt", "/next_due"),
];

/// Dead letters: what to do about them is in their cause.
const DEAD: &[(&str, &str)] = &[
    ("id", "/id"),
    ("died", "/dead/at"),
    ("attempts", "/attempts"),
    ("type", "/event_type"),
    ("event", "/event_name"),
    ("message id", "/message_id"),
    ("cause", "/dead/cause"),
];

const ATTEMPTS: &[(&str, &str)] = &[
    ("attempt", "/number"),
    ("started", "/started_at"),
    ("ms", "/wall_ms"),
    ("outcome", "/outcome/code"),
    ("message", "/outcome/message"),
];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::List(args) => list(*args, format).await?,
        Command::Show { id, server } => {
            print::one(format, &Client::new(server)?.get(&format!("/api/v1/deliveries/{}", encode(&id))).await?);
        }
        Command::Attempts { id, server } => {
            let path = format!("/api/v1/deliveries/{}/attempts", encode(&id));
            page(format, &Client::new(server)?.get(&path).await?, ATTEMPTS);
        }
        Command::Retry { id, server } => {
            let path = format!("/api/v1/deliveries/{}/retry", encode(&id));
            print::one(format, &Client::new(server)?.post(&path, &serde_json::json!({})).await?);
        }
    }
    Ok(0)
}

async fn list(args: ListArgs, format: Format) -> anyhow::Result<()> {
    let columns = if args.state.as_deref() == Some("dead") { DEAD } else { COLUMNS };
    let filters = [
        ("destination", args.destination),
        ("source", args.source),
        ("connection", args.connection),
        ("state", args.state),
        ("from", args.from),
        ("to", args.to),
        ("outcome", args.outcome),
        ("event", args.event),
        ("type", args.event_type),
    ];
    let mut query = args.page.query();
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encode(&value)));
        }
    }
    let mut answer = Client::new(args.server)?.get(&format!("/api/v1/deliveries{query}")).await?;
    if format == Format::Table {
        answer["items"].as_array_mut().into_iter().flatten().for_each(|delivery| delivery["why"] = why(delivery));
    }
    page(format, &answer, columns);
    Ok(())
}

/// How a delivery stands in a word: how its last attempt ended, or why it was filtered, which mostly takes no attempt.
fn why(delivery: &Value) -> Value {
    let filtered = delivery["filter_reason"].as_str().map(|reason| format!("filtered: {reason}"));
    filtered.map_or_else(|| delivery["last_outcome"]["code"].clone(), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_how_the_last_attempt_ended_or_why_an_event_was_filtered() {
        for (delivery, expected) in [
            (
                json!({"filter_reason": "destination_disabled", "last_outcome": null}),
                json!("filtered: destination_disabled"),
            ),
            (json!({"filter_reason": null, "last_outcome": {"code": "timeout"}}), json!("timeout")),
            (json!({"filter_reason": null, "last_outcome": null}), Value::Null),
            (
                json!({"filter_reason": "unsupported", "last_outcome": {"code": "unsupported"}}),
                json!("filtered: unsupported"),
            ),
        ] {
            assert_eq!(why(&delivery), expected);
        }
    }
}
