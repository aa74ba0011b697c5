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
    /// Switch a connection on or off; while it is off its events are filtered and counted.
    Update {
        /// Its id, `con_…`.
        id: String,
        /// Whether events go.
        #[arg(long)]
        enabled: Option<bool>,
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

const COLUMNS: &[(&str, &str)] =
    &[("id", "/id"), ("source", "/source"), ("destination", "/destination"), ("enabled", "/enabled")];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { source, destination, server } => {
            let body = json!({ "source": source, "destination": destination });
            print::one(format, &Client::new(server).post("/api/v1/connections", &body).await?);
        }
        Command::List { page: args, server } => {
            let answer = Client::new(server).get(&format!("/api/v1/connections{}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server).get(&format!("/api/v1/connections/{}", encode(&id))).await?);
        }
        Command::Update { id, enabled, server } => {
            let path = format!("/api/v1/connections/{}", encode(&id));
            let change = changes([("enabled", enabled.map(Value::from))]);
            print::one(format, &Client::new(server).patch(&path, &change).await?);
        }
        Command::Delete { id, server } => {
            Client::new(server).delete(&format!("/api/v1/connections/{}", encode(&id))).await?;
            eprintln!("deleted {id}");
        }
    }
    Ok(0)
}
