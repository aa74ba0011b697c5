//! `tidegate function push`: a function goes to a host. A file of JavaScript or TypeScript goes as it is, and the host builds
//! it, so that the engine is always the host's own; everything else is built here.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

use super::client::{Client, encode, findings};
use super::print::{self, Format};
use super::progress::Progress;
use super::{local, signing};
use crate::catalog::build::lone_script;
use crate::catalog::javascript::name_of;
use crate::catalog::signature::Signature;

const PATH: &str = "/api/v1/functions";

/// Uploads what is at this path; the host's answer. What the author should look at goes to standard error.
pub(super) async fn push(path: &Path, client: &Client, progress: &Progress) -> anyhow::Result<Value> {
    let answer = match lone_script(path)? {
        Some(script) => push_script(path, &script, client, progress).await?,
        None => {
            let (kind, body) = with_cases(component(path, progress).await?, path)?;
            client.upload(PATH, &kind, &[], body, progress).await?
        }
    };
    tell(&answer);
    Ok(answer)
}

/// A component, which is built first if it is none.
async fn component(path: &Path, progress: &Progress) -> anyhow::Result<Vec<u8>> {
    if !path.is_file() {
        progress.awaits(&format!("building {}", path.display()));
    }
    let component = local::component(path).await;
    progress.done();
    component
}

/// What the author should look at.
fn tell(answer: &Value) {
    findings(answer).for_each(|line| eprintln!("{line}"));
    for breaking in answer["breaking"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("breaking for destinations that follow: {breaking}");
    }
}

/// With what an upload is signed.
pub(super) enum With {
    /// The file of a private key.
    Key(PathBuf),
    /// The file of a signature that was made before.
    Signature(PathBuf),
}

/// Uploads the component at this path, which is built here if it is none, with its signature. What is signed must be what is uploaded,
/// so that nothing is left for the host to build.
pub(super) async fn push_signed(
    path: &Path,
    with: &With,
    client: &Client,
    progress: &Progress,
) -> anyhow::Result<Value> {
    let component = component(path, progress).await?;
    let signature = match with {
        With::Key(key) => signing::signature(&component, key, None)?.to_string(),
        With::Signature(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
            text.parse::<Signature>().with_context(|| format!("`{}`", file.display()))?.to_string()
        }
    };
    let headers = [("tidegate-signature", signature.as_str())];
    let (kind, body) = with_cases(component, path)?;
    let answer = client.upload(PATH, &kind, &headers, body, progress).await?;
    tell(&answer);
    Ok(answer)
}

/// Uploads a script, which stands in the folder `path` or is `path` itself.
async fn push_script(path: &Path, script: &Path, client: &Client, progress: &Progress) -> anyhow::Result<Value> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()));
    let source = read(script)?;
    let manifest = if path.is_dir() { path.join("function.toml") } else { script.with_file_name("function.toml") };
    let typed = script.extension().is_some_and(|ending| ending == "ts" || ending == "mts");
    if !manifest.is_file() {
        let kind = if typed { "text/typescript" } else { "text/javascript" };
        let query = format!("{PATH}?name={}", encode(&name_of(script)));
        return client.upload(&query, kind, &[], source.into(), progress).await;
    }
    let field = if typed { "handler.ts" } else { "handler.js" };
    let own = vec![("function.toml".to_owned(), read(&manifest)?), (field.to_owned(), source)];
    let (kind, form) = form(&[own, cases(path)?].concat());
    client.upload(PATH, &kind, &[], form.into(), progress).await
}

/// A component and the cases of the folder that it was made of, if there are some: what kind of body that is, and the body.
fn with_cases(component: Vec<u8>, folder: &Path) -> anyhow::Result<(String, Bytes)> {
    let cases = cases(folder)?;
    if cases.is_empty() {
        return Ok(("application/wasm".to_owned(), component.into()));
    }
    let (kind, form) = form(&[vec![("component".to_owned(), component)], cases].concat());
    Ok((kind, form.into()))
}

/// The cases of a folder, as fields of a form. What is no case is refused by the host, which says why.
fn cases(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let all = crate::catalog::cases::load(&folder.join("cases"))?;
    let field = |path: PathBuf| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let name: String = path.file_name().unwrap_or_default().to_string_lossy().chars().map(plain).collect();
        let text = std::fs::read(&path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        Ok((format!("cases/{name}"), text))
    };
    all.into_iter().map(|(path, _)| field(path)).collect()
}

/// Prints what became of an upload, and on stderr what comes next.
pub(super) fn show(format: Format, answer: &Value) {
    if format == Format::Json {
        return print::json(answer);
    }
    let (function, version) = (&answer["function"], &answer["version"]);
    let text = |value: &Value| print::cell(value);
    let (name, number, stage) = (text(&function["name"]), text(&version["version"]), text(&function["stage"]));
    println!("pushed {name} {number} ({}, {} KB)", text(&version["id"]), version["size"].as_u64().unwrap_or(0) / 1000);
    let cases = answer["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed: Vec<_> = cases.iter().filter(|case| case["passed"] != true).collect();
    if !cases.is_empty() {
        println!("cases: {} passed, {} failed", cases.len() - failed.len(), failed.len());
    }
    for case in failed {
        println!("FAILED {}: {}", text(&case["file"]), text(&case["name"]));
        let lines = case["differences"].as_array().into_iter().flatten();
        lines.for_each(|line| println!("        {}", text(line)));
    }
    println!("stage: {stage}");
    let current = function["current"] == version["id"];
    let customers = !["building", "submitted"].contains(&stage.as_str());
    let next = match (customers, version["approved"] == true, current) {
        (false, ..) => format!("customers do not see it yet: tidegate function submit {name}"),
        (true, false, _) => {
            let wider = answer["wider"].as_array().into_iter().flatten();
            wider.for_each(|line| eprintln!("not approved: {}", text(line)));
            format!("customers do not run it before it is approved: tidegate function submit {name} --version {number}")
        }
        (true, true, false) => format!("it is not current yet: tidegate function promote {name} {number}"),
        (true, true, true) => "it is the current version: who follows runs it".to_owned(),
    };
    eprintln!("{next}");
}

/// A form (RFC 7578): its content type and its bytes.
pub(super) fn form<N: std::fmt::Display>(fields: &[(N, Vec<u8>)]) -> (String, Vec<u8>) {
    // Random, so that it stands in none of the fields.
    let boundary = format!("tidegate-{}", uuid::Uuid::new_v4().simple());
    let mut body = Vec::new();
    for (name, content) in fields {
        body.extend(format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes());
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
