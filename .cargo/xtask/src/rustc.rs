//! Finds a rustc that can compile for wasm32-unknown-unknown, or makes one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, debian, process};

/// The target of every function.
pub const TARGET: &str = "wasm32-unknown-unknown";

const FIX: &str = "run `rustup target add wasm32-unknown-unknown` and try again";

/// The rustc for functions: the user's own if it has the target, else one that is made once and kept in the cache.
pub fn find_or_make(root: &Path) -> Result<PathBuf, Error> {
    if let Some(given) = std::env::var_os("TIDEGATE_GUEST_RUSTC") {
        return Ok(given.into());
    }
    let sysroot = process::output(Command::new("rustc").current_dir(root).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if has_target(&sysroot) {
        return Ok(sysroot.join("bin/rustc"));
    }
    let toolchain = cached_or_made(&sysroot).map_err(|error| {
        format!("no rustc here can compile for {TARGET}, and one cannot be made of Debian's packages: {error}; {FIX}")
    })?;
    Ok(toolchain.join("bin/rustc"))
}

fn has_target(sysroot: &Path) -> bool {
    let Ok(files) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd"))
}

/// One toolchain for all checkouts of a user. A run that is interrupted leaves only a folder that the next one removes.
fn cached_or_made(sysroot: &Path) -> Result<PathBuf, Error> {
    let cache = cache_folder()?;
    fs::create_dir_all(&cache).map_err(|error| format!("`{}` cannot be made: {error}", cache.display()))?;
    let lock = File::create(cache.join("guest-toolchain.lock"))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| format!("`{}` cannot be locked: {error}", cache.display()))?;
    let toolchain = match newest(&cache) {
        Some(toolchain) => toolchain,
        None => debian::make(&cache, sysroot)?,
    };
    debian::link_linker(&toolchain, sysroot)?;
    drop(lock);
    Ok(toolchain)
}

fn newest(cache: &Path) -> Option<PathBuf> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let complete = |path: &PathBuf| name(path).is_some_and(|name| name.starts_with(debian::PREFIX)) && has_target(path);
    fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).filter(complete).max()
}

/// What is made once for all checkouts of a user.
pub fn cache_folder() -> Result<PathBuf, Error> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("tidegate"))
        .ok_or_else(|| "neither `XDG_CACHE_HOME` nor `HOME` is set".to_owned())
}
