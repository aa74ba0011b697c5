//! `tidegate suppression`: users of whom nothing is taken in or delivered any more.

use serde_json::json;

use super::client::{Client, ServerArgs, encode};
use super::print::Format;
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List suppressed users, the first one first.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Suppress users: their events are not taken in from now on, and what is owed of them is filtered.
    Add {
        /// Their ids, as events have them in `userId`: at most 1,000 in one call.
        #[arg(required = true)]
        users: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take in and deliver again what comes of a user from now on.
    Remove {
        /// The user's id, as events have it in `userId`.
        user: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const SUPPRESSIONS: &str = "/api/v1/suppressions";

const COLUMNS: &[(&str, &str)] = &[("id", "/id"), ("user", "/user_id"), ("since", "/created_at")];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("{SUPPRESSIONS}{}", args.query())).await?, COLUMNS);
        }
        Command::Add { users, server } => {
            page(format, &Client::new(server)?.post(SUPPRESSIONS, &json!({ "user_ids": users })).await?, COLUMNS);
        }
        Command::Remove { user, server } => {
            let client = Client::new(server)?;
            let found = client.get(&format!("{SUPPRESSIONS}?user_id={}", encode(&user))).await?;
            let Some(id) = found.pointer("/items/0/id").and_then(serde_json::Value::as_str) else {
                anyhow::bail!("`{user}` is not suppressed: `tidegate suppression list` shows who is");
            };
            client.delete(&format!("{SUPPRESSIONS}/{}", encode(id))).await?;
            eprintln!("{user} is suppressed no more: what comes from here on is taken in");
        }
    }
    Ok(0)
}
