//! QuickJS as the engine needs it: what cargo has downloaded, with the patches of `guest-sdk/js/engine`, which say why.
//!
//! They are applied to a copy, and cargo is told to build that one. What is downloaded stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::at;
use crate::{Error, process};

/// The crate that brings QuickJS.
const CRATE: &str = "rquickjs-sys";

/// The patches, in their order.
const PATCHES: [&str; 6] = [
    "quickjs.patch",
    "quickjs-text.patch",
    "quickjs-objects.patch",
    "quickjs-read-json.patch",
    "quickjs-write-json.patch",
    "quickjs-regexp.patch",
];

/// Where the patched crate is. Made anew whenever the crate or a patch is another one.
pub fn patched(root: &Path, guests: &Path) -> Result<PathBuf, Error> {
    let source = source(root)?;
    let patches = PATCHES.map(|name| root.join("guest-sdk/js/engine").join(name));
    let (copy, stamp) = (guests.join(CRATE), guests.join(format!("{CRATE}.made-of")));
    let mut made_of = format!("{}\n", source.display());
    for patch in &patches {
        made_of += &fs::read_to_string(patch).map_err(at(patch))?;
    }
    if fs::read_to_string(&stamp).is_ok_and(|present| present == made_of) {
        return Ok(copy);
    }
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(at(&copy))?;
    }
    fs::create_dir_all(guests).map_err(at(guests))?;
    process::run(Command::new("cp").arg("-r").arg(&source).arg(&copy))?;
    // Inside a work tree git would take the paths as the tree's and skip what is not in it.
    for patch in &patches {
        let mut apply = Command::new("git");
        apply.arg("apply").arg(patch).current_dir(&copy).env("GIT_CEILING_DIRECTORIES", guests);
        process::run(&mut apply)
            .map_err(|error| format!("`{}` does not fit this {CRATE}: {error}", patch.display()))?;
    }
    fs::write(&stamp, made_of).map_err(at(&stamp))?;
    Ok(copy)
}

/// The folder that cargo has downloaded the crate to.
fn source(root: &Path) -> Result<PathBuf, Error> {
    let said = process::output(process::cargo(root).args(["metadata", "--format-version", "1"]))?;
    let manifests = said.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let ours = |path: &PathBuf| {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        folder.starts_with(&format!("{CRATE}-"))
    };
    let manifest = manifests.map(PathBuf::from).find(ours);
    let folder = manifest.as_deref().and_then(Path::parent).map(Path::to_owned);
    folder.ok_or_else(|| format!("`cargo metadata` names no {CRATE}"))
}
