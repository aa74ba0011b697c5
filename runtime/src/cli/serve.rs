//! `tidegate serve`: the host.

use std::path::PathBuf;

use serde_json::json;

use super::Exit;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
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

pub(super) async fn run(args: Args) -> anyhow::Result<u8> {
    let mut config =
        Config::from_process(args.config.as_deref()).map_err(|error| Exit::BadConfig(error.to_string()))?;
    if let Some(data) = args.data {
        config.data_dir = data;
    }
    super::log::start(&config.log).map_err(|error| Exit::BadConfig(error.to_string()))?;
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
