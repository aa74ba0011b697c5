//! `tidegate source`: where events enter.

use serde_json::{Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make a source; prints its write key.
    Create {
        /// Its name, unique in the workspace.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List sources.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one source.
    Show {
        /// Its id, `src_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Rename a source, switch it on or off.
    Update {
        /// Its id, `src_…`.
        id: String,
        /// The new name.
        #[arg(long)]
        name: Option<String>,
        /// Whether it takes events.
        #[arg(long)]
        enabled: Option<bool>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a source and its connections. What is pending is filtered, and counted as such.
    Delete {
        /// Its id, `src_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Which part of a long list.
#[derive(clap::Args)]
pub(super) struct PageArgs {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Go on behind this cursor, from the page before.
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

impl PageArgs {
    /// As a query string, with its `?`.
    pub(super) fn query(&self) -> String {
        let after = self.after.as_deref().map(|after| format!("&after={}", encode(after))).unwrap_or_default();
        format!("?limit={}{after}", self.limit)
    }
}

/// Prints a page of a list, and on stderr how to go on.
pub(super) fn page(format: Format, answer: &Value, columns: &[(&str, &str)]) {
    let rows = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    print::list(format, answer, rows, columns);
    if let (Format::Table, Some(next)) = (format, answer.get("next").and_then(Value::as_str)) {
        eprintln!("more: --after {next}");
    }
}

const COLUMNS: &[(&str, &str)] =
    &[("id", "/id"), ("name", "/name"), ("write key", "/write_key"), ("enabled", "/enabled")];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, server } => {
            let made = Client::new(server)?.post("/api/v1/sources", &json!({ "name": name })).await?;
            print::one(format, &made);
        }
        Command::List { page: args, server } => {
            let answer = Client::new(server)?.get(&format!("/api/v1/sources{}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => {
            print::one(format, &Client::new(server)?.get(&format!("/api/v1/sources/{}", encode(&id))).await?);
        }
        Command::Update { id, name, enabled, server } => {
            let change = changes([("name", name.map(Value::from)), ("enabled", enabled.map(Value::from))]);
            let path = format!("/api/v1/sources/{}", encode(&id));
            print::one(format, &Client::new(server)?.patch(&path, &change).await?);
        }
        Command::Delete { id, server } => {
            Client::new(server)?.delete(&format!("/api/v1/sources/{}", encode(&id))).await?;
            eprintln!("deleted {id}");
        }
    }
    Ok(0)
}

/// A JSON object of what is given.
pub(super) fn changes<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
