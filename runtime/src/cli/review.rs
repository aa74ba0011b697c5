//! `tidegate review`: what partners submitted, and what becomes of it.

use serde_json::json;

use super::client::{Client, ServerArgs, encode};
use super::lifecycle::show_review;
use super::print::{self, Format};
use super::source::{PageArgs, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List reviews, the oldest first: a partner's own, for operators all.
    List {
        /// Only those that are open, approved, rejected or withdrawn.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a review: what the version may do, what the host found, what was said, and what it would be allowed.
    Show {
        /// Its id, `rev_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say something about a review.
    Comment {
        /// Its id, `rev_…`.
        id: String,
        /// What.
        text: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let customers run the version, and put the function where it wants to be. Takes another key than the submitter's.
    Approve {
        /// Its id, `rev_…`.
        id: String,
        /// A word about it.
        #[arg(long)]
        comment: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Do not let customers run the version.
    Reject {
        /// Its id, `rev_…`.
        id: String,
        /// Why.
        #[arg(long)]
        comment: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take back what was submitted.
    Withdraw {
        /// Its id, `rev_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("function", "/name"),
    ("version", "/number"),
    ("for", "/stage"),
    ("state", "/state"),
    ("submitted", "/submitted_at"),
];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::List { state, page: args, server } => {
            let state = state.map(|state| format!("&state={}", encode(&state))).unwrap_or_default();
            let answer = Client::new(server)?.get(&format!("/api/v1/reviews{}{state}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => show(&Client::new(server)?, &id, format).await?,
        Command::Comment { id, text, server } => {
            let body = json!({ "text": text });
            print::one(format, &Client::new(server)?.post(&at(&id, "comments"), &body).await?);
        }
        Command::Approve { id, comment, server } => decide("approve", &id, comment, server, format).await?,
        Command::Reject { id, comment, server } => decide("reject", &id, comment, server, format).await?,
        Command::Withdraw { id, server } => decide("withdraw", &id, None, server, format).await?,
    }
    Ok(0)
}

fn at(id: &str, what: &str) -> String {
    format!("/api/v1/reviews/{}/{what}", encode(id))
}

async fn decide(
    how: &str,
    id: &str,
    comment: Option<String>,
    server: ServerArgs,
    format: Format,
) -> anyhow::Result<()> {
    let decided = Client::new(server)?.post(&at(id, how), &json!({ "comment": comment })).await?;
    match format {
        Format::Json => print::json(&decided),
        Format::Table => println!("{id} is {}", print::cell(&decided["state"])),
    }
    Ok(())
}

async fn show(client: &Client, id: &str, format: Format) -> anyhow::Result<()> {
    let mut review = client.get(&format!("/api/v1/reviews/{}", encode(id))).await?;
    let text = |name: &str| encode(review[name].as_str().unwrap_or_default());
    let path = format!("/api/v1/functions/{}/access?version={}", text("function"), text("version"));
    let access = client.get(&path).await?;
    match format {
        Format::Json => {
            review["access"] = access;
            print::json(&review);
        }
        Format::Table => {
            show_review(format, &review);
            print::sentences("What it may do:", &access["sentences"]);
        }
    }
    Ok(())
}
