//! `tidegate delivery`: what is owed to destinations, and what became of it.

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List deliveries, the newest first.
    List {
        /// Only those of this destination.
        #[arg(long)]
        destination: Option<String>,
        /// Only those in this state.
        #[arg(long, value_parser = ["pending", "delivered", "filtered", "dead"])]
        state: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one delivery with its event.
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
    /// Try a dead delivery again.
    Retry {
        /// Its id, `dlv_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("state", "/state"),
    ("attempts", "/attempts"),
    ("type", "/event_type"),
    ("message id", "/message_id"),
    ("outcome", "/last_outcome/code"),
    ("next attempt", "/next_due"),
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
        Command::List { destination, state, page: args, server } => {
            let mut query = args.query();
            for (name, value) in [("destination", destination), ("state", state)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", encode(&value)));
                }
            }
            let answer = Client::new(server).get(&format!("/api/v1/deliveries{query}")).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server).get(&format!("/api/v1/deliveries/{}", encode(&id))).await?);
        }
        Command::Attempts { id, server } => {
            let path = format!("/api/v1/deliveries/{}/attempts", encode(&id));
            page(format, &Client::new(server).get(&path).await?, ATTEMPTS);
        }
        Command::Retry { id, server } => {
            let path = format!("/api/v1/deliveries/{}/retry", encode(&id));
            print::one(format, &Client::new(server).post(&path, &serde_json::json!({})).await?);
        }
    }
    Ok(0)
}
