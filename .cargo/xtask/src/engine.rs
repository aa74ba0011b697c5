//! The JavaScript engine of functions, `guest-sdk/js/engine`, as one WebAssembly module that the host takes into itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rustc::TARGET;
use crate::{Error, clang, process, quickjs};

/// Fast rather than small: it is compiled once, and every function in JavaScript runs on it.
const PROFILE: [&str; 6] = [
    "profile.release.opt-level=3",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.panic='abort'",
    "profile.release.strip=true",
    "profile.release.debug=false",
];

/// Builds it, to the place that `.cargo/config.toml` names.
pub fn build(root: &Path, target: &Path, guest_rustc: &Path) -> Result<(), Error> {
    let clang = clang::find_or_make()?;
    process::say("building the JavaScript engine");
    let guests = target.join("guests");
    let quickjs = quickjs::patched(root, &guests)?;
    let mut cargo = process::cargo(root);
    cargo.args(["build", "--release", "--package", "tidegate-js-engine", "--lib", "--target", TARGET]);
    cargo.arg("--target-dir").arg(&guests);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    cargo.arg("--config").arg(format!("paths=[{:?}]", quickjs.display().to_string()));
    cargo.env("RUSTC", guest_rustc).env("CC_wasm32_unknown_unknown", clang).env("AR_wasm32_unknown_unknown", "ar");
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    process::run(&mut cargo)?;
    let built = guests.join(TARGET).join("release/tidegate_js_engine.wasm");
    let place = root.join("target/js-engine.wasm");
    let bytes = fs::read(&built).map_err(|error| format!("`{}`: {error}", built.display()))?;
    // Written only if it is another one: the host is compiled anew whenever this file changes.
    if fs::read(&place).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    fs::create_dir_all(root.join("target"))
        .and_then(|()| fs::write(&place, bytes))
        .map_err(|error| format!("`{}`: {error}", place.display()))
}

/// Whether this compiler can make WebAssembly.
pub fn makes_wasm(clang: &Path) -> bool {
    let asked = Command::new(clang).arg("--print-targets").stderr(Stdio::null()).output();
    asked.is_ok_and(|asked| String::from_utf8_lossy(&asked.stdout).contains("wasm32"))
}

/// The first of these programs on the path that can make WebAssembly.
pub fn installed() -> Option<PathBuf> {
    let newest = (14..=30).rev().map(|version| format!("clang-{version}"));
    std::iter::once("clang".to_owned()).chain(newest).map(PathBuf::from).find(|clang| makes_wasm(clang))
}
