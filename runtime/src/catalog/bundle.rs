//! Before any event: a file that imports others, and everything that it imports, become one script.
//!
//! The bundler is the esbuild that is installed for the function's folder; `bundle.cjs` asks it, run by Node.
//!
//! Guarantees: what the bundler finds wrong comes back with its place in the partner's own files; a table says where
//! each piece of the script comes from. Nothing is written and nothing is fetched.
//! Leaves to others: installing packages (npm), what else is wrong with the partner's files (`javascript_check`).

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::javascript::HANDLERS;
use super::javascript_check::Finding;
use crate::sandbox::{Mapping, SourceMap};

/// Asks esbuild.
const DRIVER: &str = include_str!("bundle.cjs");

/// The version of esbuild that messages name and templates pin: the one that the tests bundle with.
pub const ESBUILD: &str = "0.28.2";

/// Where packages are, in a path.
const PACKAGES: &str = "node_modules/";

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Node does not start.
    #[error(
        "`{file}` imports other files, which takes `node` to bundle them, and it cannot be started: {error}; install Node \
         20 or later, or write one file without `import`"
    )]
    NoNode {
        /// The file.
        file: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The folder has no esbuild.
    #[error(
        "`{file}` imports other files, which takes esbuild to bundle them, and `{folder}` has none ({problem}): run \
         `npm install --save-dev esbuild@{ESBUILD}` there, or `npm install` where `package.json` names it"
    )]
    NoEsbuild {
        /// The file.
        file: String,
        /// The folder that was looked in, and those above it.
        folder: String,
        /// What Node says.
        problem: String,
    },
    /// The bundler finds something wrong.
    #[error("it cannot be bundled")]
    Findings(Vec<Finding>),
    /// The bundler itself failed.
    #[error("esbuild failed on `{file}`: {problem}; its messages are above")]
    Failed {
        /// The file.
        file: String,
        /// How.
        problem: String,
    },
}

/// One script of several files.
pub(super) struct Bundle {
    /// Its text.
    pub(super) code: String,
    /// Where its pieces come from.
    pub(super) map: SourceMap,
    /// The files of the partner's own in it, as seen from the folder.
    pub(super) files: Vec<String>,
    /// What the bundler warns of.
    pub(super) findings: Vec<Finding>,
}

/// What `bundle.cjs` prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Bundled { findings: Vec<Finding>, code: String, map: String, files: Vec<String> },
    Wrong { findings: Vec<Finding> },
    Missing { missing: String },
}

/// Bundles the file with this name in a folder; `append` is put behind its text.
///
/// # Errors
/// If there is no bundler, or it refuses the files.
pub(super) fn bundle(folder: &Path, file: &str, append: &str) -> Result<Bundle, BundleError> {
    let question = serde_json::json!({"entry": file, "append": append, "handlers": HANDLERS});
    let mut node = Command::new("node");
    node.args(["-e", DRIVER, "--", &question.to_string()]).current_dir(folder).stdin(Stdio::null());
    let output = node.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| BundleError::NoNode { file: file.to_owned(), error })?;
    let failed = |problem: String| BundleError::Failed { file: file.to_owned(), problem };
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    match serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))? {
        Said::Missing { missing: problem } => {
            Err(BundleError::NoEsbuild { file: file.to_owned(), folder: folder.display().to_string(), problem })
        }
        Said::Wrong { findings } => Err(BundleError::Findings(findings)),
        Said::Bundled { findings, code, map, mut files } => {
            files.retain(|file| !is_package(file));
            let map = source_map(&map).map_err(failed)?;
            Ok(Bundle { code, map, files, findings })
        }
    }
}

fn is_package(file: &str) -> bool {
    file.contains(PACKAGES) || file.contains(':')
}

/// The bundler's table as ours: every piece of the partner's own files, and of packages where each line begins.
fn source_map(json: &str) -> Result<SourceMap, String> {
    let map = oxc_sourcemap::SourceMap::from_json_string(json).map_err(|error| error.to_string())?;
    let files: Vec<String> = map.get_sources().map(str::to_owned).collect();
    let packages: Vec<bool> = files.iter().map(|file| is_package(file)).collect();
    let mut last = None;
    let mut mappings = Vec::new();
    for token in map.get_tokens() {
        let Some(file) = token.get_source_id() else { continue };
        let line = (token.get_dst_line(), file);
        if packages.get(file as usize).copied().unwrap_or(false) && last == Some(line) {
            continue;
        }
        last = Some(line);
        mappings.push(Mapping {
            line: token.get_dst_line(),
            column: token.get_dst_col(),
            file,
            from_line: token.get_src_line(),
            from_column: token.get_src_col(),
        });
    }
    Ok(SourceMap::new(files, mappings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_own_files_is_known_and_of_packages_the_lines() {
        // Three pieces in each of two lines: the first of a package, the second of an own file.
        let json = r#"{"version":3,"sources":["node_modules/ms/index.js","src/a.ts"],"names":[],"mappings":"AAAA,IAAI,IAAI;ACCR,IAAI,IAAI"}"#;
        let map = source_map(json).unwrap();
        assert_eq!(map.original(1, 9), Some(("node_modules/ms/index.js", 1, 1)));
        assert_eq!(map.original(2, 9), Some(("src/a.ts", 2, 9)));
        assert!(source_map("{}").is_err());
    }
}
