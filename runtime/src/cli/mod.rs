//! The command line: one file for each noun. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 misuse, 3 the host refused, 64 bad configuration.

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::app;
use crate::config::Config;

mod audit;
mod backup;
mod bench;
mod bench_delivery;
mod bench_hostile;
mod bench_idle;
mod bench_path;
mod bench_push;
mod bench_replay;
mod bench_restart;
mod bench_stock;
mod cases;
mod client;
mod config;
mod connection;
mod delivery;
mod demo;
mod destination;
mod egress;
mod event;
mod function;
mod key;
mod ledger;
mod lifecycle;
mod link;
mod local;
mod log;
mod logs;
mod new;
mod once;
mod partner;
mod print;
mod push;
mod replay;
mod review;
mod serve;
mod signing;
mod source;
mod suppression;
mod tenant;
mod vault;
mod watch;
mod wish;
mod worker;

/// Runs partner-written destination functions in sandboxes, and delivers customers' events through them.
#[derive(Parser)]
#[command(name = "tidegate", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    /// How to print data.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: print::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole thing on this machine, with nothing set up.
    Demo(demo::Args),
    /// Run the host.
    Serve(serve::Args),
    /// Copy a host's data directory into a folder, also while the host runs.
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup.
    Restore(backup::RestoreArgs),
    /// Look at the effective configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Build, test, upload and release functions.
    #[command(subcommand)]
    Function(function::Command),
    /// What partners submitted, and what becomes of it.
    #[command(subcommand)]
    Review(review::Command),
    /// Users of whom nothing is taken in or delivered any more.
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// Destinations that customers miss.
    #[command(subcommand)]
    Wish(wish::Command),
    /// Customers' tenants.
    #[command(subcommand)]
    Workspace(tenant::WorkspaceCommand),
    /// Who publishes functions.
    #[command(subcommand)]
    Partner(tenant::Command),
    /// Who may call the control API.
    #[command(subcommand)]
    Key(key::Command),
    /// With what a partner signs uploads.
    #[command(subcommand)]
    SigningKey(signing::Command),
    /// Let somebody without a key into a workspace for a while.
    #[command(subcommand)]
    Link(link::Command),
    /// Who changed what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// The keys that secret settings and events are stored with.
    #[command(subcommand)]
    Vault(vault::Command),
    /// Where events enter.
    #[command(subcommand)]
    Source(source::Command),
    /// Configured uses of functions.
    #[command(subcommand)]
    Destination(destination::Command),
    /// Which source feeds which destination.
    #[command(subcommand)]
    Connection(connection::Command),
    /// Send events as a client would.
    #[command(subcommand)]
    Event(event::Command),
    /// What is owed to destinations, and what became of it.
    #[command(subcommand)]
    Delivery(delivery::Command),
    /// Give back what was given up, or send once more what was delivered.
    #[command(subcommand)]
    Replay(replay::Command),
    /// Count accepted, delivered, filtered, dead and pending deliveries.
    Ledger(ledger::Args),
    /// Ask the gate whom a function may reach.
    #[command(subcommand)]
    Egress(egress::Command),
    /// Measure this host on this machine.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Check and compile one upload, for the host that starts this.
    #[command(hide = true)]
    CompileWorker(worker::Args),
    /// Write a manual page for each command into a folder, for `man`.
    Man {
        /// The folder; it is made if there is none. Often `~/.local/share/man/man1`.
        dir: std::path::PathBuf,
    },
    /// Print the completion script of a shell.
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

/// An error whose exit code is not 1.
#[derive(Debug, thiserror::Error)]
enum Exit {
    /// The command line asks for something impossible.
    #[error("{0}")]
    Misuse(String),
    /// The host said no: authorisation or a limit.
    #[error("{0}")]
    Refused(String),
    /// The configuration is wrong.
    #[error("{0}")]
    BadConfig(String),
}

/// The process's exit code for this error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Exit::Misuse(_)) => 2,
        Some(Exit::Refused(_)) => 3,
        Some(Exit::BadConfig(_)) => 64,
        None => 1,
    }
}

/// Parses the process's arguments and runs the command.
///
/// # Errors
///
/// The thing asked for failed; [`exit_code`] says how the process should end.
pub fn run() -> anyhow::Result<u8> {
    let Cli { output, command } = Cli::parse();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match command {
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::Serve(args) => serve::run(args),
        Command::Backup(args) => backup::backup(args, output),
        Command::Restore(args) => backup::restore(args, output),
        Command::Config(command) => config::run(command),
        Command::Function(command) => runtime()?.block_on(function::run(command, output)),
        Command::Review(command) => runtime()?.block_on(review::run(command, output)),
        Command::Suppression(command) => runtime()?.block_on(suppression::run(command, output)),
        Command::Wish(command) => runtime()?.block_on(wish::run(command, output)),
        Command::Workspace(command) => runtime()?.block_on(tenant::run_workspace(command, output)),
        Command::Partner(command) => runtime()?.block_on(tenant::run("partners", command, output)),
        Command::Key(command) => runtime()?.block_on(key::run(command, output)),
        Command::SigningKey(command) => runtime()?.block_on(signing::run(command, output)),
        Command::Link(command) => runtime()?.block_on(link::run(command, output)),
        Command::Audit(command) => runtime()?.block_on(audit::run(command, output)),
        Command::Vault(command) => runtime()?.block_on(vault::run(command, output)),
        Command::Source(command) => runtime()?.block_on(source::run(command, output)),
        Command::Destination(command) => runtime()?.block_on(destination::run(command, output)),
        Command::Connection(command) => runtime()?.block_on(connection::run(command, output)),
        Command::Event(command) => runtime()?.block_on(event::run(command, output)),
        Command::Delivery(command) => runtime()?.block_on(delivery::run(command, output)),
        Command::Replay(command) => runtime()?.block_on(replay::run(command, output)),
        Command::Ledger(args) => runtime()?.block_on(ledger::run(args, output)),
        Command::Egress(command) => runtime()?.block_on(check(command, output)),
        Command::Bench(command) => runtime()?.block_on(bench::run(command, output)),
        Command::CompileWorker(args) => worker::run(&args),
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir).with_context(|| format!("`{}` cannot be made", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), &dir)
                .with_context(|| format!("`{}` cannot be written to", dir.display()))?;
            Ok(0)
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            // Whoever reads only the beginning, as `head` does, has what they wanted.
            drop(std::io::Write::write_all(&mut std::io::stdout(), &script));
            Ok(0)
        }
    }
}

/// Hands the gate's question the operator's configuration and the way to a function's manifest.
async fn check(command: egress::Command, output: print::Format) -> anyhow::Result<u8> {
    let config = Config::from_process(None).map_err(|error| Exit::BadConfig(error.to_string()))?;
    egress::run(command, output, &app::egress_config(&config), async |name| local::manifest(name).await).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
