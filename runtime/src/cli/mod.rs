//! The command line: one file for each noun. Data goes to stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 misuse, 3 the host refused, 64 bad configuration.

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::app;
use crate::config::Config;
use crate::slices;

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
mod profile;
mod profiles;
mod progress;
mod push;
mod replay;
mod review;
mod serve;
mod settings;
mod signing;
mod source;
mod suppression;
mod target;
mod tenant;
mod vault;
mod watch;
mod wish;
mod worker;

/// Runs partner-written destination functions in sandboxes, and delivers customers' events through them.
#[derive(Parser)]
#[command(name = "tidegate", version, max_term_width = 110, arg_required_else_help = true)]
// Read where it counts, in `target::ServerArgs` and `profile`; here it is one for all commands.
#[command(arg = clap::Arg::new("profile").long("profile").global(true).value_name("NAME")
    .help("Ask the host, and as whom, that `tidegate login` stored under this name [env: TIDEGATE_PROFILE]"))]
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
    /// Store a host's address and a key for it under a name, and use them from here on.
    ///
    /// The token comes from standard input, or is asked for without being shown; the host is asked whether it is good before it is stored, in
    /// `tidegate/profiles.toml` of your configuration folder, which nobody else may read. Flags come before the environment
    /// (TIDEGATE_SERVER, TIDEGATE_TOKEN), and that before the profile; a profile that --profile names comes before the environment too.
    Login(profile::LoginArgs),
    /// Forget a profile and its token.
    Logout(profile::LogoutArgs),
    /// Hosts and keys that `tidegate login` stored.
    #[command(subcommand)]
    Profile(profile::Command),
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
    // Before any other thread runs. Guests and compilers take it back.
    slices::short();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match command {
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::Login(args) => runtime()?.block_on(profile::login(args, output)),
        Command::Logout(args) => profile::logout(args, output),
        Command::Profile(command) => profile::run(command, output),
        Command::Serve(args) => serve::run(args),
        Command::Backup(args) => backup::backup(args, output),
        Command::Restore(args) => backup::restore(args, output),
        Command::Config(command) => config::run(command, output),
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
    egress::run(command, output, &app::egress_config(&config), async |name, server| local::manifest(name, server).await)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What is wrong with a command that a text names.
    fn flaw(root: &clap::Command, mention: &str) -> Option<String> {
        let mut command = root;
        for word in mention.split_whitespace().skip(1) {
            let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default();
                let known = command.get_arguments().any(|arg| arg.get_long() == Some(flag));
                if !known && !flag.is_empty() {
                    return Some(format!("`{}` has no --{flag}", command.get_name()));
                }
            } else if word.starts_with('{') {
                // Filled in as it is said.
                break;
            } else if let Some(found) = command.find_subcommand(name) {
                command = found;
            } else if command.has_subcommands()
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            {
                return Some(format!("`{}` has no `{name}`", command.get_name()));
            }
        }
        None
    }

    #[test]
    fn every_command_and_flag_that_a_text_names_is_there() {
        let mut root = Cli::command();
        root.build();
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut folders, mut files) = (vec![here.join("src"), here.join("templates")], vec![]);
        files
            .extend(["../README.md", "README.md", "SECURITY.md", "../guest-sdk/README.md"].map(|file| here.join(file)));
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        let (mut seen, mut wrong) = (0, Vec::new());
        for file in files {
            // A text that goes on in the next line of the source is one text.
            let text = std::fs::read_to_string(&file).unwrap().replace("\\\n", " ");
            let lines = text.lines().map(|line| line.trim_start().trim_start_matches(['/', '!', ' ']));
            let text = lines.collect::<Vec<_>>().join(" ");
            for (at, _) in text.match_indices(concat!('`', "tidegate ")) {
                let Some(mention) = text[at + 1..].split('`').next() else { continue };
                // What is signed begins like a command and is none.
                if mention.starts_with("tidegate function signature ") {
                    continue;
                }
                seen += 1;
                wrong.extend(flaw(&root, mention).map(|flaw| format!("{}: `{mention}`: {flaw}", file.display())));
            }
        }
        assert!(seen > 50, "{seen} mentions");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(flaw(&root, "tidegate key revoke --consent").is_some() && flaw(&root, "tidegate nothing").is_some());
    }
}
