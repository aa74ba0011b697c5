//! Running other programs, with errors that say which one and how it ended.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::Error;

/// One line of progress.
pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// The cargo that runs us, in the project's root.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root);
    // What cargo told this program about itself would make build scripts that look at it run again.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program; anything but success is an error.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", line(command))) }
}

/// Runs a program and ends as it ends.
pub fn code(command: &mut Command) -> Result<ExitCode, Error> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs a program for its standard output.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if !output.status.success() {
        return Err(format!("`{}` ended with {}", line(command), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program of this name is there.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// `apt-get` as whoever may install: through sudo for everybody but root.
pub fn apt_get() -> Result<Command, Error> {
    if !exists("apt-get") {
        return Err("there is no `apt-get` here".to_owned());
    }
    let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
    if is_root {
        return Ok(Command::new("apt-get"));
    }
    if !exists("sudo") {
        return Err("`apt-get` needs root, and there is no `sudo` here".to_owned());
    }
    let mut command = Command::new("sudo");
    command.arg("apt-get");
    Ok(command)
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Error {
    format!("`{}` cannot be started: {error}", line(command))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
