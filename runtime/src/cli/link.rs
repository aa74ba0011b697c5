//! `tidegate link`: a customer without a key gets into one workspace for a while.

use serde_json::{Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, changes, page};
use crate::model::Role;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a link; prints its text, this once. It opens one session in the workspace, for whoever has it.
    Create {
        /// What people call it, such as whom it is for.
        name: String,
        /// What its session may do: workspace-editor or workspace-viewer.
        #[arg(long)]
        role: Role,
        /// Let its session see this destination only, by its id, `dst_…`.
        #[arg(long, value_name = "ID")]
        destination: Option<String>,
        /// Minutes for which it can be opened, up to a week.
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Minutes that its session lasts, up to a day.
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
        session_minutes: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List links, also those that open nothing any more.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one link.
    Show {
        /// Its id, `lnk_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a link back, at once, and end the session that it opened.
    Revoke {
        /// Its id, `lnk_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Open a link, once; prints the token of its session. Takes no key.
    Open {
        /// Its text, `tgl_…`.
        link: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("role", "/role"),
    ("destination", "/destination"),
    ("expires", "/expires_at"),
    ("opened", "/opened_at"),
    ("revoked", "/revoked_at"),
];

const LINKS: &str = "/api/v1/links";

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, role, destination, minutes, session_minutes, server } => {
            let body = changes([
                ("name", Some(Value::from(name))),
                ("role", Some(Value::from(role.as_str()))),
                ("destination", destination.map(Value::from)),
                ("expires_in_s", Some(Value::from(minutes * 60))),
                ("session_s", Some(Value::from(session_minutes * 60))),
            ]);
            print::one(format, &Client::new(server)?.post(LINKS, &body).await?);
            eprintln!("The link is shown this once, and stored nowhere. It opens once: `tidegate link open`, or");
            eprintln!("POST /api/v1/sessions {{\"link\":\"tgl_…\"}}, which answers the token of a session.");
        }
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("{LINKS}{}", args.query())).await?, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server)?.get(&format!("{LINKS}/{}", encode(&id))).await?);
        }
        Command::Revoke { id, server } => {
            Client::new(server)?.delete(&format!("{LINKS}/{}", encode(&id))).await?;
            eprintln!("revoked {id}");
        }
        Command::Open { link, server } => {
            // No key is needed, and one that is set belongs to somebody else.
            let client = Client::without_key(server)?;
            print::one(format, &client.post("/api/v1/sessions", &json!({ "link": link })).await?);
            eprintln!("The token is shown this once, and stored nowhere: export TIDEGATE_TOKEN=tgk_…");
        }
    }
    Ok(0)
}
