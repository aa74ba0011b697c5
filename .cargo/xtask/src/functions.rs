//! Every folder below `functions/` becomes one component below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, process};

/// Builds them all and says in which folder they are.
///
/// Each is built every time: only cargo knows whether one is up to date, and it takes a moment to say so.
pub fn build(root: &Path, target: &Path, tidegate: &Path, guest_rustc: &Path) -> Result<PathBuf, Error> {
    let built = target.join("debug/functions");
    fs::create_dir_all(&built).map_err(|error| format!("`{}` cannot be made: {error}", built.display()))?;
    let folders = fs::read_dir(root.join("functions")).map_err(|error| format!("`functions/`: {error}"))?;
    let mut folders: Vec<PathBuf> = folders.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders.into_iter().filter(|folder| folder.join("function.toml").is_file()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        process::say(&format!("building the function {name}"));
        let mut build = Command::new(tidegate);
        build.args(["function", "build"]).arg(&folder).arg("-o").arg(built.join(format!("{name}.wasm")));
        process::run(build.env("TIDEGATE_GUEST_RUSTC", guest_rustc))?;
    }
    Ok(built)
}
