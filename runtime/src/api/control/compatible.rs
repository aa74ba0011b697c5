//! `/functions`: the calls by which existing tools write functions for another host, in the form that they know.
//!
//! Guarantees: nothing is done here that the control API does not do: the same keys, roles, bounds and checks. Changed code
//! is a new version, which runs once it is deployed.
//! What has no counterpart here is refused, with what to use instead: deletion, for versions stay while deliveries name them,
//! and functions that are no destinations.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::compatible_shape::Data;
use super::functions::{Added, Promotion, add, find, promoted, publisher};
use super::{numbers, upload};
use crate::api::extract::{Asked, Body, Limit};
use crate::api::{ApiState, Problem};
use crate::catalog::javascript::name_of;
use crate::catalog::manifest;
use crate::catalog::workshop::Job;
use crate::model::{
    Actor, EventType, Function, FunctionVersion, Listing, Manifest, ScriptText, Setting, SettingType, VersionId,
};
use crate::store::Page;

/// The only kind of function that there is here.
const DESTINATION: &str = "DESTINATION";

/// How often a change begins anew because others changed the function at the same moment. Each time, one of those others was done.
const TRIES: usize = 16;

/// A new function's file.
const FILE: &str = "handler.js";

type Answer<T> = Result<Json<Data<T>>, Problem>;

/// What a tool makes a function of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToMake {
    code: String,
    resource_type: String,
    display_name: String,
    #[serde(default)]
    settings: Vec<SettingShape>,
    logo_url: Option<String>,
    description: Option<String>,
}

/// What a tool changes; what is absent stays.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToChange {
    code: Option<String>,
    display_name: Option<String>,
    settings: Option<Vec<SettingShape>>,
    logo_url: Option<String>,
    description: Option<String>,
}

/// One thing that a customer configures.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingShape {
    name: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    description: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    sensitive: bool,
}

/// Which part of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "resourceType")]
    resource_type: Option<String>,
    #[serde(rename = "pagination.count")]
    count: Option<Limit>,
    #[serde(rename = "pagination.cursor")]
    cursor: Option<String>,
}

/// The version that is to run again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToRestore {
    version_id: String,
}

pub(super) fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/functions", get(list).post(create))
        .route("/functions/{id}", get(show).patch(change).delete(keep))
        .route("/functions/{id}/deploy", post(deploy))
        .route("/functions/{id}/versions", get(versions).post(restore))
        .route("/functions/{id}/versions/{version}", get(version))
}

fn data<T>(data: T) -> Answer<T> {
    Ok(Json(Data { data }))
}

async fn list(State(state): State<Arc<ApiState>>, actor: Actor, Asked(part): Asked<Part>) -> Answer<Value> {
    if part.resource_type.as_deref().is_some_and(|kind| kind != DESTINATION) {
        return data(json!({"functions": [], "pagination": {"current": ""}}));
    }
    let (page, current) = part.page();
    let found = state.store.list_functions(&actor, &page).await?;
    let mut functions = Vec::with_capacity(found.items.len());
    for function in &found.items {
        functions.push(Value::Object(brief(function, &newest(&state, &actor, function).await?.1)));
    }
    data(json!({"functions": functions, "pagination": pagination(&current, found.next)}))
}

async fn create(State(state): State<Arc<ApiState>>, actor: Actor, Body(asked): Body<ToMake>) -> Answer<Value> {
    if asked.resource_type != DESTINATION {
        let shown: String = asked.resource_type.chars().take(40).collect();
        let detail = format!("`resourceType` is `{shown}`: this host has functions of the type `{DESTINATION}` only");
        return Err(Problem::bad_request("invalid_field", detail));
    }
    let name = name_of(FilePath::new(&asked.display_name.replace(['/', '.'], "-")));
    if let Some(known) = state.store.find_function(&publisher(&actor), &name).await? {
        let detail = format!("there is a function `{name}`: change it by PATCH /functions/{}", known.id);
        return Err(Problem::new(axum::http::StatusCode::CONFLICT, "name_taken", detail));
    }
    let mut manifest = Manifest { name, version: "1".to_owned(), ..blank() };
    describe(&mut manifest, Some(asked.settings), asked.description, asked.logo_url)?;
    let function = build(&state, &actor, &manifest, FILE.to_owned(), asked.code).await?.function;
    data(json!({"function": shape(&state, &actor, &function).await?}))
}

