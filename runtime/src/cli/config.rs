//! `tidegate config`: the effective configuration.

use std::path::PathBuf;

use serde_json::json;

use super::Exit;
use super::print::{self, Format};
use crate::config::{Config, RawConfig, process_variables};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check the configuration without starting anything.
    Check(Args),
    /// Print the effective configuration as TOML, which is a file for --config; with --output json, as JSON.
    Show(Args),
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(command: Command, format: Format) -> anyhow::Result<u8> {
    let bad = |error: crate::config::ConfigError| Exit::BadConfig(error.to_string());
    let (Command::Check(args) | Command::Show(args)) = &command;
    let raw = RawConfig::read(args.config.as_deref(), process_variables()).map_err(bad)?;
    Config::try_from(raw.clone()).map_err(bad)?;
    match (command, format) {
        (Command::Check(_), Format::Json) => print::json(&json!({ "good": true })),
        (Command::Check(_), Format::Table) => eprintln!("the configuration is good"),
        (Command::Show(_), Format::Json) => print::json(&serde_json::to_value(&raw)?),
        (Command::Show(_), Format::Table) => print!("{}", raw.to_toml()),
    }
    Ok(0)
}
