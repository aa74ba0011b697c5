//! TypeScript and modules: one file needs nothing but the program, several are bundled with esbuild from npm; either way
//! errors name the partner's own lines.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidegate::catalog::{self, BuildError, Toolchain};
use tidegate::model::{Answer, Ending, EventType};

use super::function::Function;
use crate::host::{Host, clients, program};
use crate::http::{self, Partner};

/// A folder below that of the installed packages, so that Node finds them as it does in a partner's project.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(clients().join("node")).unwrap();
    write(folder.path(), files);
    folder
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn findings(folder: &Path) -> Vec<String> {
    match catalog::build(folder, &Toolchain::default()) {
        Ok(built) => built.findings.iter().map(ToString::to_string).collect(),
        Err(BuildError::Findings(findings)) => findings.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

async fn outcome(function: &Function, event: Value) -> Answer {
    let report = function.call(&[event], false, &json!({}), &json!([])).await;
    match report.ending {
        Ending::Answered(mut answers) => answers.remove(0),
        other => panic!("{other:?} {:?}", report.log),
    }
}

fn failed(name: &str, message: &str) -> Answer {
    Answer::Failed { name: name.to_owned(), message: message.to_owned() }
}

const MANIFEST: &str = "name = \"bundled\"\nversion = \"1\"\nevents = [\"track\", \"page\", \"identify\"]\n\
                        [egress]\nallow = [\"https://api.example.com\"]\n";

const PACKAGE: &str = r#"{"private": true, "type": "module"}"#;

const HANDLER: &str = r"import ms from 'ms';
import fetch from 'node-fetch';
import { createHash } from 'node:crypto';
import { check, type Checked } from './check.js';

enum Unit { Day = 'days' }

export async function onTrack(event: Checked): Promise<void> {
  if (event.event === 'library') ms({} as never);
  if (event.event === 'logged') console.error(new Error('seen'));
  check(event);
  const id = createHash('md5').update(event.event).digest('hex');
  await fetch(new URL('https://api.example.com/events'), { method: 'post', body: JSON.stringify({ id, ms: ms(`2 ${Unit.Day}`) }) });
}

// Not exported, and a handler all the same.
async function onPage() {
  null!.x;
}

export default {
  text: 'of the default export',
  async onIdentify() { throw new ValidationError(this.text); },
};
";

const CHECK: &str = "export interface Checked { event: string }\n\nexport function check(event: Checked): void {\n  \
                     const wrong: boolean = event.event === 'own';\n  if (wrong) throw new TypeError('not wanted');\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_modules_types_and_a_package_runs_and_its_errors_name_the_partners_lines() {
    let files =
        [("function.toml", MANIFEST), ("package.json", PACKAGE), ("src/handler.ts", HANDLER), ("src/check.ts", CHECK)];
    let folder = folder(&files);
    let built = catalog::build(folder.path(), &Toolchain::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(built.findings.is_empty(), "{:?}", built.findings);
    let function = Function::load(built.component).await;
    let track = |name: &str| json!({"type": "track", "event": name});

    let report = function.call(&[track("fine")], false, &json!({}), &json!([])).await;
    assert_eq!(report.ending, Ending::Answered(vec![Answer::Delivered]), "{:?}", report.log);
    let request = &report.requests[0];
    assert_eq!((&*request.method, &*request.url), ("POST", "https://api.example.com/events"));
    assert_eq!(&request.body[..], br#"{"id":"fff25994ee3941b225ba898fd17d186f","ms":172800000}"#);

    let own = outcome(&function, track("own")).await;
    assert_eq!(own, failed("TypeError", "not wanted (in check, src/check.ts:5:24)"));
    let page = outcome(&function, json!({"type": "page"})).await;
    let Answer::Failed { message, .. } = &page else { panic!("{page:?}") };
    assert!(message.contains("(in onPage, src/handler.ts:18:"), "{message}");
    let library = outcome(&function, track("library")).await;
    let Answer::Failed { message, .. } = &library else { panic!("{library:?}") };
    assert!(message.contains("node_modules/ms/index.js:"), "{message}");
    let identify = outcome(&function, json!({"type": "identify"})).await;
    assert_eq!(identify, Answer::Rejected("of the default export".to_owned()));
    let logged = function.call(&[track("logged")], false, &json!({}), &json!([])).await;
    assert!(logged.log[0].text.contains("src/handler.ts:10:"), "{:?}", logged.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_modules_is_pushed_delivers_and_its_errors_name_the_partners_lines_on_the_host() {
    let manifest = MANIFEST.replace("https://api.example.com\"", "https://api.example.com\", \"{settings.url}\"")
        + "[settings.url]\ntype = \"string\"\n";
    let handler = HANDLER
        .replace("event: Checked)", "event: Checked, settings: { url: string })")
        .replace("new URL('https://api.example.com/events')", "settings.url");
    let files = [
        ("function.toml", &*manifest),
        ("package.json", PACKAGE),
        ("src/handler.ts", &handler),
        ("src/check.ts", CHECK),
    ];
    let folder = folder(&files);
    let (data, partner) = (tempfile::tempdir().unwrap(), Partner::start().await);
    let host = Host::start(data.path(), partner.address, None);
    let mut push = std::process::Command::new(program());
    push.args(["--output", "json", "function", "push"]).arg(folder.path());
    push.env("TIDEGATE_SERVER", format!("http://{}", host.admin)).env("TIDEGATE_TOKEN", &host.token);
    let pushed = push.output().unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let source = host.api("POST", "/api/v1/sources", json!({"name": "s"})).await;
    let to = json!({"name": "d", "function": "bundled", "settings": {"url": partner.url()}});
    let destination = host.api("POST", "/api/v1/destinations", to).await;
    let edge = json!({"source": source["id"], "destination": destination["id"]});
    host.api("POST", "/api/v1/connections", edge).await;
    let event = |name: &str| json!({"type": "track", "event": name, "userId": "u", "messageId": name});
    let body = json!({"writeKey": source["write_key"], "batch": [event("fine"), event("own")]}).to_string();
    let kind = [("content-type", "application/json")];
    let sent = http::send(host.listen, "POST", "/v1/batch", &kind, body.into_bytes()).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let ledger = host.drained().await;
    assert_eq!((&ledger["delivered"], &ledger["dead"]), (&json!(1), &json!(1)), "{ledger}");
    assert_eq!(partner.bodies(), [json!({"id": "fff25994ee3941b225ba898fd17d186f", "ms": 172_800_000})]);
    let dead = host.api("GET", "/api/v1/deliveries?state=dead", Value::Null).await;
    let said = dead["items"][0]["last_outcome"]["message"].as_str().unwrap();
    assert!(said.contains("not wanted (in check, src/check.ts:5:24)"), "{dead}");
}

#[test]
fn what_is_wrong_with_a_bundle_is_found_in_the_partners_own_files() {
    let good =
        [("function.toml", MANIFEST), ("package.json", PACKAGE), ("src/handler.ts", HANDLER), ("src/check.ts", CHECK)];
    let cases = [
        (
            "src/check.ts",
            "export function check(event) { const x: number = ; }",
            "src/check.ts:1:50: error: Unexpected",
        ),
        ("src/check.ts", "export const chek = 1;", "src/handler.ts:4:10: error: "),
        (
            "src/check.ts",
            "export const check = (x: Recrd) => consol.log(x);",
            "src/check.ts:1:36: warning: `consol` is not defined; did you mean `console`?",
        ),
        (
            "src/check.ts",
            "import fs from 'node:fs'; export const check = () => fs;",
            "src/check.ts:1:16: error: Could not resolve \"node:fs\": it is one of Node",
        ),
        (
            "src/check.ts",
            "export const check = () => fetch('https://evil.example/x');",
            "src/check.ts:1:34: warning: `https://evil.example` is not in `egress.allow`",
        ),
        (
            "src/check.ts",
            "export const check = () => {}; throw new RangeError('at once');",
            "src/check.ts:1:42: error: RangeError: at once",
        ),
        (
            "function.toml",
            "name = \"a\"\nversion = \"1\"\nevents = [\"page\", \"identify\"]",
            "src/handler.ts:8:23: warning: `onTrack` is never called",
        ),
        (
            "src/handler.ts",
            "import './check.js';\nexport function onTrak() {}",
            "src/handler.ts:2:17: warning: `onTrak` is never called; did you mean `onTrack`?",
        ),
    ];
    for (file, text, expected) in cases {
        let folder = folder(&good);
        write(folder.path(), &[(file, text)]);
        let found = match catalog::build(folder.path(), &Toolchain::default()) {
            Err(BuildError::JavaScript(error)) => {
                error.finding().map_or_else(Vec::new, |finding| vec![finding.to_string()])
            }
            Err(BuildError::Findings(findings)) => findings.iter().map(ToString::to_string).collect(),
            Ok(built) => built.findings.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        assert!(found.iter().any(|one| one.starts_with(expected)), "{text}: {found:?}");
    }
}

#[test]
fn files_that_import_say_which_command_brings_the_bundler() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[("package.json", PACKAGE), ("handler.js", "import ms from 'ms'; export const onTrack = ms;")],
    );
    let error = catalog::build(folder.path(), &Toolchain::default()).unwrap_err().to_string();
    assert!(error.contains("`handler.js` imports") && error.contains("npm install --save-dev esbuild@"), "{error}");
}

const TYPED: &str = "interface Sent extends CommonEvent { event: string }\n\nexport const onTrack = async (event: Sent): Promise<void> => {\n  \
                     const all = event.event as unknown as number[];\n  if (event.event === 'own') throw new TypeError('not wanted');\n  \
                     await fetch('https://api.example.com/' + event.event, { method: 'POST' });\n  all!.map((one: number) => one);\n};\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_single_file_of_typescript_needs_no_node_and_its_errors_name_its_lines() {
    let built =
        catalog::build::build_source(TYPED, Path::new("handler.ts"), None).unwrap_or_else(|error| panic!("{error}"));
    assert!(built.findings.is_empty(), "{:?}", built.findings);
    assert_eq!(built.manifest.events, [EventType::Track]);
    let function = Function::load(built.component).await;
    let track = |name: &str| json!({"type": "track", "event": name});
    let own = outcome(&function, track("own")).await;
    assert_eq!(own, failed("TypeError", "not wanted (in onTrack, handler.ts:5:40)"));
    let report = function.call(&[track("sent")], false, &json!({}), &json!([])).await;
    assert_eq!(report.requests[0].url, "https://api.example.com/sent");
    let [Answer::Failed { message, .. }] = &answers(&report.ending)[..] else { panic!("{:?}", report.ending) };
    assert!(message.contains("handler.ts:7:"), "{message}");
}

fn answers(ending: &Ending) -> Vec<Answer> {
    match ending {
        Ending::Answered(answers) => answers.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_with_typescript_or_exports_is_found_with_its_place() {
    let cases = [
        (
            "handler.ts",
            "export function onTrack(event: {}) {\n  const x: = 1;\n}",
            "handler.ts:2:12: error: SyntaxError",
        ),
        (
            "handler.ts",
            "export function onTrack(event: Recrd) {\n  nowhere(event);\n}",
            "handler.ts:2:3: warning: `nowhere` is not defined",
        ),
        (
            "handler.ts",
            "enum A { B = 1 }\nexport function onTrack() {}\nthrow new RangeError(A[1]);",
            "handler.ts:3:22: error: RangeError: B",
        ),
        ("handler.js", "export function onTrack() {}\nnull.x;", "handler.js:2:1: error: TypeError"),
        ("handler.js", "import x from 'y';", "handler.js:1:1: error: a file that imports others is bundled"),
    ];
    for (file, source, expected) in cases {
        let found = match catalog::build::build_source(source, Path::new(file), None) {
            Err(BuildError::JavaScript(error)) => error.finding().unwrap().to_string(),
            Err(BuildError::Findings(findings)) => findings[0].to_string(),
            Ok(built) => built.findings[0].to_string(),
            Err(error) => panic!("{error}"),
        };
        assert!(found.starts_with(expected), "{source}: {found}");
    }
    let lone = tempfile::tempdir().unwrap();
    write(lone.path(), &[("handler.ts", TYPED), ("handler.js", "broken(")]);
    assert!(findings(lone.path()).is_empty(), "TypeScript comes before what a compiler left beside it");
}
