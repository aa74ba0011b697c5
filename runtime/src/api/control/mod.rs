//! The control API: what people and programs make, see, change and delete. One file for each resource.
//!
//! Guarantees: every call but those about health carries an actor; answers have no secrets; the description at
//! `/openapi.json` is made from the handlers that are served, so it cannot name others.

mod connections;
mod deliveries;
mod destinations;
mod functions;
mod ledger;
mod logs;
mod masking;
mod sources;
mod trial;
mod upload;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ApiState, Problem, health};
use crate::store::Paged;

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
    let api = Arc::new(finish(api));
    router
        // Every body is read by our own bounded reader; a second bound would only hide the first.
        .layer(DefaultBodyLimit::disable())
        .route("/openapi.json", axum::routing::get(async move || Json(OpenApi::clone(&api))))
        .fallback(async |uri: Uri| {
            Problem::not_found(format!("`{}` is no path of the control API; /openapi.json lists them", uri.path()))
        })
        .method_not_allowed_fallback(async || {
            let detail = "this path does not take that method; /openapi.json lists those it takes";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
}

fn described() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::version))
        .routes(routes!(health::metrics))
        .merge(sources::routes())
        .merge(functions::routes())
        .merge(trial::routes())
        .merge(logs::routes())
        .merge(destinations::routes())
        .merge(connections::routes())
        .merge(deliveries::routes())
        .merge(ledger::routes())
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

/// Adds what holds for all calls: the token, and the form of every error.
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
        let all = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in all.into_iter().filter_map(Option::as_mut) {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
            if path.starts_with("/api/") {
                operation.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
            }
        }
    }
    OpenApiBuilder::from(api).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_with_its_error_form_and_its_token() {
        let (_, api) = described().split_for_parts();
        let api = serde_json::to_value(finish(api)).unwrap();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
        let paths = api["paths"].as_object().unwrap();
        for path in ["sources", "destinations", "connections", "functions", "deliveries", "ledger"] {
            assert!(paths.contains_key(&format!("/api/v1/{path}")), "{path}");
        }
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                let secured = operation["security"][0]["bearer"].is_array();
                assert_eq!(secured, path.starts_with("/api/"), "{method} {path}");
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            }
        }
    }
}
