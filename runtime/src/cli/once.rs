//! `tidegate function run`: one invocation in the real sandbox, without a server, or on one with `--remote`.
//!
//! The exit code says whether the function ran and the report was printed; how it ended is in the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Map, Value};

use super::Exit;
use super::client::{Client, ServerArgs, encode};
use super::destination::{json_object, text};
use super::local::{self, Local, Passage, Run};
use super::print;
use crate::catalog::cases::{NOW, SEED};
use crate::catalog::cases_write;
use crate::clock::Clock;
use crate::egress::{Answers, EgressConfig, Gate, Grant, GrantedGate, HandleKey, Outlet, Secrets};
use crate::model::{Bind, Setting, Timestamp};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A folder or a script, which is built first, or a component; with --remote a function's name or id.
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
    /// Write the run into `cases/NAME.json` of the function's folder, as a case that it passes: event, settings, answers,
    /// requests and outcome. Clock and randomness are then those of `function test`, and secrets are replaced by made-up ones.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["remote", "now", "seed"])]
    save_case: Option<String>,
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
    let case = args.save_case.as_ref().map(|name| CaseFile::new(&args.path, name)).transpose()?;
    let (now, seed) = if case.is_some() { (Some(NOW), Some(SEED)) } else { (args.now, args.seed) };
    let clock = now.map_or(Clock::System, Clock::Fixed);
    let given: Value = serde_json::from_str(&text(&args.event)?)
        .map_err(|error| Exit::Misuse(format!("`{}` is not JSON: {error}", args.event.display())))?;
    if args.remote {
        return remote(args, given).await;
    }
    let (events, batch) = match &given {
        Value::Array(events) => (events.clone(), true),
        event => (vec![event.clone()], false),
    };
    let events = events.iter().map(|json| local::event(json, clock)).collect::<anyhow::Result<Vec<_>>>();
    let events = events.map_err(|error| Exit::Misuse(format!("{error:#}")))?;
    let settings = args.settings.as_ref().map(json_object).transpose()?.unwrap_or_default();
    let answers = args.answers.as_ref().map(text).transpose()?;
    let local = Local::load(local::component(&args.path).await?).await?;
    let passage = passage(&local, &settings, &args.allow, answers.as_deref())?;
    let run = Run { events, batch, passage, clock, seed };
    let report = local.run(run).await?;
    print::json(&report);
    if let Some(case) = case {
        case.write(&local, &given, &settings, answers.as_deref(), &report)?;
    }
    Ok(0)
}

/// A case that is about to be written.
struct CaseFile {
    path: PathBuf,
    name: String,
}

impl CaseFile {
    fn new(function: &Path, name: &str) -> Result<Self, Exit> {
        let folder = if function.is_dir() { Some(function) } else { function.parent() };
        let plain = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Exit::Misuse(format!("`{name}` is no name for a case: use letters, digits, `-` and `_`")));
        }
        let path = folder.unwrap_or(Path::new("")).join("cases").join(format!("{name}.json"));
        if path.exists() {
            let again = "take another name, or bring it up to date by `tidegate function test --update`";
            return Err(Exit::Misuse(format!("`{}` is there already: {again}", path.display())));
        }
        Ok(Self { path, name: name.replace(['-', '_'], " ") })
    }

    fn write(
        &self,
        local: &Local,
        given: &Value,
        settings: &Map<String, Value>,
        answers: Option<&str>,
        report: &Value,
    ) -> anyhow::Result<()> {
        let answers = answers.map(serde_json::from_str).transpose()?;
        let case = cases_write::from_run(&self.name, given, settings, answers, report);
        let secret = |(name, setting): (&String, &Setting)| {
            let value =
                settings.get(name).and_then(Value::as_str).filter(|value| setting.secret && !value.is_empty())?;
            Some((value.to_owned(), format!("{name}-for-tests")))
        };
        let secrets: Vec<_> = local.manifest.settings.iter().filter_map(secret).collect();
        let case = cases_write::without(&case, &secrets);
        let written = self.path.parent().map_or(Ok(()), std::fs::create_dir_all);
        written
            .and_then(|()| std::fs::write(&self.path, cases_write::text(&case)))
            .with_context(|| format!("`{}` cannot be written", self.path.display()))?;
        eprintln!("wrote {}", self.path.display());
        Ok(())
    }
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
    print::json(&Client::new(args.server)?.post(&path, &Value::Object(body)).await?);
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
