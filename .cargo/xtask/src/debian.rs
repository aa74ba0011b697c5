//! Makes a toolchain for wasm32-unknown-unknown of Debian's packages, without installing any.
//!
//! Debian's `rustc-web` is a recent rustc; its packages conflict with those of rustup, so they are downloaded and
//! unpacked into a folder. The target's standard library is compiled once, from Debian's own source package.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::rustc::TARGET;
use crate::{Error, process};

/// What the names of complete toolchains in the cache begin with.
pub const PREFIX: &str = "guest-toolchain-";

/// Where an unfinished one is made; it gets its real name when it is complete.
const UNFINISHED: &str = "unfinished-guest-toolchain";

/// Finds its libraries wherever the folder is moved to.
const WRAPPER: &str = "#!/bin/sh
here=$(dirname \"$(readlink -f \"$0\")\")
LD_LIBRARY_PATH=\"$here/../lib\" exec \"$here/rustc.real\" \"$@\"
";

/// Makes the toolchain and says where it is.
pub fn make(cache: &Path, sysroot: &Path) -> Result<PathBuf, Error> {
    refresh();
    let version = candidate("rustc-web")?;
    let unfinished = cache.join(UNFINISHED);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
    }
    let packages = unfinished.join("packages");
    fs::create_dir_all(&packages).map_err(at(&packages))?;
    process::say("making a wasm32 toolchain of Debian's packages, once: about 130 MB to download, then a minute");
    download(&packages, &version)?;
    unpack(&packages, &unfinished)?;
    link_linker(&unfinished, sysroot)?;
    process::say("compiling the standard library for wasm32");
    build_std(&unfinished)?;
    for leftover in ["packages", "files", "empty", "lib/rustlib/src"] {
        let leftover = unfinished.join(leftover);
        fs::remove_dir_all(&leftover).map_err(at(&leftover))?;
    }
    let finished = cache.join(format!("{PREFIX}{}", version.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    fs::rename(&unfinished, &finished).map_err(at(&finished))?;
    process::say(&format!("the wasm32 toolchain is in `{}`", finished.display()));
    Ok(finished)
}

/// The wasm linker is that of the user's own toolchain. Made anew each time, because that one moves with every update.
pub fn link_linker(toolchain: &Path, sysroot: &Path) -> Result<(), Error> {
    let host = host_triple(sysroot)?;
    let bin = |root: &Path| root.join("lib/rustlib").join(&host).join("bin");
    fs::create_dir_all(bin(toolchain)).map_err(at(toolchain))?;
    let (from, to) = (bin(sysroot).join("rust-lld"), bin(toolchain).join("rust-lld"));
    if !from.exists() {
        return Err(format!("there is no linker at `{}`", from.display()));
    }
    if fs::read_link(&to).is_ok_and(|current| current == from) {
        return Ok(());
    }
    match fs::remove_file(&to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(&to)(error)),
        _ => symlink(&from, &to).map_err(at(&to)),
    }
}

fn host_triple(sysroot: &Path) -> Result<String, Error> {
    let text = process::output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("`rustc -vV` names no host: {text}"))
}

/// Reads the package lists anew: a machine's image carries those of its own day, and old compilers with them.
/// Where that cannot be done, the lists that are there may still do.
pub fn refresh() {
    process::say("reading Debian's package lists");
    let read = process::apt_get().and_then(|mut apt| process::run(apt.args(["update", "--quiet=2"])));
    if let Err(error) = read {
        process::say(&format!("going on with the package lists that are here: {error}"));
    }
}

/// The version of a package that apt would take.
pub fn candidate(package: &str) -> Result<String, Error> {
    if !process::exists("apt-cache") || !process::exists("dpkg-deb") {
        return Err("this is not a Debian system: there is no `apt-cache` or no `dpkg-deb`".to_owned());
    }
    let policy = process::output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let version = version.filter(|version| *version != "(none)");
    version.map(str::to_owned).ok_or_else(|| format!("apt knows no package `{package}`"))
}

/// Downloads the compiler, its libraries, its source, and those libraries of theirs that the system has not.
fn download(folder: &Path, version: &str) -> Result<(), Error> {
    let mut wanted = vec![format!("rustc-web={version}"), format!("rust-web-src={version}")];
    wanted.extend(with_dependencies(format!("libstd-rust-web-dev={version}"))?);
    fetch(folder, &wanted)
}

/// A package and everything that it needs, but for what is installed.
pub fn with_dependencies(package: String) -> Result<Vec<String>, Error> {
    let (mut queue, mut seen, mut wanted) = (vec![package], BTreeSet::new(), Vec::new());
    while let Some(package) = queue.pop() {
        let name = package.split('=').next().unwrap_or_default().to_owned();
        if !seen.insert(name.clone()) || is_installed(&name) {
            continue;
        }
        queue.extend(dependencies(&package)?);
        wanted.push(package);
    }
    Ok(wanted)
}

/// Downloads packages into a folder, without installing them.
pub fn fetch(folder: &Path, packages: &[String]) -> Result<(), Error> {
    // apt-get drops to a user of its own where it may, and says so at length where it may not.
    process::run(
        Command::new("apt-get")
            .args(["download", "--quiet=2", "--option=APT::Sandbox::User=root"])
            .args(packages)
            .current_dir(folder),
    )
}

