//! `tidegate function logs`: what a function's versions did and logged, over all destinations, the newest last.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use crate::model::OutcomeCode;

/// How often a host is asked for more: soon enough for whoever watches, and nothing for the host.
const EVERY: Duration = Duration::from_secs(1);

/// The longest page that a host gives.
const PAGE: usize = 1_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The function's name or id.
    function: String,
    /// Go on with what comes, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Only this version, by id or by its own text.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Only what ended so, such as `bad_request`.
    #[arg(long, value_name = "CODE", value_parser = OutcomeCode::ALL.map(OutcomeCode::as_str))]
    outcome: Option<String>,
    /// How many attempts at most, the newest ones; 0 with --follow for none of the past.
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: Args, format: Format) -> anyhow::Result<u8> {
    let mut base = format!("/api/v1/functions/{}/logs?", encode(&args.function));
    for (name, value) in [("version", &args.version), ("outcome", &args.outcome)] {
        if let Some(value) = value {
            base.push_str(&format!("{name}={}&", encode(value)));
        }
    }
    let client = Client::new(args.server)?;
    let all = async {
        let (past, newest) = past(&client, &base, args.limit).await?;
        let mut open = show(past.iter().rev(), format);
        let mut since = newest;
        while args.follow && open {
            let page = client.get(&format!("{base}since={}&limit={PAGE}", encode(&since))).await?;
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            open = show(items.iter(), format);
            let newest = page["newest"].as_str().unwrap_or(&since).to_owned();
            // A page that moved on without an end in sight has more behind it.
            if items.len() < PAGE {
                tokio::time::sleep(EVERY).await;
            }
            since = newest;
        }
        anyhow::Ok(0)
    };
    tokio::select! {
        done = all => done,
        // Whoever has seen enough is no error.
        stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| 0)?),
    }
}

/// The newest attempts, newest first, and where later ones begin.
async fn past(client: &Client, base: &str, limit: usize) -> anyhow::Result<(Vec<Value>, String)> {
    let (mut items, mut newest, mut cursor) = (Vec::new(), None, None::<String>);
    loop {
        let from = cursor.map(|cursor| format!("&cursor={}", encode(&cursor))).unwrap_or_default();
        let most = (limit - items.len()).clamp(1, PAGE);
        let mut page = client.get(&format!("{base}limit={most}{from}")).await?;
        newest = newest.or_else(|| page["newest"].as_str().map(str::to_owned));
        if let Some(found) = page["items"].as_array_mut() {
            items.append(found);
        }
        items.truncate(limit);
        match page["next"].as_str() {
            Some(next) if items.len() < limit => cursor = Some(next.to_owned()),
            Some(_) | None => return Ok((items, newest.unwrap_or_default())),
        }
    }
}

/// Prints attempts; whether anybody still reads.
fn show<'a>(items: impl Iterator<Item = &'a Value>, format: Format) -> bool {
    let mut out = io::stdout().lock();
    let write = || {
        for item in items {
            match format {
                Format::Json => writeln!(out, "{item}")?,
                Format::Table => writeln!(out, "{}", lines(item))?,
            }
        }
        out.flush()
    };
    write().is_ok()
}

/// An attempt for people: a line about it, and one for each line of its log.
fn lines(item: &Value) -> String {
    let field = |at: &str| print::cell(item.pointer(at).unwrap_or(&Value::Null));
    let mut text =
        [field("/at"), field("/delivery"), field("/event_type"), field("/message_id"), field("/outcome/code")]
            .join("  ");
    if item["attempt"].as_u64().is_some_and(|attempt| attempt > 1) {
        text.push_str(&format!("  attempt {}", field("/attempt")));
    }
    if item["outcome"]["message"].as_str().is_some_and(|message| !message.is_empty()) {
        text.push_str(&format!("  {}", field("/outcome/message")));
    }
    for line in item["log"].as_array().into_iter().flatten() {
        text.push_str(&format!("\n    {:5}  {}", print::cell(&line["level"]), print::cell(&line["text"])));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_attempt_is_a_line_with_its_log_below_and_nothing_moves_the_terminal() {
        let item = json!({
            "at": "2026-01-01T00:00:00.000Z", "delivery": "dlv_1", "event_type": "track", "message_id": "m\u{1b}[2J",
            "attempt": 2, "outcome": {"code": "bad_request", "message": "no\nway"},
            "log": [{"level": "info", "text": "a\u{7}b"}],
        });
        assert_eq!(
            lines(&item),
            "2026-01-01T00:00:00.000Z  dlv_1  track  m\u{fffd}[2J  bad_request  attempt 2  no\u{fffd}way\n    info   a\u{fffd}b"
        );
    }
}
