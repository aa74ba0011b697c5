//! `tidegate function push`: a function goes to a host. A file of JavaScript or TypeScript goes as it is, and the host builds
//! it, so that the engine is always the host's own; everything else is built here.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{Client, encode, findings};
use super::{local, signing};
use crate::catalog::build::lone_script;
use crate::catalog::javascript::name_of;
use crate::catalog::signature::Signature;

const PATH: &str = "/api/v1/functions";

/// Uploads what is at this path; the host's answer. What the author should look at goes to standard error.
pub(super) async fn push(path: &Path, client: &Client) -> anyhow::Result<Value> {
    let answer = match lone_script(path)? {
        Some(script) => push_script(path, &script, client).await?,
        None => {
            let component = Bytes::from(local::component(path).await?);
            client.call(Method::POST, PATH, "application/wasm", component).await?
        }
    };
    tell(&answer);
    Ok(answer)
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
pub(super) async fn push_signed(path: &Path, with: &With, client: &Client) -> anyhow::Result<Value> {
    let component = local::component(path).await?;
    let signature = match with {
        With::Key(key) => signing::signature(&component, key, None)?.to_string(),
        With::Signature(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
            text.parse::<Signature>().with_context(|| format!("`{}`", file.display()))?.to_string()
        }
    };
    let headers = [("tidegate-signature", signature.as_str())];
    let answer = client.call_with(Method::POST, PATH, "application/wasm", &headers, Bytes::from(component)).await?;
    tell(&answer);
    Ok(answer)
}

/// Uploads a script, which stands in the folder `path` or is `path` itself.
async fn push_script(path: &Path, script: &Path, client: &Client) -> anyhow::Result<Value> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()));
    let source = read(script)?;
    let manifest = if path.is_dir() { path.join("function.toml") } else { script.with_file_name("function.toml") };
    let typed = script.extension().is_some_and(|ending| ending == "ts" || ending == "mts");
    if !manifest.is_file() {
        let kind = if typed { "text/typescript" } else { "text/javascript" };
        let query = format!("{PATH}?name={}", encode(&name_of(script)));
        return client.call(Method::POST, &query, kind, source.into()).await;
    }
    let field = if typed { "handler.ts" } else { "handler.js" };
    let (kind, form) = form(&[("function.toml", read(&manifest)?), (field, source)]);
    client.call(Method::POST, PATH, &kind, form.into()).await
}

/// A form (RFC 7578): its content type and its bytes.
pub(super) fn form(fields: &[(&str, Vec<u8>)]) -> (String, Vec<u8>) {
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
