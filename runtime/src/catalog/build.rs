//! Before any event: a partner's folder becomes one component with its manifest inside.
//!
//! Guarantees: the result has passed [`inspect`](super::inspect()), exactly as an upload of it will.
//! Whether the function does the right thing is for its [`cases`](super::cases).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::bundle::{self, BundleError};
use super::component::{ComponentError, component_from_core, with_manifest, with_section};
use super::declared::{self, DeclaredError};
use super::inspect::{InspectError, Inspected, inspect};
use super::javascript::{self, JavaScriptError};
use super::javascript_check::{self, Finding, Part, Severity};
use super::javascript_make;
use super::manifest::{self, ManifestError};
use super::python;
use crate::model::{Digest, Inspection, Manifest};
use crate::sandbox::{SOURCE_MAP_SECTION, SourceMap};

/// What Rust functions are compiled for: no operating system, so nothing to import but our own world.
const TARGET: &str = "wasm32-unknown-unknown";

/// The file of a function in JavaScript or TypeScript: the first that is there. A compiler leaves the one beside the other.
const SCRIPTS: [&str; 8] = [
    "handler.ts",
    "handler.mts",
    "handler.js",
    "handler.mjs",
    "src/handler.ts",
    "src/handler.mts",
    "src/handler.js",
    "src/handler.mjs",
];

/// How the names of such files end.
pub const SCRIPT_ENDINGS: [&str; 4] = ["js", "mjs", "ts", "mts"];

/// Small code loads faster and shares the cache with its neighbours; a handler spends its time waiting.
const PROFILE: [&str; 6] = [
    "profile.release.opt-level='s'",
    "profile.release.lto=true",
    "profile.release.codegen-units=1",
    "profile.release.panic='abort'",
    "profile.release.strip=true",
    "profile.release.debug=false",
];

/// What compiles a function.
#[derive(Clone, Debug, Default)]
pub struct Toolchain {
    /// A rustc that has the wasm target, where the one on the path has not: `TIDEGATE_GUEST_RUSTC` on the command line.
    pub rustc: Option<PathBuf>,
}

/// A component that was just built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Its bytes.
    pub component: Vec<u8>,
    /// The manifest inside.
    pub manifest: Manifest,
    /// What it is made of.
    pub inspection: Inspection,
    /// What identifies it.
    pub digest: Digest,
    /// What its author should look at. None of it is an error.
    pub findings: Vec<Finding>,
}

