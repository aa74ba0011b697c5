//! `cargo xtask`: each command does all the set-up that a fresh machine needs, then the thing itself.
//!
//! Set-up is remembered in `target/` and in the user's cache, so that a second run goes straight to the point.
//! Progress is on stderr; stdout belongs to what is run.

mod clang;
mod clients;
mod debian;
mod engine;
mod functions;
mod process;
mod python;
mod quickjs;
mod rustc;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask demo [-- ARGS]   build everything and run `tidegate demo ARGS`
cargo xtask test [-- ARGS]   set up the stock clients and run `cargo test --workspace ARGS`
cargo xtask fuzz [-- TARGET] [--seconds N] [--seed S]
                             try the parsers that strangers reach for N seconds each, 60 by default;
                             targets are the folders of `tests/fuzz`
cargo xtask guests           only find or make the wasm target and build the functions";

/// What went wrong, for the person at the terminal, with the fix.
type Error = String;

/// What every command starts from.
struct Built {
    root: PathBuf,
    tidegate: PathBuf,
    functions: PathBuf,
    guest_rustc: PathBuf,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.skip_while(|arg| arg == "--").collect();
    let result = match command.as_str() {
        "demo" => demo(&rest),
        "test" => test(&rest),
        "fuzz" => fuzz(&rest),
        "guests" => guests(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demo(args: &[String]) -> Result<ExitCode, Error> {
    let built = build(false)?;
    process::code(Command::new(&built.tidegate).arg("demo").args(args).env("TIDEGATE_FUNCTIONS", &built.functions))
}

fn test(args: &[String]) -> Result<ExitCode, Error> {
    let built = build(true)?;
    let clients = clients::set_up(&built.root)?;
    let mut cargo = process::cargo(&built.root);
    cargo.args(["test", "--workspace"]).args(args);
    cargo.env("TIDEGATE_BIN", &built.tidegate).env("TIDEGATE_FUNCTIONS", &built.functions);
    cargo.env("TIDEGATE_GUEST_RUSTC", &built.guest_rustc).env("TIDEGATE_CLIENTS", clients);
    process::code(&mut cargo)
}

/// The targets of `cargo xtask test`, for longer.
fn fuzz(args: &[String]) -> Result<ExitCode, Error> {
    let root = root()?;
    let mut cargo = process::cargo(root);
    cargo.args(["test", "--workspace", "--test", "it", "--", "--nocapture", "--test-threads=1"]);
    let (mut seconds, mut target, mut rest) = ("60", "", args.iter());
    while let Some(arg) = rest.next() {
        let mut number = |name: &str| match rest.next().filter(|text| text.parse::<u64>().is_ok()) {
            Some(text) => Ok(text.as_str()),
            None => Err(format!("`{name}` takes a number\n{USAGE}")),
        };
        match arg.as_str() {
            "--seconds" => seconds = number(arg)?,
            "--seed" => drop(cargo.env("TIDEGATE_FUZZ_SEED", number(arg)?)),
            name if root.join("tests/fuzz").join(name).is_dir() => target = name,
            other => return Err(format!("`{other}` is no folder of `tests/fuzz`\n{USAGE}")),
        }
    }
    cargo.arg(format!("fuzz::{target}")).env("TIDEGATE_FUZZ_SECONDS", seconds);
    process::code(&mut cargo)
}

fn guests() -> Result<ExitCode, Error> {
    let built = build(true)?;
    println!("TIDEGATE_GUEST_RUSTC={}", built.guest_rustc.display());
    println!("TIDEGATE_FUNCTIONS={}", built.functions.display());
    Ok(ExitCode::SUCCESS)
}

fn root() -> Result<&'static Path, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.ok_or_else(|| "xtask lives in `.cargo/xtask`".to_owned())
}

/// The host's binary and every function as a component; those in Python, whose toolchain is to be fetched, only if asked.
fn build(python: bool) -> Result<Built, Error> {
    let root = root()?;
    let guest_rustc = rustc::find_or_make(root)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    engine::build(root, &target, &guest_rustc)?;
    process::say("building tidegate (minutes the first time, seconds later)");
    // The whole workspace is selected so that dependencies get the features that the tests give them, and compile once.
    process::run(process::cargo(root).args(["build", "--workspace", "--bin", "tidegate"]))?;
    let tidegate = target.join("debug/tidegate");
    let python = python.then(|| python::toolchain(root, &target)).transpose()?;
    let functions = functions::build(root, &target, &tidegate, &guest_rustc, python.as_deref())?;
    Ok(Built { root: root.to_owned(), tidegate, functions, guest_rustc })
}
