//! The `tidegate` program: parse, run, print the error chain, exit.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match tidegate::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::from(tidegate::cli::exit_code(&error))
        }
    }
}
