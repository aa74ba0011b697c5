//! `tidegate replay`: giving back what was given up, or sending once more what was delivered.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Give dead deliveries back, or send delivered events once more; prints the replay.
    #[command(after_help = "Look first: `tidegate replay create … --dry-run` says how many deliveries would be given \
        back and why others would not. What a destination and its connection say now holds again: what is switched off \
        gets nothing, settings and versions are the current ones.")]
    Create(Box<CreateArgs>),
    /// List replays, the newest first.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = ["running", "paused", "cancelled", "done"])]
        state: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one replay.
    Show {
        /// Its id, `rpl_…`.
        id: String,
        /// Show its progress until it is over and nothing of it is pending.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Pause a replay. What it gave back goes on.
    Pause {
        /// Its id, `rpl_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let a paused replay go on where it stood.
    Resume {
        /// Its id, `rpl_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End a replay for good. What it gave back goes on; the rest stays as it is.
    Cancel {
        /// Its id, `rpl_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(clap::Args)]
pub(super) struct CreateArgs {
    /// Only what is owed to this destination.
    #[arg(long, value_name = "ID")]
    destination: Option<String>,
    /// Only events from this source.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
    /// Only what this connection owes.
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Only this delivery.
    #[arg(long, value_name = "ID")]
    delivery: Option<String>,
    /// Which deliveries: those that were given up, those that were delivered (which partners get a second time), or both.
    #[arg(long, value_parser = ["dead", "delivered", "all"], default_value = "dead")]
    state: String,
    /// Only what was accepted then or later, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only what was accepted before then.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only what ended so at its last recorded attempt, such as gateway_timeout.
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// Only events of this name: `event` of a track, `name` of a page or screen.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only events of this type.
    #[arg(long = "type", value_parser = ["track", "identify", "page", "screen", "group", "alias", "delete"])]
    event_type: Option<String>,
    /// Which version runs: what the destination runs now, what ran the last time, or one by its id.
    #[arg(long, default_value = "current", value_name = "current|old|fnv_…")]
    version: String,
    /// Deliveries given back in a second, at most; the host's `replay.events_per_s` if absent.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u32>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Show the progress until it is over and nothing of it is pending.
    #[arg(long, conflicts_with = "dry_run")]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("state", "/state"),
    ("matching", "/matching"),
    ("released", "/released"),
    ("delivered", "/delivered"),
    ("dead", "/dead"),
    ("pending", "/pending"),
    ("per second", "/events_per_s"),
    ("created", "/created_at"),
];

/// How often progress is asked for.
const EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let change = async |verb: &str, id: String, server: ServerArgs| -> anyhow::Result<()> {
        let path = format!("/api/v1/replays/{}/{verb}", encode(&id));
        print::one(format, &Client::new(server)?.post(&path, &json!({})).await?);
        Ok(())
    };
    match command {
        Command::Create(args) => create(*args, format).await?,
        Command::List { state, page: args, server } => {
            let state = state.map(|state| format!("&state={state}")).unwrap_or_default();
            let answer = Client::new(server)?.get(&format!("/api/v1/replays{}{state}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, follow: true, server } => follow(&Client::new(server)?, &id, format).await?,
        Command::Show { id, follow: false, server } => print::one(format, &show(&Client::new(server)?, &id).await?),
        Command::Pause { id, server } => change("pause", id, server).await?,
        Command::Resume { id, server } => change("resume", id, server).await?,
        Command::Cancel { id, server } => change("cancel", id, server).await?,
    }
    Ok(0)
}

async fn create(args: CreateArgs, format: Format) -> anyhow::Result<()> {
    let texts = [
        ("destination", args.destination),
        ("source", args.source),
        ("connection", args.connection),
        ("delivery", args.delivery),
        ("state", Some(args.state)),
        ("from", args.from),
        ("to", args.to),
        ("outcome", args.outcome),
        ("event", args.event),
        ("type", args.event_type),
        ("version", Some(args.version)),
    ];
    let mut body: Map<String, Value> =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?)))).collect();
    body.extend(args.rate.map(|rate| ("events_per_s".to_owned(), rate.into())));
    body.insert("dry_run".to_owned(), args.dry_run.into());
    let client = Client::new(args.server)?;
    let made = client.post("/api/v1/replays", &Value::Object(body)).await?;
    match made["id"].as_str().filter(|_| args.follow) {
        Some(id) => follow(&client, id, format).await?,
        None => print::one(format, &made),
    }
    Ok(())
}

async fn show(client: &Client, id: &str) -> anyhow::Result<Value> {
    client.get(&format!("/api/v1/replays/{}", encode(id))).await
}

/// Shows progress on stderr until nothing will change by itself, then the replay on stdout.
async fn follow(client: &Client, id: &str, format: Format) -> anyhow::Result<()> {
    let mut shown = String::new();
    loop {
        let replay = show(client, id).await?;
        let line = progress(&replay);
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
        let state = replay["state"].as_str().unwrap_or_default();
        if state == "paused" || (state != "running" && replay["pending"] == 0) {
            print::one(format, &replay);
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn progress(replay: &Value) -> String {
    let number = |name: &str| replay[name].as_u64().unwrap_or_default();
    let skipped: u64 = replay["skipped"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_u64).sum();
    format!(
        "{}: {} of {} given back, {} skipped; {} delivered, {} dead, {} pending",
        replay["state"].as_str().unwrap_or_default(),
        number("released"),
        number("matching"),
        skipped,
        number("delivered"),
        number("dead"),
        number("pending"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line_with_everything_that_was_looked_at() {
        let replay = json!({"state": "running", "matching": 10, "released": 6, "delivered": 3, "dead": 1, "pending": 2,
            "skipped": {"connection_disabled": 1, "version_unknown": 2}});
        assert_eq!(progress(&replay), "running: 6 of 10 given back, 3 skipped; 3 delivered, 1 dead, 2 pending");
    }
}
