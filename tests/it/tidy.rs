//! The rules of the house, read from the tree itself: who may use whom, how large a file may grow, what may be depended on.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our modules each module may name. What is not here may be named by nobody but `cli` and `bench`.
const DIRECTION: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("hardening", &[]),
    ("shutdown", &[]),
    ("seats", &[]),
    ("slices", &[]),
    ("telemetry", &["model"]),
    ("config", &["model", "store"]),
    ("vault", &["model"]),
    ("store", &["model", "clock", "telemetry", "vault"]),
    ("ingest", &["model", "clock", "config", "store"]),
    ("catalog", &["model", "egress", "sandbox"]),
    ("egress", &["model"]),
    ("sandbox", &["model", "clock", "egress"]),
    ("replay", &["model", "ingest", "store"]),
    ("delivery", &["model", "clock", "store", "sandbox", "egress", "telemetry"]),
    ("api", &["model", "clock", "config", "ingest", "store", "catalog", "replay", "telemetry"]),
    (
        "app",
        &[
            "model",
            "clock",
            "config",
            "ingest",
            "api",
            "catalog",
            "delivery",
            "egress",
            "replay",
            "sandbox",
            "seats",
            "slices",
            "store",
            "telemetry",
        ],
    ),
];

/// The one module that may name each foreign library ("one door per library").
const DOORS: &[(&str, &[&str])] = &[
    ("wasmtime", &["sandbox", "bench"]),
    ("wasmtime_wasi", &["sandbox"]),
    ("wasmtime_wasi_http", &["sandbox"]),
    ("rusqlite", &["store", "bench"]),
    ("chacha20poly1305", &["vault"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    ("clap", &["cli"]),
    ("figment", &["config"]),
    ("prometheus_client", &["api", "telemetry"]),
    ("rustls", &["egress"]),
    ("hyper_rustls", &["egress"]),
    ("hickory_resolver", &["egress"]),
    ("wasmparser", &["catalog", "sandbox"]),
    ("wit_component", &["catalog"]),
    ("anyhow", &["cli", "bench"]),
    ("oxc_parser", &["catalog"]),
    ("oxc_semantic", &["catalog"]),
    ("oxc_ast", &["catalog"]),
    ("oxc_transformer", &["catalog"]),
    ("oxc_codegen", &["catalog"]),
    ("oxc_sourcemap", &["catalog"]),
    ("notify", &["cli"]),
    ("similar", &["cli"]),
    ("indicatif", &["cli"]),
    ("rpassword", &["cli"]),
    ("etcetera", &["cli"]),
    ("landlock", &["hardening"]),
    ("seccompiler", &["hardening"]),
    ("libc", &["hardening", "slices"]),
    ("ring", &["catalog", "vault"]),
    ("aho_corasick", &["egress"]),
    ("prost", &["telemetry"]),
];

/// Lines of one file. Beyond it, a file has more than one reason to change.
const FILE_LINES: usize = 600;

/// Lines of `main.rs`: parse, run, print, exit.
const MAIN_LINES: usize = 40;

/// The first versions without known ways out of the sandbox or into the host.
const FLOORS: &[(&str, [u64; 3])] =
    &[("wasmtime", [48, 0, 8]), ("h2", [0, 4, 16]), ("hickory-proto", [0, 26, 1]), ("rustls-webpki", [0, 103, 13])];

/// Licences that let anybody run, change and pass on the whole.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A second TLS stack or provider, or a library that nobody keeps.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "reqwest", "serde_yaml"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Every Rust file under a folder of the workspace: its path from there, and its text.
fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let base = root().join(under);
    let mut found = Vec::new();
    let mut folders = vec![base.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
                found.push((path.strip_prefix(&base).expect("it is below").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{under} has no source");
    found
}

/// The module of the runtime that a file belongs to.
fn module(file: &Path) -> String {
    let first = file.iter().next().expect("a file has a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file: without comments and without its tests.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_use_only_what_lies_before_them() {
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        let module = module(&file);
        let Some((_, allowed)) = DIRECTION.iter().find(|(name, _)| *name == module) else {
            assert!(["cli", "bench", "lib", "main"].contains(&module.as_str()), "`{module}` is not in DIRECTION");
            continue;
        };
        for used in uses_of(&code(&text), "crate::") {
            if used != module && DIRECTION.iter().any(|(name, _)| *name == used) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: `{module}` must not use `{used}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The names that follow a prefix such as `crate::`, also in a list `crate::{a, b}`.
fn uses_of(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let list = rest.strip_prefix('{').and_then(|inner| inner.split('}').next());
        for part in list.unwrap_or(rest).split(',').take(if list.is_some() { usize::MAX } else { 1 }) {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn each_foreign_library_has_one_door() {
    let mut wrong = Vec::new();
    for (file, text) in sources("runtime/src") {
        let (module, code) = (module(&file), code(&text));
        for (library, doors) in DOORS {
            let named = code.match_indices(&format!("{library}::")).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if named && !doors.contains(&module.as_str()) {
                wrong.push(format!("{}: names `{library}`, whose door is {doors:?}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small_and_begin_with_their_purpose() {
    let mut wrong = Vec::new();
    for under in ["runtime/src", "guest-sdk", "functions", "tests"] {
        for (file, text) in sources(under) {
            let most = if file == Path::new("main.rs") { MAIN_LINES } else { FILE_LINES };
            let lines = text.lines().count();
            if lines > most {
                wrong.push(format!("{under}/{}: {lines} lines, at most {most}", file.display()));
            }
            // A module's tests say what they are by their names.
            if !text.starts_with("//!")
                && !text.starts_with("#![doc")
                && !file.ends_with("tests.rs")
                && !file.iter().any(|part| part == "tests")
            {
                wrong.push(format!("{under}/{}: does not begin with its purpose (`//!`)", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_attack_in_the_security_page_names_tests_that_there_are() {
    let page = std::fs::read_to_string(root().join("runtime/SECURITY.md")).expect("the page");
    let table = page.split("| attack | what stops it | test |").nth(1).expect("its table of attacks");
    let all: Vec<String> = ["runtime/src", "tests"].into_iter().flat_map(sources).map(|(_, text)| text).collect();
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, tests] = cells[..] else { panic!("three cells: {row}") };
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            let function = format!("fn {name}(");
            assert!(all.iter().any(|text| text.contains(&function)), "there is no test `{name}`");
        }
        rows += 1;
    }
    assert!(rows > 40, "{rows} attacks");
}

#[test]
fn locked_versions_are_above_their_floors() {
    let metadata = metadata();
    for (prefix, floor) in FLOORS {
        let mut seen = false;
        for package in metadata["packages"].as_array().expect("packages") {
            let name = package["name"].as_str().expect("a name");
            let counts = name == *prefix || (*prefix == "wasmtime" && name.starts_with("wasmtime-"));
            // Wasmtime's own test macros and the like follow the same version line.
            if !counts || name.starts_with("wasmtime-internal-wit-bindgen") {
                continue;
            }
            seen = true;
            let version = package["version"].as_str().expect("a version");
            let parts: Vec<u64> =
                version.split(['.', '-']).take(3).map(|part| part.parse().expect("a number")).collect();
            assert!(parts.as_slice() >= floor.as_slice(), "{name} {version} is below {floor:?}");
        }
        assert!(seen || *prefix == "h2", "{prefix} is not in the lock file");
    }
}

#[test]
fn dependencies_come_from_the_registry_under_known_licences_with_one_tls_stack() {
    let mut wrong = Vec::new();
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        match package["source"].as_str() {
            None => continue,
            Some(source) if source.starts_with("registry+") => {}
            Some(source) => wrong.push(format!("{name} comes from {source}")),
        }
        if BANNED.contains(&name) {
            wrong.push(format!("{name} must not be a dependency"));
        }
        let licence = package["license"].as_str().unwrap_or("none");
        if !allowed(licence) {
            wrong.push(format!("{name} has the licence `{licence}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a licence expression can be met: every part that is joined by AND, by one of those joined by OR.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" AND ").all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
