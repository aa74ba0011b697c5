//! `tidegate function push`: a function goes to a host. JavaScript goes as it is, and the host builds it, so that the
//! engine is always the host's own; everything else is built here.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{Client, encode, findings};
use super::local;
use crate::catalog::javascript::name_of;

const PATH: &str = "/api/v1/functions";

/// Uploads what is at this path; the host's answer. What the author should look at goes to standard error.
pub(super) async fn push(path: &Path, client: &Client) -> anyhow::Result<Value> {
    let script = path.join("handler.js");
    let answer = if script.is_file() {
        push_script(&script, client).await?
    } else if path.extension().is_some_and(|ending| ending == "js") {
        push_script(path, client).await?
    } else {
        let component = Bytes::from(local::component(path).await?);
        client.call(Method::POST, PATH, "application/wasm", component).await?
    };
    findings(&answer).for_each(|line| eprintln!("{line}"));
    for breaking in answer["breaking"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("breaking for destinations that follow: {breaking}");
    }
    Ok(answer)
}

async fn push_script(script: &Path, client: &Client) -> anyhow::Result<Value> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()));
    let source = read(script)?;
    let manifest = script.with_file_name("function.toml");
    if !manifest.is_file() {
        let path = format!("{PATH}?name={}", encode(&name_of(script)));
        return client.call(Method::POST, &path, "text/javascript", source.into()).await;
    }
    let (kind, form) = form(&[("function.toml", read(&manifest)?), ("handler.js", source)]);
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
