//! Before any event: a folder with `handler.py` becomes a component, by componentize-py.
//!
//! Guarantees: the toolchain gets this host's contract and WASI's HTTP, and nothing has to be beside the source.
//! Leaves to others: the manifest (`build`), what the component may do (`inspect`, the sandbox).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::{BuildError, io};
use super::component::WIT;

/// The file of a function in Python.
pub(super) const MODULE: &str = "handler.py";

/// Where a folder has its own packages: the toolchain, and libraries that the function imports.
const ENVIRONMENT: &str = ".venv";

/// The toolchain that functions are tried with.
const TOOLCHAIN: &str = "componentize-py==0.25.1";

/// Its program.
const PROGRAM: &str = "componentize-py";

/// The world of a function in Python: the contract's, and of WASI what `wasi:http/outgoing-handler` is made of. The
/// interfaces are those of <https://github.com/WebAssembly/WASI>, without their documentation.
const WORLD: &str = include_str!("python.wit");

/// Both worlds have an interface `types`. The toolchain's own helpers look for WASI's under that name.
const NAMES: [&str; 2] = ["wasi:http/types@0.2.12=types", "tidegate:destination/types@0.1.0=destination"];

/// Builds a folder's `handler.py`; some ten seconds. What the toolchain says goes to standard error.
///
/// # Errors
/// The toolchain is not there, or refuses.
pub(super) fn component(folder: &Path) -> Result<Vec<u8>, BuildError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = program(folder, &path).ok_or(BuildError::NoPython { toolchain: TOOLCHAIN })?;
    let work = tempfile::tempdir().map_err(io(Path::new("the folder for temporary files")))?;
    let (wit, code, out) = (work.path().join("wit"), work.path().join("code"), work.path().join("function.wasm"));
    let write = |file: PathBuf, text: &str| fs::write(&file, text).map_err(io(&file));
    fs::create_dir_all(wit.join("deps")).map_err(io(&wit))?;
    write(wit.join("python.wit"), WORLD)?;
    write(wit.join("deps/destination.wit"), WIT)?;
    // Python leaves what it compiled beside what it imported.
    copy(folder, &code)?;
    let mut componentize = Command::new(&program);
    componentize.arg("--quiet").arg("--wit-path").arg(&wit).args(["--world", "function"]);
    componentize.args(NAMES.iter().flat_map(|name| ["--import-interface-name", name]));
    componentize.args(["componentize", MODULE.trim_end_matches(".py"), "--python-path"]).arg(&code);
    componentize.arg("--output").arg(&out).current_dir(&code).stdin(Stdio::null()).stdout(Stdio::null());
    let environment = folder.join(ENVIRONMENT);
    if environment.is_dir() {
        componentize.env("VIRTUAL_ENV", environment);
    }
    let status = componentize.status().map_err(io(&program))?;
    if !status.success() {
        return Err(BuildError::Python { folder: folder.display().to_string(), status });
    }
    fs::read(&out).map_err(io(&out))
}

/// Everything but what Python, versioning and tests have in a folder.
fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(to).map_err(io(to))?;
    for entry in fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let shown = name.to_string_lossy();
        // A link to a folder could lead back here.
        let folder = entry.file_type().map_err(io(&path))?.is_dir();
        if folder && !shown.starts_with('.') && !["__pycache__", "cases"].contains(&&*shown) {
            copy(&path, &to.join(&name))?;
        } else if path.is_file() {
            fs::copy(&path, to.join(&name)).map_err(io(&path))?;
        }
    }
    Ok(())
}

/// The toolchain in the folder's own environment, else the one on this path.
fn program(folder: &Path, path: &OsStr) -> Option<PathBuf> {
    let places = [folder.join(ENVIRONMENT).join("bin")].into_iter().chain(std::env::split_paths(path));
    places.map(|place| place.join(PROGRAM)).find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        folder
    }

    #[test]
    fn the_folders_own_toolchain_comes_before_the_one_on_the_path() {
        let (own, other) = (with(&[".venv/bin/componentize-py"]), with(&["componentize-py"]));
        let path = other.path().as_os_str();
        assert_eq!(program(own.path(), path), Some(own.path().join(".venv/bin/componentize-py")));
        assert_eq!(program(with(&[]).path(), path), Some(other.path().join("componentize-py")));
        assert_eq!(program(with(&[]).path(), OsStr::new("")), None);
        let message = BuildError::NoPython { toolchain: TOOLCHAIN }.to_string();
        assert!(message.contains(".venv/bin/pip install componentize-py==0.25.1"), "{message}");
    }

    #[test]
    fn what_is_built_is_the_code_and_nothing_beside_it() {
        let (folder, to) =
            (with(&["handler.py", "lib/a.py", ".venv/x", "cases/c.json", "lib/__pycache__/a.pyc"]), with(&[]));
        copy(folder.path(), to.path()).unwrap();
        let there = |file: &str| to.path().join(file).exists();
        assert!(there("handler.py") && there("lib/a.py"));
        assert!(!there(".venv") && !there("cases") && !there("lib/__pycache__"));
    }
}
