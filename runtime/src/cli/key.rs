//! `tidegate key`: who may call the control API.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, changes, page};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Role, Side};
use crate::store::Store;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a key; prints its token, this once.
    Create {
        /// What people call it.
        name: String,
        /// What it may do: operator, partner-admin, partner-developer, workspace-admin, workspace-editor or
        /// workspace-viewer. It belongs to the workspace or partner that --workspace or --partner names.
        #[arg(long)]
        role: Role,
        /// Days after which it opens nothing any more.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: Option<u32>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List keys, also those that open nothing any more.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one key.
    Show {
        /// Its id, `key_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// With an id, make a key like that one and print its token; the old one still works for a while. Without, turn the master key
    /// with which secrets and events are stored.
    ///
    /// The master key is turned while the host goes on: it writes the new one into its key file (`vault.key_file`), wraps every workspace's
    /// key with it, and forgets the old one. If it is interrupted, its next start or this command again ends it. Copies of the key file that
    /// were made before open older backups only, and links that nobody has opened yet open nothing any more.
    Rotate {
        /// Its id, `key_…`; left out, the master key is meant.
        id: Option<String>,
        /// Hours for which the old key still works; 0 ends it at once.
        #[arg(long, value_name = "N", default_value_t = 24, requires = "id", value_parser = clap::value_parser!(u64).range(0..=720))]
        overlap_hours: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a key back, at once.
    Revoke {
        /// Its id, `key_…`.
        id: String,
        /// Also if it is the last operator's key, or your own last admin's key, after which you make no others.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say whose key TIDEGATE_TOKEN is, and what it may do.
    Whoami {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make one more operator's key, for whoever has the data directory and lost the others. The host must be stopped.
    Recover {
        /// The configuration; `tidegate config show` prints every option with its default.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The data directory, instead of the configuration's `data_dir`.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("role", "/role"),
    ("prefix", "/prefix"),
    ("last used", "/last_used_at"),
    ("expires", "/expires_at"),
    ("revoked", "/revoked_at"),
];

const KEYS: &str = "/api/v1/keys";

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, role, days, server } => {
            belongs(role, &server)?;
            let ends = |days: u32| Clock::System.now().plus(Duration::from_secs(u64::from(days) * 86_400)).to_string();
            let body = changes([
                ("name", Some(Value::from(name))),
                ("role", Some(Value::from(role.as_str()))),
                ("expires_at", days.map(ends).map(Value::from)),
            ]);
            print::one(format, &Client::new(server)?.post(KEYS, &body).await?);
            eprintln!("The token is shown this once, and stored nowhere.");
        }
        Command::List { page: args, server } => {
            page(format, &Client::new(server)?.get(&format!("{KEYS}{}", args.query())).await?, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server)?.get(&format!("{KEYS}/{}", encode(&id))).await?);
        }
        Command::Rotate { id: None, overlap_hours: _, server } => {
            print::one(format, &super::vault::rotate(server).await?)
        }
        Command::Rotate { id: Some(id), overlap_hours, server } => {
            let body = json!({ "overlap_s": overlap_hours * 3600 });
            let path = format!("{KEYS}/{}/rotate", encode(&id));
            print::one(format, &Client::new(server)?.post(&path, &body).await?);
            eprintln!("The token is shown this once, and stored nowhere. {id} works for {overlap_hours} more hours.");
        }
        Command::Revoke { id, force, server } => {
            let force = if force { "?force=true" } else { "" };
            Client::new(server)?.delete(&format!("{KEYS}/{}{force}", encode(&id))).await?;
            eprintln!("revoked {id}");
        }
        Command::Whoami { server } => print::one(format, &Client::new(server)?.get("/api/v1/whoami").await?),
        Command::Recover { config, data } => recover(config, data, format).await?,
    }
    Ok(0)
}

/// Whether a role goes with the tenants that flags name. What the environment or a profile names is for all commands, and left aside.
fn belongs(role: Role, server: &ServerArgs) -> Result<(), Exit> {
    let (workspace, partner) = (server.workspace.as_deref(), server.partner.as_deref());
    let (flag, given, place) = match (role.side(), workspace, partner) {
        (Side::Workspace, _, Some(partner)) => ("partner", partner, "a workspace (`--workspace`)"),
        (Side::Partner, Some(workspace), _) => ("workspace", workspace, "a partner (`--partner`)"),
        (Side::Host, Some(workspace), _) => ("workspace", workspace, "the host"),
        (Side::Host, None, Some(partner)) => ("partner", partner, "the host"),
        _ => return Ok(()),
    };
    Err(Exit::Misuse(format!(
        "`--{flag} {given}`: a key with the role `{role}` belongs to {place}: leave `--{flag}` out"
    )))
}

async fn recover(config: Option<PathBuf>, data: Option<PathBuf>, format: Format) -> anyhow::Result<()> {
    let config = Config::from_process(config.as_deref()).map_err(|error| Exit::BadConfig(error.to_string()))?;
    let dir = data.unwrap_or(config.data_dir);
    // Opening would make a directory where there is none, and a key to an empty host helps nobody.
    if !dir.is_dir() {
        return Err(Exit::Misuse(format!("`{}` is no data directory: name one with --data", dir.display())).into());
    }
    let store = Store::open(&dir, &config.store, Clock::System)?;
    let token = store.recover_operator_key().await?.context("no key was made")?;
    store.close().await;
    print::one(format, &json!({ "token": token }));
    eprintln!("The token is shown this once, and stored nowhere. Revoke the keys that were lost: tidegate key list");
    Ok(())
}
