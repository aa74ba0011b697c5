//! Python environments, each of exactly the packages that a file pins, and the one that builds functions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, clients, process};

/// The function whose pins are everybody's.
const PINS: &str = "functions/webhook-python/requirements.txt";

/// Sets up the toolchain for functions in Python, unless it is there with these pins. Says in which folder its program is.
pub fn toolchain(root: &Path, target: &Path) -> Result<PathBuf, Error> {
    let to = target.join("python-toolchain");
    fs::create_dir_all(target).map_err(clients::at(target))?;
    clients::once(&root.join(PINS), &to, |pins, to| {
        process::say("setting up the toolchain for functions in Python");
        environment(&pins.join("requirements.txt"), to)
    })?;
    Ok(to.join("bin"))
}

/// Makes an environment of what `requirements` pins.
pub fn environment(requirements: &Path, to: &Path) -> Result<(), Error> {
    clients::need("python3", "python3")?;
    let can_make = |module| process::output(Command::new("python3").args(["-c", module])).is_ok();
    if !can_make("import venv, ensurepip") {
        clients::install("python3-venv")?;
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(to))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r"];
    process::run(Command::new(to.join("bin/python")).args(install).arg(requirements))
}
