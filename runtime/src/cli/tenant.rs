//! `tidegate workspace` and `tidegate partner`: the tenants of a host. Both have the same commands.

use serde_json::json;

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, changes, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make one. Takes an operator's key.
    Create {
        /// Its name, unique on the host.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List them: an operator sees all, others their own.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one.
    Show {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Rename one. Takes an operator's key.
    Update {
        /// Its name or id.
        key: String,
        /// The new name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove one that owns nothing any more, and its keys. Takes an operator's key.
    Delete {
        /// Its name or id.
        key: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// What only workspaces have.
#[derive(clap::Subcommand)]
pub(super) enum WorkspaceCommand {
    #[command(flatten)]
    Tenant(Command),
    /// Destroy one with everything in it, and the key that it was sealed with. Takes an operator's key.
    ///
    /// Sources, destinations, links and keys go, events and attempts too, delivered or not. What the disk still holds of them cannot be read
    /// any more, since the workspace's key is gone and the master key is turned. Backups from before are as they were.
    Destroy {
        /// Its name or id.
        key: String,
        /// Its name once more, so that nothing is destroyed by a slip.
        #[arg(long, value_name = "NAME")]
        confirm: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[("id", "/id"), ("name", "/name"), ("created", "/created_at")];

/// Runs a command on workspaces.
pub(super) async fn run_workspace(command: WorkspaceCommand, format: Format) -> anyhow::Result<u8> {
    match command {
        WorkspaceCommand::Tenant(command) => run("workspaces", command, format).await,
        WorkspaceCommand::Destroy { key, confirm, server } => {
            let path = format!("/api/v1/workspaces/{}/destroy", encode(&key));
            print::one(format, &Client::new(server)?.post(&path, &json!({ "confirm": confirm })).await?);
            Ok(0)
        }
    }
}

/// Runs a command on a collection of the control API: `workspaces` or `partners`.
pub(super) async fn run(collection: &str, command: Command, format: Format) -> anyhow::Result<u8> {
    let at = |key: &str| format!("/api/v1/{collection}/{}", encode(key));
    match command {
        Command::Create { name, server } => {
            let made = Client::new(server)?.post(&format!("/api/v1/{collection}"), &json!({ "name": name })).await?;
            print::one(format, &made);
        }
        Command::List { page: args, server } => {
            let answer = Client::new(server)?.get(&format!("/api/v1/{collection}{}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { key, server } => print::one(format, &Client::new(server)?.get(&at(&key)).await?),
        Command::Update { key, name, server } => {
            let change = changes([("name", Some(name.into()))]);
            print::one(format, &Client::new(server)?.patch(&at(&key), &change).await?);
        }
        Command::Delete { key, server } => {
            Client::new(server)?.delete(&at(&key)).await?;
            eprintln!("deleted {key}");
        }
    }
    Ok(0)
}
