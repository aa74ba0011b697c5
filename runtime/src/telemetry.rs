//! Telemetry: how the host speaks of itself.
//!
//! Guarantees: log lines go to stderr, so that stdout carries data only.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Starts the process's log. The first call holds; a test or an embedding program may have started one before.
///
/// # Errors
///
/// `log.level` is neither a level nor directives.
pub fn start(config: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&config.level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // Fails only if a log is running already.
    drop(started);
    Ok(())
}
