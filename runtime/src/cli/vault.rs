//! `tidegate vault`: the keys that secret settings are stored with.

use serde_json::json;

use super::client::{Client, ServerArgs};
use super::print::{self, Format};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show which master key is in use, by its id. Takes an operator's key.
    Show {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a new master key, wrap everything with it and forget the old one, while the host goes on. Takes an operator's key.
    ///
    /// The host writes the new key into its key file (`vault.key_file`) before it uses it. If it is interrupted, its next start or
    /// this command again ends it. Copies of the key file that were made before open older backups only.
    Rotate {
        #[command(flatten)]
        server: ServerArgs,
    },
}

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let vault = match command {
        Command::Show { server } => Client::new(server).get("/api/v1/vault").await?,
        Command::Rotate { server } => Client::new(server).post("/api/v1/vault/rotate", &json!({})).await?,
    };
    print::one(format, &vault);
    Ok(0)
}
