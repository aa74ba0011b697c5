//! `tidegate function run`: one invocation in the real sandbox, without a server, or on one with `--remote`.
//!
//! The exit code says whether the function ran and the report was printed; how it ended is in the report.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use super::destination::{json_object, text};
use super::local::{self, Local, Passage, Run};
use super::print;
use crate::clock::Clock;
use crate::egress::{Answers, EgressConfig, Gate, Grant, GrantedGate, HandleKey, Outlet, Secrets};
use crate::model::{Bind, Timestamp};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A folder or a JavaScript file, which is built first, or a component; with --remote a function's name or id.
    path: PathBuf,
    /// Run what the host has under this name, in the host's sandbox, through its gate and within its limits. No delivery is
    /// touched.
    #[arg(long, conflicts_with = "allow")]
    remote: bool,
    /// Run this version of it, by id or by its own text, instead of the current one.
    #[arg(long, value_name = "VERSION", requires = "remote")]
    version: Option<String>,
    /// A file with the event, or with a JSON array of events for the batch handler; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// A file with the customer's settings, a JSON object.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// A file with a JSON array of answers, used in order: `{"status":200,"headers":{},"body":…}` or
    /// `{"error":"connection refused"}`; when it is used up, `200 {}`. Without it requests really go out.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Allow this origin too, for this run only. An address of this machine, such as http://127.0.0.1:9000, must be
    /// named here to be reachable.
    #[arg(long, value_name = "ORIGIN")]
    allow: Vec<String>,
    /// Fix the guest's clock, RFC 3339.
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Fix the guest's randomness.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: Args) -> anyhow::Result<u8> {
    let clock = args.now.map_or(Clock::System, Clock::Fixed);
    let given: Value = serde_json::from_str(&text(&args.event)?)
        .map_err(|error| Exit::Misuse(format!("`{}` is not JSON: {error}", args.event.display())))?;
    if args.remote {
        return remote(args, given).await;
    }
    let (events, batch) = match given {
        Value::Array(events) => (events, true),
        event => (vec![event], false),
    };
    let events = events.iter().map(|json| local::event(json, clock)).collect::<anyhow::Result<Vec<_>>>();
    let events = events.map_err(|error| Exit::Misuse(format!("{error:#}")))?;
    let settings = args.settings.as_ref().map(json_object).transpose()?.unwrap_or_default();
    let answers = args.answers.as_ref().map(text).transpose()?;
    let local = Local::load(local::component(&args.path).await?).await?;
    let passage = passage(&local, &settings, &args.allow, answers.as_deref())?;
    let run = Run { events, batch, passage, clock, seed: args.seed };
    print::json(&local.run(run).await?);
    Ok(0)
}

/// The same on a host.
async fn remote(args: Args, given: Value) -> anyhow::Result<u8> {
    let mut body = Map::new();
    body.insert(if given.is_array() { "events" } else { "event" }.to_owned(), given);
    if let Some(settings) = &args.settings {
        body.insert("settings".to_owned(), Value::Object(json_object(settings)?));
    }
    if let Some(answers) = &args.answers {
        let list: Value = serde_json::from_str(&text(answers)?)
            .map_err(|error| Exit::Misuse(format!("`{}` is not JSON: {error}", answers.display())))?;
        body.insert("answers".to_owned(), list);
    }
    let others =
        [("version", args.version.map(Value::from)), ("now", args.now.map(|now| Value::from(now.to_string())))];
    let others = others.into_iter().chain([("seed", args.seed.map(Value::from))]);
    body.extend(others.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let path = format!("/api/v1/functions/{}/test", encode(&args.path.to_string_lossy()));
    print::json(&Client::new(args.server).post(&path, &Value::Object(body)).await?);
    Ok(0)
}

/// What the run sends through: canned answers, or the real gate. Either way the manifest and `--allow` say what may be
/// reached, and nothing of this machine is reachable that `--allow` does not name. Secrets go to what `--allow` names in the places that the manifest binds them to.
pub(super) fn passage(
    local: &Local,
    settings: &Map<String, Value>,
    allow: &[String],
    answers: Option<&str>,
) -> anyhow::Result<Passage> {
    let mut origins = local.manifest.egress.allow.clone();
    origins.extend_from_slice(allow);
    let mut settings = local.settings(settings)?;
    let grant = Grant::new(&origins, &settings, "local")?;
    let mut manifest = local.manifest.clone();
    for setting in manifest.settings.values_mut() {
        let own = setting.bind.clone();
        let also = |origin: &String| {
            own.iter().map(|bind| Bind { origin: origin.clone(), ..bind.clone() }).collect::<Vec<_>>()
        };
        setting.bind.extend(allow.iter().flat_map(also));
    }
    let secrets = Secrets::take(&manifest, &mut settings, "local", &HandleKey::fixed())?;
    let own = |origin: &String| origin.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse().ok());
    let config = EgressConfig { allow_addresses: allow.iter().filter_map(own).collect(), ..EgressConfig::default() };
    let gate = Gate::new(&config)?;
    let outlet: Arc<dyn Outlet> = match answers {
        Some(answers) => {
            let answers = Answers::parse(answers).map_err(|error| Exit::Misuse(error.to_string()))?;
            Arc::new(Answers::new(answers, grant, gate.reach().clone(), secrets.clone())?)
        }
        None => Arc::new(GrantedGate::new(Arc::new(gate), grant, secrets.clone())),
    };
    Ok(Passage { outlet, settings, secrets })
}
