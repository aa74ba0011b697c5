//! `tidegate wish`: destinations that customers miss.

use serde_json::json;

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List what is wished for, the oldest first, and how many workspaces wish for it.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Wish for a destination. One that is wished for already gets your workspace's vote.
    Create {
        /// The partner or product, such as HubSpot. All customers see it.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Give your workspace's vote to a wish.
    Vote {
        /// Its id, `wsh_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take your workspace's vote back. A wish without votes is gone.
    Unvote {
        /// Its id, `wsh_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const WISHES: &str = "/api/v1/wishes";

const COLUMNS: &[(&str, &str)] =
    &[("id", "/id"), ("name", "/name"), ("votes", "/votes"), ("yours", "/voted"), ("since", "/created_at")];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("{WISHES}{}", args.query())).await?, COLUMNS);
        }
        Command::Create { name, server } => {
            print::one(format, &Client::new(server)?.post(WISHES, &json!({ "name": name })).await?);
        }
        Command::Vote { id, server } => {
            print::one(
                format,
                &Client::new(server)?.post(&format!("{WISHES}/{}/vote", encode(&id)), &json!({})).await?,
            );
        }
        Command::Unvote { id, server } => {
            print::one(format, &Client::new(server)?.delete(&format!("{WISHES}/{}/vote", encode(&id))).await?);
        }
    }
    Ok(0)
}
