//! `tidegate ledger`: accepted = delivered + filtered + dead + pending.

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only this source.
    #[arg(long)]
    source: Option<String>,
    /// Only this destination.
    #[arg(long)]
    destination: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: Args, format: Format) -> anyhow::Result<u8> {
    let scope: Vec<String> = [("source", args.source), ("destination", args.destination)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))))
        .collect();
    let query = if scope.is_empty() { String::new() } else { format!("?{}", scope.join("&")) };
    print::one(format, &Client::new(args.server)?.get(&format!("/api/v1/ledger{query}")).await?);
    Ok(0)
}