/// Unpacks all packages of a folder, except what no compiler needs.
pub fn extract(packages: &Path, to: &Path) -> Result<(), Error> {
    for package in entries(packages)? {
        let mut archive = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&package)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(at(&package))?;
        let archive_output = archive.stdout.take().ok_or("dpkg-deb has no output")?;
        let mut tar = Command::new("tar");
        // The source package is mostly the compiler's own source and its tests; only the library is needed.
        tar.args(["--extract", "--no-wildcards-match-slash", "--exclude=./usr/share"]);
        tar.args(["--exclude=./usr/src/*/compiler", "--exclude=./usr/src/*/src", "--exclude=./usr/src/*/tests"]);
        process::run(tar.arg("--directory").arg(to).stdin(archive_output))?;
        archive.wait().map_err(at(&package))?;
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]).stderr(Stdio::null()).output();
    query.is_ok_and(|output| output.stdout.ends_with(b" installed"))
}

/// What a package depends on, with exact versions where it asks for them. Of alternatives, the first.
fn dependencies(package: &str) -> Result<Vec<String>, Error> {
    let record = process::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))?;
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    let first = |entry: &str| entry.split('|').next().unwrap_or_default().trim().to_owned();
    Ok(depends.split(", ").map(first).filter(|entry| !entry.is_empty()).map(|entry| pinned(&entry)).collect())
}

/// `name (= version)` becomes `name=version`, any other condition only the name.
fn pinned(entry: &str) -> String {
    let (name, condition) = entry.split_once(" (").unwrap_or((entry, ""));
    let name = name.split(':').next().unwrap_or(name);
    match condition.strip_prefix("= ") {
        Some(version) => format!("{name}={}", version.trim_end_matches(')')),
        None => name.to_owned(),
    }
}

/// Arranges what is needed of the packages as rustc expects its own files.
fn unpack(packages: &Path, toolchain: &Path) -> Result<(), Error> {
    let files = toolchain.join("files");
    fs::create_dir_all(&files).map_err(at(&files))?;
    extract(packages, &files)?;
    let moved = |from: PathBuf, to: PathBuf| -> Result<(), Error> {
        fs::create_dir_all(to.parent().unwrap_or(toolchain)).map_err(at(&to))?;
        fs::rename(&from, &to)
            .map_err(|error| format!("`{}` cannot become `{}`: {error}", from.display(), to.display()))
    };
    let lib = toolchain.join("lib");
    moved(files.join("usr/lib/rustlib"), lib.join("rustlib"))?;
    moved(files.join("usr/bin/rustc"), toolchain.join("bin/rustc.real"))?;
    let source = entries(&files.join("usr/src"))?.pop().ok_or("the source package is empty")?;
    let rust = lib.join("rustlib/src/rust");
    // The package links this name to the source's place in the system.
    let _ = fs::remove_file(&rust);
    moved(source.join("library"), rust.join("library"))?;
    for folder in ["usr/lib", "lib"] {
        for machine in entries(&files.join(folder)).unwrap_or_default().into_iter().filter(|path| path.is_dir()) {
            for library in entries(&machine)?.into_iter().filter(|path| path.to_string_lossy().contains(".so")) {
                let name = library.file_name().ok_or("a library has no name")?;
                moved(library.clone(), lib.join(name))?;
            }
        }
    }
    let wrapper = toolchain.join("bin/rustc");
    fs::write(&wrapper, WRAPPER).map_err(at(&wrapper))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(at(&wrapper))
}

/// Compiles std for the target and puts it where rustc looks for it.
fn build_std(toolchain: &Path) -> Result<(), Error> {
    let project = toolchain.join("empty");
    let source = project.join("src");
    fs::create_dir_all(&source).map_err(at(&source))?;
    fs::write(source.join("lib.rs"), "").map_err(at(&source))?;
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n[profile.release]\ndebug = false\n";
    fs::write(project.join("Cargo.toml"), manifest).map_err(at(&project))?;
    let vendor = toolchain.join("lib/rustlib/src/rust/library/vendor");
    let mut cargo = process::cargo(&project);
    cargo.args(["build", "--quiet", "--offline", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET]);
    cargo.args(["--config", "source.crates-io.replace-with='vendored'"]);
    cargo.args(["--config", &format!("source.vendored.directory={:?}", vendor.display().to_string())]);
    cargo.env("RUSTC", toolchain.join("bin/rustc")).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_TARGET_DIR", project.join("target")).env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Functions are linked with LTO, which needs the library's bitcode beside its machine code.
    cargo.env("RUSTFLAGS", "-Cembed-bitcode=yes");
    process::run(&mut cargo)?;
    let to = toolchain.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&to).map_err(at(&to))?;
    for library in entries(&project.join("target").join(TARGET).join("release/deps"))? {
        let name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(&library, to.join(name)).map_err(at(&library))?;
        }
    }
    Ok(())
}

pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(at(folder))?;
    paths.sort();
    Ok(paths)
}

pub fn at(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| format!("`{path}`: {error}")
}