/// Why a folder does not become a component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or program is not there or cannot be used.
    #[error("`{what}` cannot be used: {error}")]
    Io {
        /// The file or program.
        what: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The manifest makes no sense.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Nothing to build.
    #[error(
        "`{0}` has nothing to build: beside `function.toml` put a `handler.js` or `handler.ts`, a `handler.py`, a \
         `Cargo.toml`, a `main.wat` or one `.wasm` file"
    )]
    NoCode(String),
    /// A Rust function, and no target.
    #[error(
        "`{rustc}` cannot compile for {TARGET}; run `rustup target add {TARGET}`, or name one that can in \
         `TIDEGATE_GUEST_RUSTC` (in a checkout of Tidegate, `cargo xtask guests` makes one and prints it)"
    )]
    NoTarget {
        /// The rustc that was asked.
        rustc: String,
    },
    /// Cargo says why, on standard error.
    #[error("`cargo build` of `{folder}` ended with {status}; its messages are above")]
    Cargo {
        /// The function's folder.
        folder: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Cargo built no module.
    #[error("`{0}` builds no WebAssembly module: its `[lib]` needs `crate-type = [\"cdylib\"]`")]
    NoModule(String),
    /// The files cannot be put together.
    #[error(transparent)]
    Bundle(BundleError),
    /// A Python function, and no toolchain.
    #[error(
        "no `componentize-py` is on the path or in the folder's `.venv`, and it is what builds functions in Python; run \
         `python3 -m venv .venv && .venv/bin/pip install {toolchain}` in the folder"
    )]
    NoPython {
        /// What to install.
        toolchain: &'static str,
    },
    /// The Python toolchain says why, on standard error.
    #[error("`componentize-py` ended with {status} for `{folder}`; its messages are above")]
    Python {
        /// The function's folder.
        folder: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The JavaScript cannot be loaded.
    #[error(transparent)]
    JavaScript(#[from] JavaScriptError),
    /// The JavaScript has errors that show without running it.
    #[error("it cannot be built:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Findings(Vec<Finding>),
    /// The module declares settings that are not the manifest's.
    #[error(transparent)]
    Settings(#[from] DeclaredError),
    /// The module does not fit.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// The component would be refused as an upload.
    #[error(transparent)]
    Refused(#[from] InspectError),
}

/// Builds the function in a folder: `function.toml` and a `handler.js` or `handler.ts` (here or in `src/`), a `handler.py`, a
/// Cargo package, a `main.wat`, or one `.wasm` file (a core module or a component without manifest). Messages of toolchains go
/// to standard error. A single file of JavaScript or TypeScript is built with the `function.toml` beside it, or without one.
///
/// # Errors
/// If there is nothing to build, it does not compile, or would be refused as an upload.
pub fn build(folder: &Path, toolchain: &Toolchain) -> Result<Built, BuildError> {
    // Cargo runs in the folder, where a relative path would mean something else.
    let folder = &fs::canonicalize(folder).map_err(io(folder))?;
    if let Some((folder, file)) = script(folder) {
        return build_script(&folder, file);
    }
    let manifest_toml = read_text(&folder.join("function.toml"))?;
    let cargo = folder.join("Cargo.toml").is_file();
    if !cargo || declared::has_settings(&manifest_toml) {
        // Before minutes of compiling, unless the settings are still to come out of the compiled module.
        manifest::parse(&manifest_toml)?;
    }
    let code = match () {
        () if cargo => cargo_build(folder, toolchain)?,
        () if folder.join(python::MODULE).is_file() => python::component(folder)?,
        () => prebuilt(folder)?,
    };
    let manifest_toml = declared::merged(&manifest_toml, &code)?;
    manifest::parse(&manifest_toml)?;
    let component = if is_component(&code) {
        with_manifest(code, &manifest_toml)
    } else {
        component_from_core(&code, &manifest_toml)?
    };
    let Inspected { manifest, inspection, digest, findings, .. } = inspect(&component)?;
    Ok(Built { component, manifest, inspection, digest, findings })
}

/// The script that a path names: the file itself, or that of a folder. As the folder, and the file as seen from there.
fn script(path: &Path) -> Option<(PathBuf, &str)> {
    if path.is_dir() {
        return SCRIPTS.into_iter().find(|file| path.join(file).is_file()).map(|file| (path.to_owned(), file));
    }
    let known = path.extension().is_some_and(|ending| SCRIPT_ENDINGS.iter().any(|one| ending == *one));
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    (known && path.is_file()).then(|| (folder.to_owned(), name))
}

/// The file of a function that a host can build by itself: a script that imports nothing. `None` for everything else.
///
/// # Errors
/// If it cannot be read.
pub fn lone_script(path: &Path) -> Result<Option<PathBuf>, BuildError> {
    let Some((folder, file)) = script(path) else { return Ok(None) };
    let source = read_text(&folder.join(file))?;
    Ok(needs_bundler(&folder, file, &source).is_none().then(|| folder.join(file)))
}

/// What to put behind a script that is bundled; `None` if it stands alone. `require` is Node's where there is a package, and
/// else a name like any other.
fn needs_bundler(folder: &Path, file: &str, source: &str) -> Option<String> {
    let needs = javascript_make::needs_of(source, file)?;
    (needs.imports || folder.join("package.json").is_file()).then_some(needs.exports)
}

/// A script becomes a component: alone in this process, one that imports others with the help of a bundler.
fn build_script(folder: &Path, file: &str) -> Result<Built, BuildError> {
    let source = read_text(&folder.join(file))?;
    let toml = folder.join("function.toml");
    let given = toml.is_file().then(|| read_text(&toml)).transpose()?;
    match needs_bundler(folder, file, &source) {
        Some(exports) => build_bundle(folder, file, &exports, given.as_deref()),
        None => build_source(&source, Path::new(file), given.as_deref()),
    }
}

fn build_bundle(folder: &Path, file: &str, exports: &str, manifest_toml: Option<&str>) -> Result<Built, BuildError> {
    let given = manifest_toml.map(manifest::parse).transpose()?;
    let bundle = bundle::bundle(folder, file, exports).map_err(|error| match error {
        BundleError::Findings(findings) => BuildError::Findings(findings),
        error => BuildError::Bundle(error),
    })?;
    let mut findings = bundle.findings;
    for name in bundle.files.iter().filter(|name| SCRIPT_ENDINGS.iter().any(|ending| name.ends_with(ending))) {
        let part = if name == file { Part::Entry } else { Part::Other };
        findings.extend(javascript_check::check(&read_text(&folder.join(name))?, name, part, given.as_ref()));
    }
    let described = manifest_toml.map_or(Description::Version(javascript::FIRST_VERSION), Description::Whole);
    finish(&bundle.code, Some(&bundle.map), Path::new(file), described, findings)
}

/// What there is of a script's manifest.
#[derive(Clone, Copy, Debug)]
pub enum Description<'a> {
    /// Its version and no more: it is named after the file, for the events that it has handlers for, and reaches nothing.
    Version(&'a str),
    /// All of it.
    Whole(&'a str),
    /// All but what follows the code: the events that it has handlers for, and the hosts that it names.
    Following(&'a str),
}

/// Builds a function from the text of a file of JavaScript or TypeScript, without touching the disk.
///
/// # Errors
/// If it does not load, imports others, or would be refused as an upload.
pub fn build_source(source: &str, file: &Path, manifest_toml: Option<&str>) -> Result<Built, BuildError> {
    build_described(
        source,
        file,
        manifest_toml.map_or(Description::Version(javascript::FIRST_VERSION), Description::Whole),
    )
}

/// The same with any description.
///
/// # Errors
/// As [`build_source`].
pub fn build_described(source: &str, file: &Path, described: Description<'_>) -> Result<Built, BuildError> {
    let with_hosts;
    let described = match described {
        Description::Following(toml) => {
            with_hosts = manifest::reaching(toml, &javascript_check::hosts(source, &file.to_string_lossy()))?;
            Description::Following(&with_hosts)
        }
        plain => plain,
    };
    let given = match described {
        Description::Version(_) => None,
        Description::Whole(toml) | Description::Following(toml) => Some(manifest::parse(toml)?),
    };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let findings = javascript_check::check(source, &name, Part::Whole, given.as_ref());
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(BuildError::Findings(findings));
    }
    let made = javascript_make::make(source, &name).map_err(|finding| BuildError::Findings(vec![finding]))?;
    finish(&made.code, made.map.as_ref(), file, described, findings)
}

/// What remains once a function is one script.
fn finish(
    code: &str,
    map: Option<&SourceMap>,
    file: &Path,
    described: Description<'_>,
    mut findings: Vec<Finding>,
) -> Result<Built, BuildError> {
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(BuildError::Findings(findings));
    }
    let script = match javascript::load(code, &file.to_string_lossy(), map) {
        // A name that is nearly a handler's is why there is none.
        Err(error @ JavaScriptError::NoHandler(_)) if !findings.is_empty() => {
            return Err(BuildError::Findings(findings.into_iter().chain(error.finding()).collect()));
        }
        loaded => loaded?,
    };
    let manifest_toml = match described {
        Description::Version(version) => javascript::manifest_of(file, version, &script.handlers),
        Description::Whole(toml) => toml.to_owned(),
        Description::Following(toml) => {
            let own = javascript::manifest_of(file, javascript::FIRST_VERSION, &script.handlers);
            manifest::handling(toml, &own)?
        }
    };
    let mut component = component_from_core(&script.module, &manifest_toml)?;
    if let Some(map) = map {
        component = with_section(component, SOURCE_MAP_SECTION, &map.encode());
    }
    let Inspected { manifest, inspection, digest, findings: of_manifest, .. } = inspect(&component)?;
    findings.extend(of_manifest);
    Ok(Built { component, manifest, inspection, digest, findings })
}

fn is_component(code: &[u8]) -> bool {
    // The layer field of the header: 0 is a core module, 1 a component.
    code.get(6..8) == Some(&[1, 0])
}

fn prebuilt(folder: &Path) -> Result<Vec<u8>, BuildError> {
    let text = folder.join("main.wat");
    if text.is_file() {
        return fs::read(&text).map_err(io(&text));
    }
    let entries = fs::read_dir(folder).map_err(io(folder))?.flatten().map(|entry| entry.path());
    let modules: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).collect();
    match &modules[..] {
        [one] => fs::read(one).map_err(io(one)),
        _ => Err(BuildError::NoCode(folder.display().to_string())),
    }
}

fn cargo_build(folder: &Path, toolchain: &Toolchain) -> Result<Vec<u8>, BuildError> {
    check_target(toolchain)?;
    let manifest = folder.join("Cargo.toml");
    let mut cargo = cargo(folder, toolchain);
    cargo.args(["build", "--lib", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(target_folder(folder, toolchain)?);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    // Flags for the host's processor make no sense to another target.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let messages = output(&mut cargo, folder)?;
    let module = messages.lines().filter_map(|line| built_module(line, &manifest)).next_back();
    let module = module.ok_or_else(|| BuildError::NoModule(folder.display().to_string()))?;
    fs::read(&module).map_err(io(&module))
}

/// The module that a line of cargo's messages announces for this package.
fn built_module(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let ours = message["reason"] == "compiler-artifact" && Path::new(message["manifest_path"].as_str()?) == manifest;
    let files = message["filenames"].as_array().filter(|_| ours)?;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Guests have a folder of their own, so that their builds and the host's never throw each other's work away.
fn target_folder(folder: &Path, toolchain: &Toolchain) -> Result<PathBuf, BuildError> {
    let mut cargo = cargo(folder, toolchain);
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    let metadata: Value = serde_json::from_str(&output(&mut cargo, folder)?).unwrap_or_default();
    Ok(Path::new(metadata["target_directory"].as_str().unwrap_or("target")).join("guests"))
}

fn check_target(toolchain: &Toolchain) -> Result<(), BuildError> {
    let rustc = toolchain.rustc.as_deref().unwrap_or(Path::new("rustc"));
    let asked = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::inherit())
        .output()
        .map_err(io(rustc))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    let has_std = |folder: fs::ReadDir| {
        folder.flatten().any(|library| library.file_name().to_string_lossy().starts_with("libstd"))
    };
    if fs::read_dir(libraries).is_ok_and(has_std) {
        return Ok(());
    }
    Err(BuildError::NoTarget { rustc: rustc.display().to_string() })
}

fn cargo(folder: &Path, toolchain: &Toolchain) -> Command {
    let mut cargo = Command::new("cargo");
    if let Some(rustc) = &toolchain.rustc {
        cargo.env("RUSTC", rustc);
    }
    cargo.current_dir(folder).stdin(Stdio::null());
    cargo
}

fn output(cargo: &mut Command, folder: &Path) -> Result<String, BuildError> {
    let output = cargo.stderr(Stdio::inherit()).output().map_err(io(Path::new("cargo")))?;
    if !output.status.success() {
        return Err(BuildError::Cargo { folder: folder.display().to_string(), status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read_text(path: &Path) -> Result<String, BuildError> {
    fs::read_to_string(path).map_err(io(path))
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> BuildError {
    let what = path.display().to_string();
    move |error| BuildError::Io { what: what.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::super::component::tests::{DELIVERED_WAT, MANIFEST};
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    #[test]
    fn text_a_core_module_and_a_component_all_build() {
        let core = wat::parse_str(DELIVERED_WAT).unwrap();
        let encoder = component_from_core(DELIVERED_WAT.as_bytes(), "").unwrap();
        // The manifest's section is the last one: an id, a length, and the name with its length.
        let bare = &encoder[..encoder.len() - "tidegate:manifest".len() - 3];
        for (name, code) in [("main.wat", DELIVERED_WAT.as_bytes()), ("x.wasm", &core), ("x.wasm", bare)] {
            let folder = folder(&[("function.toml", MANIFEST.as_bytes()), (name, code)]);
            let built = build(folder.path(), &Toolchain::default()).unwrap();
            assert_eq!(built.manifest.name, "probe");
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_the_reason() {
        let manifest = ("function.toml", MANIFEST.as_bytes());
        type File<'a> = (&'a str, &'a [u8]);
        let cases: [(&[File<'_>], &str); 5] = [
            (&[], "function.toml` cannot be used"),
            (&[("function.toml", b"name = 3")], "cannot be read"),
            (&[manifest], "has nothing to build"),
            (&[manifest, ("a.wasm", b""), ("b.wasm", b"")], "has nothing to build"),
            (&[manifest, ("main.wat", b"(module)")], "handle-event"),
        ];
        for (files, expected) in cases {
            let message = build(folder(files).path(), &Toolchain::default()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