async fn show(State(state): State<Arc<ApiState>>, actor: Actor, Path(function): Path<String>) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    data(json!({"function": shape(&state, &actor, &function).await?}))
}

async fn change(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(asked): Body<ToChange>,
) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    if let Some(name) = asked.display_name.as_ref().filter(|name| **name != function.name) {
        let shown: String = name.chars().take(80).collect();
        let detail = format!("`displayName` is `{shown}`: a function keeps its name, `{}`", function.name);
        return Err(Problem::unprocessable("invalid_name", detail));
    }
    for _ in 1..TRIES {
        match changed(&state, &actor, &function, asked.clone()).await {
            Err(problem) if problem.code() == "version_taken" => {}
            done => return done,
        }
    }
    changed(&state, &actor, &function, asked).await
}

/// Makes a new version of the newest one with what is changed. Whoever does so at the same moment finds the same free number, which
/// only one of them gets.
async fn changed(state: &ApiState, actor: &Actor, function: &Function, asked: ToChange) -> Answer<Value> {
    let (newest, number) = loop {
        let (count, before) = newest(state, actor, function).await?;
        let number = numbers::free(state, actor, function, count).await?;
        // One that came in between has a number before this one, and is to be changed in place of the one that was read.
        if newest(state, actor, function).await?.0 == count {
            break (before, number);
        }
    };
    let script = state.store.script(actor, function.id, newest.id).await?.ok_or_else(|| {
        let detail = format!(
            "the newest version of `{}` came as a component, so there is no code here to change: push it with \
             `tidegate function push`",
            function.name
        );
        Problem::unprocessable("invalid_source", detail)
    })?;
    let mut manifest = newest.manifest;
    manifest.version = number;
    describe(&mut manifest, asked.settings, asked.description, asked.logo_url)?;
    let ScriptText { file, text } = script;
    build(state, actor, &manifest, file, asked.code.unwrap_or(text)).await?;
    data(json!({"function": shape(state, actor, function).await?}))
}

/// Versions stay while deliveries name them, so nothing is deleted here.
async fn keep(State(state): State<Arc<ApiState>>, actor: Actor, Path(function): Path<String>) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    let detail = format!(
        "`{}` cannot be deleted, for deliveries name its versions: {{\"stage\": \"deprecated\"}} to POST \
         /api/v1/functions/{}/stage lets nobody else begin",
        function.name, function.id
    );
    Err(Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail))
}

async fn deploy(State(state): State<Arc<ApiState>>, actor: Actor, Path(function): Path<String>) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    let (_, newest) = newest(&state, &actor, &function).await?;
    if newest.id != function.current {
        promoted(&state, &actor, &function, newest.id, &Promotion::default()).await?;
    }
    data(json!({"functionDeployment": {"status": "SUCCESS"}}))
}

async fn versions(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Asked(part): Asked<Part>,
) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    let (page, current) = part.page();
    let found = state.store.list_versions(&actor, function.id, &page).await?;
    let mut versions = Vec::with_capacity(found.items.len());
    for version in &found.items {
        versions.push(version_shape(&state, &actor, &function, version).await?);
    }
    data(json!({"versions": versions, "pagination": pagination(&current, found.next)}))
}

async fn version(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path((function, version)): Path<(String, String)>,
) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    let version = one_version(&state, &actor, &function, &version).await?;
    data(json!({"version": version_shape(&state, &actor, &function, &version).await?}))
}

