//! `tidegate serve`: the host.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::Exit;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::hardening::{self, Wanted};
use crate::shutdown;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration; `tidegate config show` prints every option with its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, instead of the configuration's `data_dir`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs on the process's only thread: what that gives up here, the threads that it starts have not.
pub(super) fn run(args: Args) -> anyhow::Result<u8> {
    let mut config =
        Config::from_process(args.config.as_deref()).map_err(|error| Exit::BadConfig(error.to_string()))?;
    if let Some(data) = args.data {
        config.data_dir = data;
    }
    super::log::start(&config.log).map_err(|error| Exit::BadConfig(error.to_string()))?;
    let made = std::fs::create_dir_all(&config.data_dir);
    made.with_context(|| format!("the data directory `{}` cannot be made", config.data_dir.display()))?;
    let wanted = Wanted { landlock: config.hardening.landlock, seccomp: config.hardening.seccomp };
    // A new master key is written beside the old one.
    let keys = config.store.key_file.as_deref().and_then(Path::parent).filter(|folder| folder.is_dir());
    let folders: Vec<&Path> = keys.into_iter().chain([config.data_dir.as_path()]).collect();
    for gap in hardening::serving(wanted, &folders) {
        tracing::warn!("{gap}; the host goes on without it (`[hardening]` says what it is for)");
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<u8> {
    let stop = shutdown::on_signal()?;
    let app = App::start(&config, Clock::System).await?;
    let mut ready = json!({ "ready": true, "listen": app.listen, "admin_listen": app.admin_listen });
    if let Some(token) = &app.operator_token {
        ready["operator_token"] = json!(token);
        eprintln!(
            "This is the operator's key. It is shown this once, and stored nowhere: export TIDEGATE_TOKEN={token}"
        );
    }
    println!("{ready}");
    app.run(stop).await?;
    Ok(0)
}
