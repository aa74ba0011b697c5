//! `tidegate destination`: configured uses of functions.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::client::{Client, ServerArgs, encode};
use super::print::{self, Format};
use super::settings::{Changes, ChangesArgs, Schema, SettingsArgs};
use super::source::{PageArgs, changes, page};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Configure a use of a function.
    Create {
        /// Its name, unique in the workspace; events' `integrations` use it.
        name: String,
        /// The function, by name or id.
        #[arg(long)]
        function: String,
        /// Stay on this version, by id or by its own text, instead of following the function's current one.
        #[arg(long, value_name = "VERSION")]
        pin: Option<String>,
        /// Leave it off, to test it first; `destination enable` switches it on.
        #[arg(long)]
        off: bool,
        /// Make nothing: say in plain words what the function may do, and check the settings if there are any.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        rate: RateArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List destinations.
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one destination and its health: whether its breaker lets deliveries pass, and how attempts ended.
    /// Secret settings are never shown.
    Show {
        /// Its id, `dst_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Agree to what the function's current version may do: a destination that stayed on an older one follows again.
    Consent {
        /// Its id, `dst_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Change a destination. What is not named stays as it is.
    Update {
        /// Its id, `dst_…`.
        id: String,
        /// The new name.
        #[arg(long)]
        name: Option<String>,
        /// Whether it gets events; while it is off they are filtered and counted.
        #[arg(long)]
        enabled: Option<bool>,
        /// Stay on this version, by id or by its own text.
        #[arg(long, value_name = "VERSION", conflicts_with = "follow")]
        pin: Option<String>,
        /// Follow the function's current version again.
        #[arg(long)]
        follow: bool,
        /// Agree to what the version may do that it is to run.
        #[arg(long)]
        consent: bool,
        #[command(flatten)]
        settings: ChangesArgs,
        #[command(flatten)]
        rate: RateArgs,
        /// Take the limit of your own away; the partner's stays.
        #[arg(long, conflicts_with_all = ["requests_per_s", "events_per_s", "burst"])]
        no_rate: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send one test event with the destination's settings, on or off; exits 1 if the partner does not take it.
    Test {
        /// Its id, `dst_…`.
        id: String,
        /// A file with the event, `-` reads standard input; without it, one that says it is a test.
        #[arg(long, value_name = "FILE")]
        event: Option<PathBuf>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Ask the function what a setting may be, with the destination's settings and secrets.
    Choices {
        /// Its id, `dst_…`.
        id: String,
        /// The setting's name.
        setting: String,
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Switch a destination on, or let a paused one go on.
    Enable {
        /// Its id, `dst_…`.
        id: String,
        /// Test it first, and leave it as it is if the partner does not take the test event.
        #[arg(long)]
        test: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Let a destination's events wait; nothing is lost, and `destination enable` lets them go on.
    Pause {
        /// Its id, `dst_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Switch a destination off: what comes is filtered and counted, and what it already owes waits.
    Disable {
        /// Its id, `dst_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a destination. What is pending is filtered, and counted as such.
    Delete {
        /// Its id, `dst_…`.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// A limit of the customer's own. It tightens the partner's and cannot loosen it.
#[derive(clap::Args)]
pub(super) struct RateArgs {
    /// At most this many requests to the partner in a second.
    #[arg(long, value_name = "NUMBER")]
    requests_per_s: Option<f64>,
    /// At most this many events in a second.
    #[arg(long, value_name = "NUMBER")]
    events_per_s: Option<f64>,
    /// How many may begin at once after a pause; without it a second's worth.
    #[arg(long, value_name = "NUMBER")]
    burst: Option<u32>,
}

impl RateArgs {
    /// The limit, if one was given.
    fn read(&self) -> Option<Value> {
        let rate = changes([
            ("requests_per_s", self.requests_per_s.map(Value::from)),
            ("events_per_s", self.events_per_s.map(Value::from)),
            ("burst", self.burst.map(Value::from)),
        ]);
        rate.as_object().is_some_and(|rate| !rate.is_empty()).then_some(rate)
    }
}

/// What a file is called in messages.
pub(super) fn named(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { format!("`{}`", file.display()) }
}

/// The text of a file, or of standard input for `-`.
pub(super) fn text(file: &PathBuf) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("standard input cannot be read");
    }
    std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))
}

/// The JSON object in a file.
pub(super) fn json_object(file: &PathBuf) -> anyhow::Result<Map<String, Value>> {
    serde_json::from_str(&text(file)?).with_context(|| format!("{} is not a JSON object", named(file)))
}

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("name", "/name"),
    ("function", "/function"),
    ("enabled", "/enabled"),
    ("paused", "/paused"),
    ("updated", "/updated_at"),
];

pub(super) async fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    match command {
        Command::Create { name, function, pin, off, dry_run, settings, rate, server } => {
            let client = Client::new(server)?;
            let settings = settings.read(Schema::Function(&client, &function, pin.as_deref())).await?;
            let version = pin.clone();
            if dry_run {
                access(&client, &function, version.as_deref(), format).await?;
            }
            let checked = dry_run && settings.is_some();
            let body = changes([
                ("name", Some(Value::from(name))),
                ("function", Some(Value::from(function))),
                ("pinned", pin.map(Value::from)),
                ("enabled", off.then_some(Value::from(false))),
                ("settings", settings),
                ("rate", rate.read()),
            ]);
            match (dry_run, checked) {
                (false, _) => print::one(format, &client.post("/api/v1/destinations", &body).await?),
                (true, false) => eprintln!("nothing was made: leave --dry-run out to let it"),
                (true, true) => {
                    client.post("/api/v1/destinations?dry_run=true", &body).await?;
                    eprintln!("the settings fit, and nothing was made: leave --dry-run out to let it");
                }
            }
        }
        Command::List { page: args, server } => {
            let answer = Client::new(server)?.get(&format!("/api/v1/destinations{}", args.query())).await?;
            page(format, &answer, COLUMNS);
        }
        Command::Show { id, server } => show(&Client::new(server)?, &id, format).await?,
        Command::Consent { id, server } => {
            let client = Client::new(server)?;
            let before = client.get(&at(&id)).await?;
            print::one(format, &client.patch(&at(&id), &json!({"consent": true})).await?);
            for sentence in before["asks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                eprintln!("agreed: {sentence}");
            }
            if before["held"].is_null() {
                eprintln!("there was nothing to agree to: {id} runs the version that it is to run");
            }
        }
        Command::Update { id, name, enabled, pin, follow, consent, settings, rate, no_rate, server } => {
            let client = Client::new(server)?;
            let (all, some) = match settings.read(Schema::Destination(&client, &id)).await? {
                Changes::None => (None, None),
                Changes::All(settings) => (Some(Value::Object(settings)), None),
                Changes::Some(settings) => (None, Some(Value::Object(settings))),
            };
            let body = changes([
                ("name", name.map(Value::from)),
                ("pinned", pin.map(Value::from).or(follow.then_some(Value::Null))),
                ("enabled", enabled.map(Value::from)),
                ("consent", consent.then_some(Value::from(true))),
                ("settings", all),
                ("settings_patch", some),
                ("rate", if no_rate { Some(Value::Null) } else { rate.read() }),
            ]);
            anyhow::ensure!(
                body != json!({}),
                "nothing of {id} is to be changed: say what, as with `--set name=value`; `tidegate destination update --help` \
                 lists what can be"
            );
            print::one(format, &client.patch(&at(&id), &body).await?);
        }
        Command::Test { id, event, server } => {
            let tested = test(&Client::new(server)?, &id, event.as_ref()).await?;
            print::json(&tested["report"]);
            return Ok(u8::from(tested["ok"] != true));
        }
        Command::Choices { id, setting, settings, server } => {
            let client = Client::new(server)?;
            let settings = settings.read(Schema::Destination(&client, &id)).await?;
            let body = changes([("setting", Some(Value::from(setting))), ("settings", settings)]);
            print_choices(format, &client.post(&format!("{}/choices", at(&id)), &body).await?);
        }
        Command::Enable { id, test: first, server } => {
            let client = Client::new(server)?;
            if first {
                let tested = test(&client, &id, None).await?;
                let outcome = &tested["report"]["outcome"];
                let said = |name: &str| outcome[name].as_str().unwrap_or_default();
                let (code, message) = (said("code"), said("message"));
                anyhow::ensure!(
                    tested["ok"] == true,
                    "the test event was not taken, and {id} stays as it is: {message} ({code}); \
                     `tidegate destination test {id}` shows all of it"
                );
            }
            print::one(format, &client.patch(&at(&id), &json!({"enabled": true, "paused": false})).await?);
        }
        Command::Pause { id, server } => {
            print::one(format, &Client::new(server)?.patch(&at(&id), &json!({"paused": true})).await?);
        }
        Command::Disable { id, server } => {
            print::one(format, &Client::new(server)?.patch(&at(&id), &json!({"enabled": false})).await?);
        }
        Command::Delete { id, server } => {
            Client::new(server)?.delete(&format!("/api/v1/destinations/{}", encode(&id))).await?;
            eprintln!("deleted {id}");
        }
    }
    Ok(0)
}

/// What a setting may be.
pub(super) fn print_choices(format: Format, answer: &Value) {
    let rows = answer["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    print::list(format, answer, rows, &[("value", "/value"), ("label", "/label")]);
}

/// Says what a function may do.
async fn access(client: &Client, function: &str, version: Option<&str>, format: Format) -> anyhow::Result<()> {
    let version = version.map(|version| format!("?version={}", encode(version))).unwrap_or_default();
    let access = client.get(&format!("/api/v1/functions/{}/access{version}", encode(function))).await?;
    match format {
        Format::Json => print::json(&access),
        Format::Table => print::sentences(&format!("What {function} may do:"), &access["sentences"]),
    }
    Ok(())
}

/// Shows a destination, and what its customer is asked.
async fn show(client: &Client, id: &str, format: Format) -> anyhow::Result<()> {
    let shown = client.get(&at(id)).await?;
    print::one(format, &shown);
    if !shown["held"].is_null() {
        eprintln!("it stays on an older version, for the current one may do more: tidegate destination consent {id}");
    }
    Ok(())
}

fn at(id: &str) -> String {
    format!("/api/v1/destinations/{}", encode(id))
}

async fn test(client: &Client, id: &str, event: Option<&PathBuf>) -> anyhow::Result<Value> {
    let event = event.map(json_object).transpose()?.map(Value::Object);
    client.post(&format!("{}/test", at(id)), &changes([("event", event)])).await
}
