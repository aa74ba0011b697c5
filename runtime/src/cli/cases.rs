//! `tidegate function test`: a function's cases in the real sandbox, without a server.

use std::path::PathBuf;

use anyhow::ensure;
use serde_json::{Value, json};

use super::local::{self, Local, Run};
use super::once::passage;
use super::print::{self, Format};
use crate::catalog::cases::{self, Case};
use crate::clock::Clock;
use crate::model::Timestamp;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The function's folder, with its `cases/`.
    dir: PathBuf,
    /// Take this component instead of building the folder.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Only cases whose file name or name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// The moment that cases run at, so that what a function makes of the time can be expected: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The randomness that cases run with.
const SEED: u64 = 1;

pub(super) async fn run(args: Args, format: Format) -> anyhow::Result<u8> {
    let folder = args.dir.join("cases");
    let mut all = cases::load(&folder)?;
    ensure!(!all.is_empty(), "there are no cases in `{}`: add a JSON file for each", folder.display());
    if let Some(only) = &args.only {
        all.retain(|(file, case)| file.display().to_string().contains(only) || case.name.contains(only));
        ensure!(!all.is_empty(), "no case in `{}` matches `{only}`", folder.display());
    }
    let local = Local::load(local::component(args.component.as_ref().unwrap_or(&args.dir)).await?).await?;
    let mut results = Vec::new();
    for (file, case) in &all {
        let differences = match report(&local, case).await {
            Ok(report) => case.differences(&report),
            Err(error) => vec![format!("{error:#}")],
        };
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if format == Format::Table {
            let mark = if differences.is_empty() { "ok    " } else { "FAILED" };
            println!("{mark}  {name}: {}", case.name);
            differences.iter().for_each(|difference| println!("        {}", difference.replace('\n', "\n        ")));
        }
        results.push(
            json!({ "file": name, "name": case.name, "passed": differences.is_empty(), "differences": differences }),
        );
    }
    let failed = results.iter().filter(|result| result["passed"] == false).count();
    match format {
        Format::Json => print::json(&Value::Array(results)),
        Format::Table => println!("\n{} passed, {failed} failed", all.len() - failed),
    }
    Ok(u8::from(failed > 0))
}

async fn report(local: &Local, case: &Case) -> anyhow::Result<Value> {
    let clock = Clock::Fixed(NOW);
    let given = case.events.clone().unwrap_or_else(|| case.event.iter().cloned().collect());
    let events =
        given.into_iter().map(|event| local::event(&Value::Object(event), clock)).collect::<anyhow::Result<_>>()?;
    let answers = Value::from(case.answers.clone()).to_string();
    let passage = passage(local, &case.settings, &[], Some(&answers))?;
    local.run(Run { events, batch: case.events.is_some(), passage, clock, seed: Some(SEED) }).await
}