/// Makes an older version run again.
async fn restore(
    State(state): State<Arc<ApiState>>,
    actor: Actor,
    Path(function): Path<String>,
    Body(asked): Body<ToRestore>,
) -> Answer<Value> {
    let function = find(&state, &actor, &function).await?;
    let version = one_version(&state, &actor, &function, &asked.version_id).await?;
    let function = match version.id == function.current {
        true => function,
        false => promoted(&state, &actor, &function, version.id, &Promotion::default()).await?,
    };
    data(json!({"version": version_shape(&state, &actor, &function, &version).await?}))
}

async fn one_version(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    version: &str,
) -> Result<FunctionVersion, Problem> {
    let version: VersionId = crate::api::extract::id(version)?;
    Ok(state.store.get_version(actor, function.id, version).await?)
}

/// How many versions a function has for this actor, and the newest of them.
async fn newest(state: &ApiState, actor: &Actor, function: &Function) -> Result<(usize, FunctionVersion), Problem> {
    let all = state.store.version_ids(actor, function.id).await?;
    // What waits for its deployment is no customer's.
    let newest = all.last().copied().filter(|_| actor.customer().is_none()).unwrap_or(function.current);
    Ok((all.len(), state.store.get_version(actor, function.id, newest).await?))
}

/// A manifest that says nothing yet; what it has of events is replaced when the code is built.
fn blank() -> Manifest {
    Manifest {
        name: String::new(),
        version: String::new(),
        description: None,
        listing: None,
        events: vec![EventType::Track],
        reads: crate::model::Reads::default(),
        egress: crate::model::Egress::default(),
        settings: std::collections::BTreeMap::new(),
        open_settings: false,
        limits: crate::model::ManifestLimits::default(),
        batch: None,
        rate: None,
        retry: None,
    }
}

/// Puts what a tool says about a function into its manifest.
fn describe(
    manifest: &mut Manifest,
    settings: Option<Vec<SettingShape>>,
    description: Option<String>,
    logo: Option<String>,
) -> Result<(), Problem> {
    for setting in settings.iter().flatten() {
        let known = manifest.settings.get(&setting.name).cloned();
        manifest.settings.insert(setting.name.clone(), setting.described(known)?);
    }
    if let Some(settings) = settings {
        manifest.settings.retain(|name, _| settings.iter().any(|setting| setting.name == *name));
    }
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    manifest.description = given(description).or_else(|| manifest.description.take());
    if let Some(logo) = given(logo) {
        manifest.listing.get_or_insert_with(Listing::default).logo = Some(logo);
    }
    Ok(())
}

impl SettingShape {
    /// The same in this host's words. Code that was written for that host computes with its settings, secrets as well, so it is
    /// given them, as customers are shown.
    fn described(&self, known: Option<Setting>) -> Result<Setting, Problem> {
        let kind = match self.kind.to_ascii_lowercase().as_str() {
            "string" => SettingType::String,
            "boolean" => SettingType::Boolean,
            "array" => SettingType::Array,
            "text_map" | "map" => SettingType::Map,
            other => {
                let shown: String = other.chars().take(40).collect();
                let detail = format!(
                    "`settings.{}.type` is `{shown}`: it must be `STRING`, `BOOLEAN`, `ARRAY` or `TEXT_MAP`",
                    self.name
                );
                return Err(Problem::bad_request("invalid_field", detail));
            }
        };
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let fresh = Setting {
            kind,
            secret: false,
            reveal: false,
            required: false,
            default: None,
            label: None,
            description: None,
            choices: Vec::new(),
            choices_from: None,
            pattern: None,
            when: std::collections::BTreeMap::new(),
            bind: Vec::new(),
        };
        let mut setting = known.unwrap_or(fresh);
        (setting.kind, setting.required, setting.secret) = (kind, self.required, self.sensitive);
        setting.reveal = self.sensitive && setting.bind.is_empty();
        setting.label = given(&self.label).or(setting.label);
        setting.description = given(&self.description).or(setting.description);
        Ok(setting)
    }

