//! `tidegate audit`: who changed what.

use serde_json::Value;

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List who changed what, the newest first.
    List {
        /// Only this action, such as key.revoke.
        #[arg(long)]
        action: Option<String>,
        /// Only about the thing with this id.
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Find out whether a line was changed, removed or put in; exits 1 if so. Takes an operator's key.
    Verify {
        /// The hash that an earlier `audit verify` printed last: also finds a log that was made anew as a whole.
        #[arg(long, value_name = "HASH")]
        expect: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] =
    &[("no", "/no"), ("at", "/at"), ("key", "/key"), ("role", "/role"), ("action", "/action"), ("id", "/id")];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::List { action, id, page: args, server } => {
            let given = |name: &str, value: Option<String>| {
                value.map(|value| format!("&{name}={}", encode(&value))).unwrap_or_default()
            };
            let query = format!("{}{}{}", args.query(), given("action", action), given("id", id));
            page(format, &Client::new(server)?.get(&format!("/api/v1/audit{query}")).await?, COLUMNS);
            Ok(0)
        }
        Command::Verify { expect, server } => verify(expect, &Client::new(server)?, format).await,
    }
}

async fn verify(expect: Option<String>, client: &Client, format: Format) -> anyhow::Result<u8> {
    let verdict = client.get("/api/v1/audit/verify").await?;
    print::one(format, &verdict);
    if verdict["ok"] != true {
        return Ok(1);
    }
    let Some(expect) = expect else { return Ok(0) };
    // Each hash covers all lines before it: one of them is that hash, or the log is another one.
    let mut path = "/api/v1/audit?limit=1000".to_owned();
    loop {
        let page = client.get(&path).await?;
        let lines = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        if lines.iter().any(|line| line["hash"] == expect.as_str()) {
            return Ok(0);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => path = format!("/api/v1/audit?limit=1000&after={}", encode(next)),
            None => break,
        }
    }
    if expect.len() != 64 {
        return Err(Exit::Misuse(format!("`{expect}` is no hash that `audit verify` prints: it has 64 digits")).into());
    }
    anyhow::bail!("no line has the hash `{expect}`: the log was made anew since it was printed");
}
