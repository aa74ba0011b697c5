//! A partner's day without a server: a new function of each language, cases that are written, and tests after every save.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::host::{clients, functions, program};

fn tidegate(folder: &Path, args: &[&str]) -> Output {
    let output = command(folder, args).output().expect("the program starts");
    println!("{args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).current_dir(folder).stdin(Stdio::null());
    // One folder for all builds in Rust, so that what they have in common is compiled once.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace");
    command.env("CARGO_TARGET_DIR", root.join("target"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON that a successful command prints.
fn printed(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn json_file(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_new_function_in_javascript_passes_its_cases_and_more_are_written_from_runs() {
    let home = tempfile::tempdir().unwrap();
    let made = printed(&tidegate(home.path(), &["function", "new", "my-js", "--output", "json"]));
    assert!(made["files"].as_str().unwrap().contains("handler.js"));
    let again = tidegate(home.path(), &["function", "new", "my-js"]);
    assert!(!again.status.success() && text(&again.stderr).contains("`my-js` is there already"));
    let results = printed(&tidegate(home.path(), &["function", "test", "my-js", "--output", "json"]));
    assert!(
        results.as_array().unwrap().len() > 5 && results.as_array().unwrap().iter().all(|one| one["passed"] == true)
    );

    // A run becomes a case, without the secret, and passes.
    fs::write(home.path().join("event.json"), r#"{"type": "track", "messageId": "m", "userId": "u", "event": "e"}"#)
        .unwrap();
    fs::write(home.path().join("settings.json"), r#"{"api_key": "very-secret"}"#).unwrap();
    fs::write(home.path().join("answers.json"), r#"[{"status": 503, "body": "for very-secret"}]"#).unwrap();
    let run = [
        "function",
        "run",
        "my-js",
        "--event",
        "event.json",
        "--settings",
        "settings.json",
        "--answers",
        "answers.json",
    ];
    let save = [&run[..], &["--save-case", "busy-api"]].concat();
    assert_eq!(printed(&tidegate(home.path(), &save))["outcome"]["code"], "retry");
    let file = home.path().join("my-js/cases/busy-api.json");
    let case = json_file(&file);
    assert_eq!((&case["name"], &case["outcome"]["code"]), (&json!("busy api"), &json!("retry")));
    assert!(!case.to_string().contains("very-secret"), "{case}");
    assert_eq!(case["settings"]["api_key"], "api_key-for-tests");
    let twice = tidegate(home.path(), &save);
    assert_eq!(twice.status.code(), Some(2), "a case that is there is not written over");

    // What differs is shown as a difference, and written when that is wanted.
    let changed =
        fs::read_to_string(&file).unwrap().replace("\"POST\"", "\"PUT\"").replace("\"retry\"", "\"delivered\"");
    fs::write(&file, &changed).unwrap();
    let only = ["function", "test", "my-js", "--only", "busy-api"];
    let failed = tidegate(home.path(), &only);
    let shown = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1));
    assert!(shown.contains("-      \"method\": \"PUT\"") && shown.contains("+      \"method\": \"POST\""), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), changed, "looking changes nothing");
    assert!(tidegate(home.path(), &[&only[..], &["--update"]].concat()).status.success());
    assert_eq!(json_file(&file), case);
}

#[test]
fn a_new_function_in_typescript_passes_its_cases_and_its_types_hold() {
    let home = tempfile::tempdir_in(clients().join("node")).unwrap();
    printed(&tidegate(home.path(), &["function", "new", "my-ts", "--lang", "ts", "--output", "json"]));
    let folder = home.path().join("my-ts");
    assert!(tidegate(&folder, &["function", "test", "."]).status.success());
    let package = json_file(&folder.join("package.json"));
    let pinned = json_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/package.json"));
    for name in ["esbuild", "typescript"] {
        assert_eq!(package["devDependencies"][name], pinned["dependencies"][name], "{name} is the one that is tested");
    }
    let mut tsc = Command::new("node");
    tsc.arg(clients().join("node/node_modules/typescript/bin/tsc")).args(["--project", "."]).current_dir(&folder);
    let checked = tsc.output().expect("node runs");
    assert!(checked.status.success(), "{}", text(&checked.stdout));
}

#[test]
fn a_new_function_in_rust_passes_its_cases() {
    let home = tempfile::tempdir().unwrap();
    printed(&tidegate(home.path(), &["function", "new", "my-rust", "--lang", "rust", "--output", "json"]));
    let folder = home.path().join("my-rust");
    // The versions that are here already, so that nothing is fetched or compiled twice.
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    assert!(tidegate(&folder, &["function", "test", "."]).status.success());
    let shown = printed(&tidegate(&folder, &["function", "check", ".", "--output", "json"]));
    assert_eq!(shown["secrets"], json!(["api_key"]), "the settings come from the type");
}

#[test]
fn a_new_function_in_python_passes_its_cases() {
    let home = tempfile::tempdir().unwrap();
    printed(&tidegate(home.path(), &["function", "new", "my-python", "--lang", "python", "--output", "json"]));
    // Where the toolchain that builds the functions in Python is.
    let toolchain = functions().ancestors().nth(2).expect("target/debug/functions").join("python-toolchain/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut test = command(home.path(), &["function", "test", "my-python", "--output", "json"]);
    let results = printed(&test.env("PATH", format!("{}:{path}", toolchain.display())).output().unwrap());
    let results = results.as_array().unwrap();
    assert!(results.len() > 5 && results.iter().all(|one| one["passed"] == true), "{results:?}");
}

/// A program that goes on until the test ends.
struct Watching {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watching {
    fn start(folder: &Path) -> Self {
        let mut command = command(folder, &["function", "test", ".", "--watch"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { child, lines }
    }

    /// The next line that sums up a round.
    fn round(&mut self) -> String {
        let sum = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(" passed, "));
        sum.expect("the program goes on")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn watching_tests_again_after_every_save() {
    let home = tempfile::tempdir().unwrap();
    assert!(tidegate(home.path(), &["function", "new", "watched"]).status.success());
    let folder = home.path().join("watched");
    let handler = folder.join("handler.js");
    let good = fs::read_to_string(&handler).unwrap();
    let mut watching = Watching::start(&folder);
    assert_eq!(watching.round(), "6 passed, 0 failed");
    fs::write(&handler, good.replace("=== 401", "=== 402")).unwrap();
    assert_eq!(watching.round(), "5 passed, 1 failed");
    // A file that cannot be built ends nothing; an editor that moves a new file into place is a save too.
    fs::write(&handler, "async function onTrack( {").unwrap();
    fs::write(folder.join("handler.new"), &good).unwrap();
    fs::rename(folder.join("handler.new"), &handler).unwrap();
    assert_eq!(watching.round(), "6 passed, 0 failed");
    fs::remove_file(folder.join("cases/identify.json")).unwrap();
    assert_eq!(watching.round(), "5 passed, 0 failed");
}