    fn of(name: &str, setting: &Setting) -> Self {
        let kind = match setting.kind {
            SettingType::String | SettingType::Number => "STRING",
            SettingType::Boolean => "BOOLEAN",
            SettingType::Array => "ARRAY",
            SettingType::Map => "TEXT_MAP",
        };
        Self {
            name: name.to_owned(),
            label: setting.label.clone().unwrap_or_default(),
            description: setting.description.clone().unwrap_or_default(),
            kind: kind.to_owned(),
            required: setting.required,
            sensitive: setting.secret,
        }
    }
}

/// Builds code with what is said about it, and stores it as a version.
async fn build(
    state: &ApiState,
    actor: &Actor,
    manifest: &Manifest,
    file: String,
    code: String,
) -> Result<Added, Problem> {
    let manifest =
        manifest::text(manifest).map_err(|error| Problem::unprocessable("invalid_manifest", error.to_string()))?;
    let job = Job::Source { file, manifest: Some(manifest), version: None, follows: true };
    let made = upload::build(state, actor, job, Bytes::from(code)).await?;
    // It has no field for a signature.
    add(state, actor, made, None, &HeaderMap::new()).await
}

impl Part {
    /// Which page is meant, and what that is called.
    fn page(self) -> (Page, String) {
        let current = self.cursor.clone().unwrap_or_default();
        (Page { after: self.cursor, limit: Limit::or_default(self.count) }, current)
    }
}

fn pagination(current: &str, next: Option<String>) -> Value {
    match next {
        Some(next) => json!({"current": current, "next": next}),
        None => json!({"current": current}),
    }
}

/// What a list says of a function, by its newest version.
fn brief(function: &Function, newest: &FunctionVersion) -> Map<String, Value> {
    let logo = newest.manifest.listing.as_ref().and_then(|listing| listing.logo.clone());
    let fields = [
        ("id", function.id.to_string()),
        ("resourceType", DESTINATION.to_owned()),
        ("createdAt", function.created_at.to_string()),
        ("createdBy", function.partner.to_string()),
        ("displayName", function.name.clone()),
        ("description", newest.manifest.description.clone().unwrap_or_default()),
        ("logoUrl", logo.unwrap_or_default()),
        ("catalogId", function.id.to_string()),
    ];
    fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
}

/// A function in their form: the code is that of its newest version, which may wait to be deployed.
async fn shape(state: &ApiState, actor: &Actor, function: &Function) -> Result<Value, Problem> {
    let (_, newest) = newest(state, actor, function).await?;
    let current = state.store.get_version(actor, function.id, function.current).await?;
    let script = state.store.script(actor, function.id, newest.id).await?;
    let mut shown = brief(function, &newest);
    let settings: Vec<_> =
        newest.manifest.settings.iter().map(|(name, setting)| SettingShape::of(name, setting)).collect();
    let more = [
        ("code", json!(script.map(|script| script.text).unwrap_or_default())),
        ("deployedAt", json!(current.created_at.to_string())),
        ("settings", json!(settings)),
        ("batchMaxCount", json!(newest.manifest.batch.map_or(0, |batch| batch.max_events))),
        ("isLatestVersion", json!(newest.id == function.current)),
    ];
    shown.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Ok(Value::Object(shown))
}

async fn version_shape(
    state: &ApiState,
    actor: &Actor,
    function: &Function,
    version: &FunctionVersion,
) -> Result<Value, Problem> {
    let script = state.store.script(actor, function.id, version.id).await?;
    let (at, deployed) = (version.created_at.to_string(), version.id == function.current);
    Ok(json!({
        "id": version.id.to_string(),
        "author": function.partner.to_string(),
        "code": script.map(|script| script.text).unwrap_or_default(),
        "isDeployed": deployed,
        "createdAt": at,
        "updatedAt": at,
        "deployedAt": deployed.then_some(at.clone()),
    }))
}
