//! `tidegate backup` and `tidegate restore`: a whole host, in two commands.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Exit;
use super::print::{self, Format};
use super::progress::Progress;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{self, BackupRecord, BackupStep};

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// The folder to make. It gets everything that the data directory has, secrets included: protect it alike.
    to: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(clap::Args)]
pub(super) struct RestoreArgs {
    /// The folder that `tidegate backup` made.
    from: PathBuf,
    #[command(flatten)]
    data: DataArgs,
}

/// Which data directory.
#[derive(clap::Args)]
struct DataArgs {
    /// The configuration; `tidegate config show` prints every option with its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, instead of the configuration's `data_dir`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArgs {
    fn dir(self) -> anyhow::Result<PathBuf> {
        if let Some(data) = self.data {
            return Ok(data);
        }
        let config = Config::from_process(self.config.as_deref());
        Ok(config.map_err(|error| Exit::BadConfig(error.to_string()))?.data_dir)
    }
}

pub(super) fn backup(args: BackupArgs, format: Format) -> anyhow::Result<u8> {
    let data = args.data.dir()?;
    let record = watched(format, |tell| store::backup(&data, &args.to, Clock::System.now(), tell))?;
    show(&record, &args.to, format);
    Ok(0)
}

pub(super) fn restore(args: RestoreArgs, format: Format) -> anyhow::Result<u8> {
    let data = args.data.dir()?;
    let record = watched(format, |tell| store::restore(&args.from, &data, tell))?;
    show(&record, &data, format);
    eprintln!("tidegate serve --data {} starts it; functions are compiled anew as they are used", data.display());
    Ok(0)
}

/// Shows how far it is while it is done.
fn watched<T>(format: Format, work: impl FnOnce(&mut dyn FnMut(BackupStep)) -> T) -> T {
    let progress = Progress::new(format);
    let mut before = None;
    let done = work(&mut |step| {
        match step {
            BackupStep::Database => progress.awaits("reading the database"),
            BackupStep::Check => progress.awaits("checking what was restored"),
            BackupStep::Copied { done, total } => {
                if !matches!(before, Some(BackupStep::Copied { .. })) {
                    progress.bytes("copying", total);
                }
                progress.moved(done);
            }
        }
        before = Some(step);
    });
    progress.done();
    done
}

fn show(record: &BackupRecord, folder: &Path, format: Format) {
    let (files, bytes) = (record.files.len(), record.bytes());
    print::one(
        format,
        &json!({ "folder": folder.display().to_string(), "made_at": record.made_at, "files": files, "bytes": bytes }),
    );
}
