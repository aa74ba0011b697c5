//! `tidegate vault`: the keys that secret settings and events are stored with.

use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::print::{self, Format};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show which master key is in use, by its id. Takes an operator's key.
    Show {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The same as `tidegate key rotate` without a key's id.
    #[command(hide = true)]
    Rotate {
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let vault = match command {
        Command::Show { server } => Client::new(server)?.get("/api/v1/vault").await?,
        Command::Rotate { server } => rotate(server).await?,
    };
    print::one(format, &vault);
    Ok(0)
}

/// Turns the master key; what the vault is then.
pub(super) async fn rotate(server: ServerArgs) -> anyhow::Result<Value> {
    Client::new(server)?.post("/api/v1/vault/rotate", &json!({})).await
}
