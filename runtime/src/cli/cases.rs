//! `tidegate function test`: a function's cases in the real sandbox, without a server; once, or after every save.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use similar::TextDiff;

use super::local::{self, Local, Run};
use super::once::passage;
use super::print::{self, Format};
use super::watch;
use crate::catalog::cases::{self, Case, NOW, SEED};
use crate::catalog::cases_write;
use crate::clock::Clock;
use crate::sandbox::Sandbox;

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
    /// Go on: build and test again whenever a file of the folder is saved, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["component", "update"])]
    watch: bool,
    /// Write what the function did into the cases that fail: their requests and outcomes. Look at the difference before
    /// you keep it.
    #[arg(long)]
    update: bool,
}

pub(super) async fn run(args: Args, format: Format) -> anyhow::Result<u8> {
    if !args.watch {
        let component = local::component(args.component.as_ref().unwrap_or(&args.dir)).await?;
        return test(&args, Local::load(component).await?, format).await;
    }
    let sandbox = Arc::new(Sandbox::for_changes()?);
    watch::after_each_save(&args.dir, async || {
        let began = Instant::now();
        let tested = async {
            let built = local::build(&args.dir).await?;
            built.findings.iter().for_each(|finding| eprintln!("{finding}"));
            test(&args, Local::load_in(&sandbox, built).await?, format).await
        };
        if let Err(error) = tested.await {
            eprintln!("{error:#}");
        }
        eprintln!("{} ms; watching `{}`, Ctrl-C ends", began.elapsed().as_millis(), args.dir.display());
    })
    .await
}

/// Runs the cases of the folder, as they are now.
async fn test(args: &Args, local: Local, format: Format) -> anyhow::Result<u8> {
    let mut results = Vec::new();
    for (file, case) in selected(args)? {
        let (differences, diff) = match report(&local, &case).await {
            Ok(report) => (case.differences(&report), compared(&file, &report, args.update)),
            Err(error) => (vec![format!("{error:#}")], Ok(String::new())),
        };
        // A case that passes is not written anew, even where it could be written otherwise.
        let diff = if differences.is_empty() { String::new() } else { diff? };
        let updated = args.update && !diff.is_empty();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let passed = differences.is_empty();
        if format == Format::Table {
            let mark = if updated {
                "wrote "
            } else if passed {
                "ok    "
            } else {
                "FAILED"
            };
            println!("{mark}  {name}: {}", case.name);
            let shown = if diff.is_empty() { differences.join("\n") } else { diff.clone() };
            shown.lines().for_each(|line| println!("        {line}"));
        }
        results.push(json!({
            "file": name, "name": case.name, "passed": passed, "updated": updated, "differences": differences, "diff": diff,
        }));
    }
    let count = |key: &str| results.iter().filter(|result| result[key] == true).count();
    let (passed, updated) = (count("passed"), count("updated"));
    let failed = results.len() - passed - updated;
    match format {
        Format::Json => print::json(&Value::Array(results)),
        Format::Table if updated > 0 => println!("\n{passed} passed, {failed} failed, {updated} written"),
        Format::Table => println!("\n{passed} passed, {failed} failed"),
    }
    Ok(u8::from(failed > 0))
}

fn selected(args: &Args) -> anyhow::Result<Vec<(PathBuf, Case)>> {
    let folder = args.dir.join("cases");
    let mut all = cases::load(&folder)?;
    ensure!(
        !all.is_empty(),
        "there are no cases in `{}`: add a JSON file for each, or let `tidegate function run … --save-case NAME` write one",
        folder.display()
    );
    if let Some(only) = &args.only {
        all.retain(|(file, case)| file.display().to_string().contains(only) || case.name.contains(only));
        ensure!(!all.is_empty(), "no case in `{}` matches `{only}`", folder.display());
    }
    Ok(all)
}

/// What would change in a case's file if it expected what the run did, and the change itself if it is wanted. Empty if
/// nothing would.
fn compared(file: &Path, report: &Value, write: bool) -> anyhow::Result<String> {
    let read = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let case: Value = serde_json::from_str(&read).with_context(|| format!("`{}` is not JSON", file.display()))?;
    let (before, after) = (cases_write::text(&case), cases_write::text(&cases_write::updated(&case, report)));
    if before == after {
        return Ok(String::new());
    }
    if write {
        std::fs::write(file, &after).with_context(|| format!("`{}` cannot be written", file.display()))?;
    }
    // Characters that a terminal acts on come from the function; JSON has none but the escaped ones.
    let diff = TextDiff::from_lines(&before, &after);
    Ok(diff.unified_diff().context_radius(2).header("expected", "found").to_string())
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
