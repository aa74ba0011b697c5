//! Every folder below `functions/` becomes one component below `target/`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::at;
use crate::debian::entries;
use crate::{Error, process};

/// The file that makes a function one in Python.
const PYTHON: &str = "handler.py";

/// Builds them all and says in which folder they are; those in Python only if `python`, the folder of their toolchain's
/// program, is given.
///
/// Each is built every time: only cargo knows whether one is up to date, and it takes a moment to say so. One in Python
/// takes ten seconds, and is built when its own files or the contract have changed.
pub fn build(
    root: &Path,
    target: &Path,
    tidegate: &Path,
    guest_rustc: &Path,
    python: Option<&Path>,
) -> Result<PathBuf, Error> {
    let built = target.join("debug/functions");
    fs::create_dir_all(&built).map_err(at(&built))?;
    let mut folders = entries(&root.join("functions"))?;
    folders.sort();
    for folder in folders.into_iter().filter(|folder| folder.join("function.toml").is_file()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let component = built.join(format!("{name}.wasm"));
        let mut build = Command::new(tidegate);
        build.args(["function", "build"]).arg(&folder).arg("-o").arg(&component);
        build.env("TIDEGATE_GUEST_RUSTC", guest_rustc);
        let mut stamp = None;
        if folder.join(PYTHON).is_file() {
            let Some(python) = python else { continue };
            let (file, now) = (component.with_extension("inputs"), inputs(root, &folder)?);
            if component.is_file() && fs::read(&file).is_ok_and(|then| then == now) {
                continue;
            }
            build.env("PATH", first_on_path(python)?);
            stamp = Some((file, now));
        }
        process::say(&format!("building the function {name}"));
        process::run(&mut build)?;
        if let Some((file, now)) = stamp {
            fs::write(&file, now).map_err(at(&file))?;
        }
    }
    Ok(built)
}

/// All that a function in Python is made of.
fn inputs(root: &Path, folder: &Path) -> Result<Vec<u8>, Error> {
    let mut files: Vec<PathBuf> = entries(folder)?.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    files.extend([root.join("wit/destination.wit"), root.join("runtime/src/catalog/python.wit")]);
    let read = files.iter().map(|file| fs::read(file).map_err(at(file)));
    Ok(read.collect::<Result<Vec<_>, _>>()?.concat())
}

fn first_on_path(folder: &Path) -> Result<OsString, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(places).map_err(|error| format!("`{}` cannot be on the path: {error}", folder.display()))
}
