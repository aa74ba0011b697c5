//! Functions as partners write them, in our sandbox and in Node with the libraries that comparable systems give them:
//! the same requests, byte by byte, and the same endings.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tidegate::model::{Answer, Ending, Exchange, InvocationReport};

use super::function::Function;
use crate::host::clients;

/// Runs the file that comes with the settings, so that one component, which takes seconds to compile in a test's build,
/// serves all files. Evaluated like this, a file is a sloppy script, as it is when a function is built of it.
const RUNNER: &str = r"
const kinds = ['onTrack', 'onIdentify', 'onPage', 'onScreen', 'onGroup', 'onAlias', 'onDelete', 'onBatch'];
for (const kind of kinds) {
  globalThis[kind] = function (given, { source, settings }) {
    for (const other of kinds) delete globalThis[other];
    const handler = (0, eval)(`${source}\n;typeof ${kind} === 'function' ? ${kind} : undefined`);
    if (handler === undefined) throw new EventNotSupported(kind);
    return handler(given, settings);
  };
}
";

/// A form's boundary is random, in any engine.
fn without_boundary(mut text: String) -> String {
    while let Some(at) = text.find("--------------------------") {
        let end = text[at..].find(|c: char| c != '-' && !c.is_ascii_hexdigit()).map_or(text.len(), |end| at + end);
        text.replace_range(at..end, "BOUNDARY");
    }
    text
}

fn shown(request: &Exchange) -> Value {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &*request.headers {
        match headers.iter_mut().find(|(known, _)| known == name) {
            Some((_, joined)) => *joined = format!("{joined}, {value}"),
            None => headers.push((name.clone(), value.clone())),
        }
    }
    // What node-fetch adds only while it sends, where the function says nothing else.
    headers.retain(|(name, value)| (name.as_str(), value.as_str()) != ("accept", "*/*"));
    headers.sort();
    let latin1: String = request.body.iter().map(|byte| char::from(*byte)).collect();
    json!({"method": request.method, "url": request.url, "headers": headers, "body": latin1})
}

fn meaning(answer: &Answer) -> String {
    match answer {
        Answer::Delivered => "delivered".to_owned(),
        Answer::Unsupported => "unsupported".to_owned(),
        Answer::Rejected(why) => format!("rejected: {why}"),
        Answer::Retry { message, .. } => format!("retry: {message}"),
        Answer::InvalidSettings(why) => format!("invalid settings: {why}"),
        Answer::Failed { name, .. } => format!("failed: {name}"),
    }
}

fn ours(report: &InvocationReport) -> Value {
    let endings: Vec<String> = match &report.ending {
        Ending::Answered(answers) => answers.iter().map(meaning).collect(),
        other => vec![format!("{other:?}")],
    };
    json!({"requests": report.requests.iter().map(shown).collect::<Vec<_>>(), "endings": endings})
}

fn nodes(source: &str, settings: &Value, call: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/functions.cjs");
    let mut node = Command::new("node");
    node.envs([("TZ", "UTC"), ("LC_ALL", "en_US.UTF-8")]);
    node.arg(script).current_dir(clients().join("node")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().expect("node runs");
    let input = json!({"source": source, "settings": settings, "call": call}).to_string();
    node.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    let mut ran: Value = serde_json::from_slice(&output.stdout).expect("what Node's side wrote");
    for request in ran["requests"].as_array_mut().unwrap() {
        request["headers"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    }
    ran
}

/// The functions of `tests/javascript`, each with its calls beside it.
fn functions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("javascript");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "js")).collect();
    found.sort();
    assert!(found.len() > 5, "{found:?}");
    found
}

/// One call here and there; what differs, line by line.
async fn differences(function: &Function, source: &str, settings: &Value, call: &Value) -> Vec<String> {
    let mut own = settings.as_object().cloned().unwrap_or_default();
    own.extend(call["settings"].as_object().cloned().unwrap_or_default());
    let (events, batch) = match call["events"].as_array() {
        Some(events) => (events.clone(), true),
        None => (vec![call["event"].clone()], false),
    };
    let answers = if call["answers"].is_array() { call["answers"].clone() } else { json!([]) };
    let report = function.call(&events, batch, &json!({"source": source, "settings": own}), &answers).await;
    let lines = |ran: &Value| without_boundary(serde_json::to_string_pretty(ran).unwrap());
    let (ours, nodes) = (lines(&ours(&report)), lines(&nodes(source, &Value::Object(own), call)));
    if ours.lines().count() != nodes.lines().count() {
        return vec![format!("  ours {ours}\n  node {nodes}")];
    }
    let pairs = ours.lines().zip(nodes.lines()).filter(|(our, node)| our != node);
    pairs.map(|(our, node)| format!("  ours {our}\n  node {node}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_do_the_same_as_under_node() {
    let mut wrong = Vec::new();
    let function = Function::build(RUNNER).await;
    for path in functions() {
        let source = fs::read_to_string(&path).unwrap();
        let calls: Value = serde_json::from_str(&fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
        for call in calls["calls"].as_array().unwrap() {
            let name = path.file_name().unwrap().to_string_lossy();
            for line in differences(&function, &source, &calls["settings"], call).await {
                wrong.push(format!("{name} {}\n{line}", call["handler"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
