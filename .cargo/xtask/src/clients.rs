//! The stock clients that the tests send events with: set up below `target/clients`, pinned in `tests/clients`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, process, python};

/// Sets both up, unless what is there already is of the same pins. Says in which folder they are.
pub fn set_up(root: &Path) -> Result<PathBuf, Error> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let (pins, clients) = (root.join("tests/clients"), target.join("clients"));
    fs::create_dir_all(&clients).map_err(at(&clients))?;
    once(&pins.join("node/package-lock.json"), &clients.join("node"), node)?;
    once(&pins.join("python/requirements.txt"), &clients.join("python"), stock_python)?;
    Ok(clients)
}

/// Runs `set_up(pins' folder, to)` unless `to` was completed with these very pins.
pub fn once(pins: &Path, to: &Path, set_up: fn(&Path, &Path) -> Result<(), Error>) -> Result<(), Error> {
    let stamp = to.join("set-up-with");
    let wanted = fs::read(pins).map_err(at(pins))?;
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to).map_err(at(to))?;
    }
    fs::create_dir_all(to).map_err(at(to))?;
    set_up(pins.parent().unwrap_or(pins), to)?;
    fs::write(&stamp, wanted).map_err(at(&stamp))
}

fn node(pins: &Path, to: &Path) -> Result<(), Error> {
    need("node", "nodejs")?;
    need("npm", "npm")?;
    process::say("setting up the Node client");
    for file in ["package.json", "package-lock.json"] {
        fs::copy(pins.join(file), to.join(file)).map_err(at(&pins.join(file)))?;
    }
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    process::run(Command::new("npm").args(install).current_dir(to))?;
    process::run(Command::new("node").args(["-e", "require('@segment/analytics-node')"]).current_dir(to))
}

fn stock_python(pins: &Path, to: &Path) -> Result<(), Error> {
    process::say("setting up the Python client");
    python::environment(&pins.join("requirements.txt"), to)?;
    process::run(Command::new(to.join("bin/python")).args(["-c", "import segment.analytics"]))
}

pub fn need(program: &str, package: &str) -> Result<(), Error> {
    if process::exists(program) { Ok(()) } else { install(package) }
}

pub fn install(package: &str) -> Result<(), Error> {
    process::say(&format!("installing Debian's package {package}"));
    let installed = process::apt_get().and_then(|mut apt| {
        process::run(apt.args(["install", "--yes", "--quiet=2", "--no-install-recommends", package]))
    });
    installed
        .or_else(|_| {
            // A fresh machine has no package lists yet.
            process::run(process::apt_get()?.args(["update", "--quiet=2"]))?;
            process::run(process::apt_get()?.args([
                "install",
                "--yes",
                "--quiet=2",
                "--no-install-recommends",
                package,
            ]))
        })
        .map_err(|error| format!("the tests with stock clients need `{package}`: {error}; install it and try again"))
}

pub fn at(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| format!("`{path}`: {error}")
}
