//! The control API: what people and programs make, see, change and delete. One file for each resource.
//!
//! Guarantees: every call but those about health carries an actor; answers have no secrets; the description at
//! `/openapi.json` is made from the handlers that are served, so it cannot name others.

mod access;
mod audit;
mod checking;
mod choices;
mod compatible;
mod compatible_shape;
mod connections;
mod deliveries;
mod destinations;
mod functions;
mod keys;
mod ledger;
mod lifecycle;
mod links;
mod logs;
mod masking;
mod narrow;
mod numbers;
mod partners;
mod replays;
mod reviews;
mod scripts;
mod signing;
mod sources;
mod suppressions;
mod trial;
mod turns;
mod upload;
mod vault;
mod versions;
mod wishes;
mod workspaces;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Method;
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use upload::CONTENT_DIGEST;

use super::auth::{authorise, unrouted};
use super::changing::changing;
use super::etags::etags;
use super::once::once;
use super::{ApiState, Problem, health, policy, problems};
use crate::model::Tenant;
use crate::store::{Paged, TenantId};

/// Part of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The items.
    items: Vec<T>,
    /// Give this as `after` for the next part; `null` at the end.
    next: Option<String>,
}

impl<T> List<T> {
    fn of<U>(page: Paged<U>, view: impl FnMut(U) -> T) -> Self {
        Self { items: page.items.into_iter().map(view).collect(), next: page.next }
    }
}

/// The admin listener's routes.
pub fn admin_router(state: &Arc<ApiState>) -> Router {
    let (router, api) = described().with_state(Arc::clone(state)).split_for_parts();
    // A description has only texts, numbers and lists of them.
    let api =
        Arc::new(narrow::narrow(serde_json::to_value(finish(api)).unwrap_or_default(), state.replay.max_events_per_s));
    let (unknown, unfit) = (Arc::clone(state), Arc::clone(state));
    let router = router
        // What these look like is said where their tools come from.
        .merge(compatible::routes().with_state(Arc::clone(state)))
        .route_layer(middleware::from_fn_with_state(Arc::clone(state), changing))
        .route_layer(middleware::from_fn_with_state(Arc::clone(state), once))
        .route_layer(middleware::from_fn_with_state(Arc::clone(state), authorise))
        // Every body is read by our own bounded reader; a second bound would only hide the first.
        .layer(DefaultBodyLimit::disable())
        .route("/problems", axum::routing::get(problems::list))
        .route("/problems/{code}", axum::routing::get(problems::show))
        .route("/openapi.json", axum::routing::get(async move || Json(Value::clone(&api))))
        .fallback(async move |request: Request| {
            let path = request.uri().path();
            let problem =
                Problem::not_found(format!("`{path}` is no path of the control API; /openapi.json lists them"));
            unrouted(&unknown, &request.into_parts().0, problem).await
        })
        .method_not_allowed_fallback(async move |request: Request| {
            unrouted(&unfit, &request.into_parts().0, Problem::method_not_allowed()).await
        });
    // Around the whole router, and not in it: before a change the thing is asked for as any client would.
    Router::new()
        .fallback_service(router)
        .layer(middleware::from_fn(etags))
        .layer(middleware::from_fn(compatible_shape::shaped))
}

fn described() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .merge(workspaces::routes())
        .merge(partners::routes())
        .merge(keys::routes())
        .merge(links::routes())
        .merge(signing::routes())
        .merge(sources::routes())
        .merge(functions::routes())
        .merge(versions::routes())
        .merge(scripts::routes())
        .merge(access::routes())
        .merge(lifecycle::routes())
        .merge(reviews::routes())
        .merge(trial::routes())
        .merge(choices::routes())
        .merge(logs::routes())
        .merge(destinations::routes())
        .merge(connections::routes())
        .merge(deliveries::routes())
        .merge(replays::routes())
        .merge(suppressions::routes())
        .merge(wishes::routes())
        .merge(ledger::routes())
        .merge(audit::routes())
        .merge(vault::routes())
}

/// A name for people: 1 to 100 characters on one line. Longer ones only break tables.
fn check_name(field: &str, name: &str) -> Result<(), Problem> {
    let fits = (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits && name.trim() == name {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    let rule = "it must have 1 to 100 characters, none of them a control character, and no space around them";
    Err(Problem::unprocessable("invalid_name", format!("`{field}` is `{shown}`: {rule}")))
}

/// A workspace or a partner.
#[derive(Serialize, ToSchema)]
struct TenantView {
    /// Its id.
    id: String,
    /// Its name, unique on the host.
    name: String,
    /// When it was made.
    created_at: String,
}

/// A workspace or a partner to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantToMake {
    /// Its name, unique on the host.
    name: String,
}

/// A change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    /// A new name.
    name: Option<String>,
}

