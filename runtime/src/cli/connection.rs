//! `tidegate connection`: which source feeds which destination.

use serde_json::{Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, changes, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Let a source feed a destination.
    Create {
        /// The source's id, `src_…`.
        #[arg(long)]
        source: String,
        /// The destination's id, `dst_…`.
        #[arg(long)]
        destination: String,
        /// Deliver events with the same value here one after the other: `userId`, `anonymousId`, `event`, `type`, or a
        /// path such as `context.groupId`. Without it events have no order.
        #[arg(long, value_name = "FIELD")]
        ordered_by: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List connections.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one connection.
    Show {
        /// Its id, `con_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Switch a connection on or off, or change its order; while it is off its events are filtered and counted.
    Update {
        /// Its id, `con_…`.
        id: String,
        /// Whether events go.
        #[arg(long)]
        enabled: Option<bool>,
        /// Keep order by this value from now on.
        #[arg(long, value_name = "FIELD")]
        ordered_by: Option<String>,
        /// Keep no order any more.
        #[arg(long, conflicts_with = "ordered_by")]
        no_order: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a connection. What is pending is filtered, and counted as such.
    Delete {
        /// Its id, `con_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("source", "/source"),
    ("destination", "/destination"),
    ("enabled", "/enabled"),
    ("ordered by", "/ordered_by"),
];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { source, destination, ordered_by, server } => {
            let body = json!({ "source": source, "destination": destination, "ordered_by": ordered_by });
            print::one(format, &Client::new(server)?.post("/api/v1/connections", &body).await?);
        }
        Command::List { page: args, server } => {
            let answer = Client::new(server)?.get(&format!("/api/v1/connections{}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server)?.get(&format!("/api/v1/connections/{}", encode(&id))).await?);
        }
        Command::Update { id, enabled, ordered_by, no_order, server } => {
            let path = format!("/api/v1/connections/{}", encode(&id));
            let ordered_by = if no_order { Some(Value::Null) } else { ordered_by.map(Value::from) };
            let change = changes([("enabled", enabled.map(Value::from)), ("ordered_by", ordered_by)]);
            print::one(format, &Client::new(server)?.patch(&path, &change).await?);
        }
        Command::Delete { id, server } => {
            Client::new(server)?.delete(&format!("/api/v1/connections/{}", encode(&id))).await?;
            eprintln!("deleted {id}");
        }
    }
    Ok(0)
}
