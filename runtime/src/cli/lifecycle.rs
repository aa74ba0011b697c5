//! `tidegate function …`: a function's way to customers, from its checklist to links to it.

use serde_json::{Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::source::{PageArgs, changes, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show what must hold before a function is reviewed, and what of it does.
    Checklist {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text; the newest one if it is left out.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Ask the operator for a review; after it customers may run the version.
    Submit {
        /// The function's name or id.
        function: String,
        /// The version, by id or by its own text; the newest one if it is left out.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
        /// Where the function is to be afterwards: private-beta, public-beta or public; one further than now if it is left
        /// out.
        #[arg(long = "for", value_name = "STAGE")]
        stage: Option<String>,
        /// A word to the operator.
        #[arg(long)]
        comment: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Put a function into a stage without a review: a partner into `deprecated`, an operator into any.
    Stage {
        /// The function's name or id.
        function: String,
        /// building, submitted, private-beta, public-beta, public or deprecated.
        stage: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a link by which customers come to a function in private beta; prints its code, this once.
    Invite {
        /// The function's name or id.
        function: String,
        /// Days after which it invites nobody any more.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=366))]
        days: Option<u32>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the links to a function, and how many workspaces each brought.
    Invitations {
        /// The function's name or id.
        function: String,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a link back. Whom it brought stays.
    Uninvite {
        /// The function's name or id.
        function: String,
        /// The link's id, `inv_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Follow a link: your workspace sees the function from then on.
    Redeem {
        /// The link's code, `tgi_…`.
        code: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

const INVITATIONS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("created", "/created_at"),
    ("expires", "/expires_at"),
    ("revoked", "/revoked_at"),
    ("redeemed", "/redeemed"),
];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Checklist { function, version, server } => {
            let query = version.map(|version| format!("?version={}", encode(&version))).unwrap_or_default();
            let found = Client::new(server)?.get(&at(&function, &format!("checklist{query}"))).await?;
            match format {
                Format::Json => print::json(&found),
                Format::Table => checklist(&found["items"]),
            }
            return Ok(u8::from(found["ok"] != true));
        }
        Command::Submit { function, version, stage, comment, server } => {
            let body = changes([
                ("version", version.map(Value::from)),
                ("stage", stage.map(Value::from)),
                ("comment", comment.map(Value::from)),
            ]);
            let review = Client::new(server)?.post(&at(&function, "submit"), &body).await?;
            show_review(format, &review);
            let id = review["id"].as_str().unwrap_or_default();
            eprintln!("submitted for {}: `tidegate review show {id}` says how it goes", print::cell(&review["stage"]));
        }
        Command::Stage { function, stage, server } => {
            print::one(format, &Client::new(server)?.post(&at(&function, "stage"), &json!({ "stage": stage })).await?);
        }
        Command::Invite { function, days, server } => {
            let body = changes([("days", days.map(Value::from))]);
            let made = Client::new(server)?.post(&at(&function, "invitations"), &body).await?;
            print::one(format, &made);
            let code = made["code"].as_str().unwrap_or_default();
            eprintln!("The code is shown this once. Customers follow it by: tidegate function redeem {code}");
        }
        Command::Invitations { function, page: args, server } => {
            let path = at(&function, &format!("invitations{}", args.query()));
            page(format, &Client::new(server)?.get(&path).await?, INVITATIONS);
        }
        Command::Uninvite { function, id, server } => {
            Client::new(server)?.delete(&at(&function, &format!("invitations/{}", encode(&id)))).await?;
            eprintln!("taken back: {id}");
        }
        Command::Redeem { code, server } => {
            let body = json!({ "code": code });
            print::one(format, &Client::new(server)?.post("/api/v1/invitations/redeem", &body).await?);
        }
    }
    Ok(0)
}

fn at(function: &str, what: &str) -> String {
    format!("/api/v1/functions/{}/{what}", encode(function))
}

fn checklist(items: &Value) {
    for item in items.as_array().into_iter().flatten() {
        let mark = if item["ok"] == true { "ok     " } else { "MISSING" };
        println!("{mark}  {}: {}", print::cell(&item["check"]), print::cell(&item["detail"]));
    }
}

/// Prints a review for people: what it is, what is new, what was found, and what was said.
pub(super) fn show_review(format: Format, review: &Value) {
    if format == Format::Json {
        return print::json(review);
    }
    let mut facts = review.clone();
    let parts = ["wider", "checklist", "comments"];
    if let Some(facts) = facts.as_object_mut() {
        parts.iter().for_each(|part| drop(facts.remove(*part)));
    }
    print::facts(&facts);
    if review["wider"].as_array().is_some_and(|wider| !wider.is_empty()) {
        print::sentences("What it may do that was not approved before:", &review["wider"]);
    }
    println!();
    checklist(&review["checklist"]);
    for comment in review["comments"].as_array().into_iter().flatten() {
        let (at, role) = (print::cell(&comment["at"]), print::cell(&comment["role"]));
        println!("\n{at} {role}:");
        let text = comment["text"].as_str().unwrap_or_default();
        text.lines().for_each(|line| println!("  {}", print::cell(&Value::from(line))));
    }
}