impl<I: TenantId> From<Tenant<I>> for TenantView {
    fn from(tenant: Tenant<I>) -> Self {
        Self { id: tenant.id.to_string(), name: tenant.name, created_at: tenant.created_at.to_string() }
    }
}

/// A tenant's name: what begins like an id would be taken for one.
fn check_tenant_name(name: &str) -> Result<(), Problem> {
    check_name("name", name)?;
    if let Some(prefix) = ["ws_", "prt_"].into_iter().find(|prefix| name.starts_with(prefix)) {
        let detail = format!("`name` is `{name}`: it must not begin with `{prefix}`, as ids do");
        return Err(Problem::unprocessable("invalid_name", detail));
    }
    Ok(())
}

/// Adds what holds for all calls: the token, who may, and the form of every error.
fn finish(mut api: OpenApi) -> OpenApi {
    let info = InfoBuilder::new().title("Tidegate control API").version(env!("CARGO_PKG_VERSION")).build();
    api.info = info;
    let components = api.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), <Problem as PartialSchema>::schema());
    components.schemas.insert("Finding".to_owned(), <super::problem::Finding as PartialSchema>::schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let problem = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
    let problem = ResponseBuilder::new().description("What went wrong").content("application/problem+json", problem);
    let problem = problem.build();
    for (path, item) in &mut api.paths.paths {
        let is_shown = item.get.is_some();
        let all = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in all {
            let Some(operation) = operation else { continue };
            // Handlers are named for their resource: `list` of sources and of keys are two operations.
            if let (Some(name), Some(tag)) = (&operation.operation_id, operation.tags.iter().flatten().next()) {
                operation.operation_id = Some(format!("{name}_{tag}"));
            }
            if let Some(action) = policy::action(&method, path) {
                let roles: Vec<_> = policy::roles(action).iter().map(|role| role.as_str()).collect();
                let before = operation.description.take().map(|text| text + "\n\n").unwrap_or_default();
                operation.description = Some(format!("{before}Roles: {}.", roles.join(", ")));
            }
            describe_headers(&method, path, is_shown, operation);
            operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
            if path.starts_with("/api/") && !policy::action(&method, path).is_some_and(policy::is_open) {
                operation.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
            }
        }
    }
    OpenApiBuilder::from(api).build()
}

/// The headers that hold for all calls of a kind. What is not shown at its path has no `etag` there.
fn describe_headers(method: &Method, path: &str, is_shown: bool, operation: &mut Operation) {
    let header = |name: &str, description: &str, pattern: Option<&str>| {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build();
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
        RefOr::T(header.description(Some(description)).schema(Some(RefOr::T(Schema::Object(text)))).build())
    };
    let parameters = operation.parameters.get_or_insert_default();
    let open = policy::action(method, path).is_some_and(policy::is_open);
    if path.starts_with("/api/") && *method == Method::POST && !open {
        let description = "The same key with the same request is answered as the first time, for a day.";
        parameters.push(header("idempotency-key", description, Some("^[!-~]{1,200}$")));
    }
    if path.starts_with("/api/") && (*method == Method::PATCH || *method == Method::DELETE) && is_shown {
        // In words: any tag that a program makes up by the description is a wrong one.
        let before = operation.description.take().map(|text| text + "\n\n").unwrap_or_default();
        let words = "With the header `if-match` only if the thing still has this `etag`; answered with 412 otherwise.";
        operation.description = Some(before + words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_with_its_error_form_and_its_token() {
        let (_, api) = described().split_for_parts();
        let api = narrow::narrow(serde_json::to_value(finish(api)).unwrap(), 10);
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
        let paths = api["paths"].as_object().unwrap();
        for path in ["sources", "destinations", "connections", "functions", "deliveries", "replays", "ledger"] {
            assert!(paths.contains_key(&format!("/api/v1/{path}")), "{path}");
        }
        let (mut calls, mut ids) = (0, std::collections::BTreeSet::new());
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let known = policy::action(&method.to_uppercase().parse().unwrap(), path).is_some();
                assert_eq!(known, path.starts_with("/api/"), "{method} {path} is not in the policy's table");
                calls += usize::from(known);
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
                let said = operation["description"].as_str().unwrap_or_default();
                let changes = ["patch", "delete"].contains(&method.as_str()) && operations["get"].is_object();
                assert_eq!(said.contains("`if-match`"), changes, "{method} {path}");
                let secured = operation["security"][0]["bearer"].is_array();
                assert_eq!(secured, path.starts_with("/api/") && path != "/api/v1/sessions", "{method} {path}");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let said = parameter["name"] != "after" || parameter["schema"]["pattern"].is_string();
                    assert!(said, "{method} {path}: it is not said what a cursor looks like");
                }
            }
        }
        let described = policy::CALLS.iter().filter(|(_, path, _)| !compatible_shape::is_compatible(path));
        assert_eq!(calls, described.count(), "the policy's table has calls that are not served");
    }
}
