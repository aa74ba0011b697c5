//! A C compiler for WebAssembly, which the JavaScript engine needs: the machine's own, or one of Debian's packages.
//!
//! Unpacked into the user's cache and not installed, like the compiler for functions.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::debian::{at, candidate, entries, extract, fetch, refresh, with_dependencies};
use crate::{Error, engine, process, rustc};

/// What the names of unpacked compilers begin with.
const PREFIX: &str = "guest-clang-";

/// Where an unfinished one is made.
const UNFINISHED: &str = "unfinished-guest-clang";

/// From the newest that Debian has to the oldest that the engine was tried with.
const VERSIONS: [u32; 9] = [22, 21, 20, 19, 18, 17, 16, 15, 14];

const FIX: &str = "install one, as with `apt-get install clang`, and try again";

/// The compiler to use.
pub fn find_or_make() -> Result<PathBuf, Error> {
    if let Some(given) = std::env::var_os("TIDEGATE_GUEST_CLANG") {
        return Ok(given.into());
    }
    if let Some(installed) = engine::installed() {
        return Ok(installed);
    }
    let cache = rustc::cache_folder()?;
    fs::create_dir_all(&cache).map_err(at(&cache))?;
    let lock = cache.join("guest-clang.lock");
    let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(at(&lock))?;
    let made = match newest(&cache) {
        Some(clang) => Ok(clang),
        None => make(&cache).map_err(|error| {
            format!("no clang here makes WebAssembly, and one cannot be had of Debian's packages: {error}; {FIX}")
        }),
    };
    drop(lock);
    made
}

fn newest(cache: &Path) -> Option<PathBuf> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let ours = |path: &PathBuf| name(path).is_some_and(|name| name.starts_with(PREFIX));
    let folders = entries(cache).ok()?.into_iter().filter(|path| path.is_dir()).filter(ours);
    folders.map(|folder| folder.join("bin/clang")).rfind(|clang| engine::makes_wasm(clang))
}

fn make(cache: &Path) -> Result<PathBuf, Error> {
    refresh();
    let available = |version: &u32| candidate(&format!("clang-{version}")).is_ok();
    let version = VERSIONS.into_iter().find(available).ok_or("apt knows no clang")?;
    process::say("unpacking a C compiler for WebAssembly of Debian's packages, once: about 50 MB");
    let unfinished = cache.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    let (packages, bin) = (unfinished.join("packages"), unfinished.join("bin"));
    for folder in [&packages, &bin] {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    // Its own dependencies are for programs of this machine: headers, a linker, other front ends.
    let mut wanted = vec![format!("clang-{version}"), format!("libclang-common-{version}-dev")];
    wanted.extend(with_dependencies(format!("libclang-cpp{version}"))?);
    fetch(&packages, &wanted)?;
    extract(&packages, &unfinished)?;
    fs::remove_dir_all(&packages).map_err(at(&packages))?;
    let wrapper = bin.join("clang");
    let script = format!(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\n\
         LD_LIBRARY_PATH=$(echo \"$here\"/../usr/lib/*-linux-gnu) exec \"$here/../usr/lib/llvm-{version}/bin/clang\" \"$@\"\n"
    );
    fs::write(&wrapper, script).map_err(at(&wrapper))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(at(&wrapper))?;
    if !engine::makes_wasm(&wrapper) {
        return Err(format!("`{}` does not run", wrapper.display()));
    }
    let finished = cache.join(format!("{PREFIX}{version}"));
    fs::rename(&unfinished, &finished).map_err(at(&finished))?;
    Ok(finished.join("bin/clang"))
}
