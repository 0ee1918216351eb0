//! Every route, once: its handler, what it needs, and its place in the OpenAPI document.
//!
//! The routes of one need are gathered in one router. The same value puts the guard in front of them and writes the
//! security requirement beside them, so that the document cannot say anything else than what is enforced.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use edgeward_api::limits::JSON_BYTES_MAX;
use edgeward_api::otlp::Tracer;
use edgeward_api::{Problem, device, operator};
use edgeward_core::Role;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Need, guard};
use crate::app::App;
use crate::dashboard;
use crate::failure::Failure;
use crate::figures::observe;
use crate::handlers::{
    access, audit, blobs, certificates, deltas, device as devices, fleet, groups, metrics, models, nudges,
    projects, public, quarantine, records, repository, rollouts, shadows, sources,
};
use crate::mlflow;
use crate::spans::follow;

/// What a page of ours may load: nothing from elsewhere, nothing inline, and nobody may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "Edgeward control plane", description = "Every answer that is no success is a `Problem`."),
    components(schemas(Problem, operator::Run, device::Report))
)]
struct Description;

fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
}

/// Every route, under what it needs.
fn by_need() -> [(Need, OpenApiRouter<Arc<App>>); 7] {
    [
        (Need::Nothing, public_routes()),
        (Need::Device, device_routes()),
        (Need::DeviceOr(Role::Viewer), shared_routes()),
        (Need::Role(Role::Viewer), viewer_routes()),
        (Need::Role(Role::Operator), operator_routes()),
        (Need::Role(Role::Approver), approver_routes()),
        (Need::Role(Role::Admin), admin_routes()),
    ]
}

fn public_routes() -> OpenApiRouter<Arc<App>> {
    described()
        .routes(routes!(public::health))
        .routes(routes!(public::openapi))
        .routes(routes!(public::enrol))
}

fn device_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(nudges::nudges))
        .routes(routes!(certificates::advice, certificates::renew))
        .routes(routes!(devices::report))
        .routes(routes!(devices::profile))
        .routes(routes!(devices::samples))
        .routes(routes!(devices::alerts))
        .routes(routes!(records::upload))
}

fn shared_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(blobs::download))
        .routes(routes!(deltas::download))
        .routes(routes!(audit::checkpoint_since))
        .routes(routes!(repository::metadata))
        .routes(routes!(repository::rollout_target))
        .routes(routes!(repository::release_target))
}

fn viewer_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(metrics::metrics))
        .routes(routes!(fleet::devices))
        .routes(routes!(fleet::alerts))
        .routes(routes!(certificates::authorities))
        .routes(routes!(groups::labels))
        .routes(routes!(groups::groups))
        .routes(routes!(projects::projects))
        .routes(routes!(projects::runs))
        .routes(routes!(sources::sources))
        .routes(routes!(shadows::shadows))
        .routes(routes!(repository::releases))
        .routes(routes!(models::models))
        .routes(routes!(models::versions))
        .routes(routes!(models::drift))
        .routes(routes!(records::lineage))
        .routes(routes!(records::history))
        .routes(routes!(rollouts::rollouts))
        .routes(routes!(rollouts::status))
        .routes(routes!(audit::events))
        .routes(routes!(audit::stream))
        .routes(routes!(audit::checkpoint))
}

fn operator_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(access::make_join_token))
        .routes(routes!(access::revoke_device))
        .routes(routes!(blobs::upload))
        .routes(routes!(projects::register_project))
        .routes(routes!(projects::request_run))
        .routes(routes!(sources::check))
        .routes(routes!(projects::announce_run))
        .routes(routes!(projects::record_gates))
        .routes(routes!(projects::finish_run))
        .routes(routes!(models::register_version))
        .routes(routes!(models::start_rollout))
        .routes(routes!(fleet::acknowledge))
        .routes(routes!(groups::set_labels))
        .routes(routes!(groups::pin))
        .routes(routes!(groups::make_group))
        .routes(routes!(groups::remove_group))
        .routes(routes!(models::samples))
        .routes(routes!(records::read))
        .routes(routes!(quarantine::held, quarantine::decide))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::abort))
}

/// What one person asks for and another approves.
fn approver_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(rollouts::approve))
}

fn admin_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(access::tokens, access::make_token))
        .routes(routes!(access::revoke_token))
        .routes(routes!(records::erase))
        .routes(routes!(certificates::rotate))
        .routes(routes!(certificates::switch))
}

/// The security requirements of which a caller must meet one. Beside a scheme that is not OAuth stand the roles that it
/// asks for, as OpenAPI 3.1 has it.
fn requirements(need: Need) -> Vec<SecurityRequirement> {
    let device = || SecurityRequirement::new("device", Vec::<String>::new());
    let role = |role: Role| SecurityRequirement::new("operator", [role.as_str()]);
    match need {
        Need::Nothing => Vec::new(),
        Need::Device => vec![device()],
        Need::Role(least) => vec![role(least)],
        Need::DeviceOr(least) => vec![device(), role(least)],
    }
}

/// Writes beside each operation what it needs.
fn declare(need: Need, routes: &mut OpenApiRouter<Arc<App>>) {
    for item in routes.get_openapi_mut().paths.paths.values_mut() {
        let operations: [&mut Option<Operation>; 8] = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.options,
            &mut item.head,
            &mut item.patch,
            &mut item.trace,
        ];
        for operation in operations.into_iter().flatten() {
            operation.security = Some(requirements(need));
        }
    }
}

/// The OpenAPI document, as JSON.
pub(crate) fn openapi_json() -> String {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let whole = by_need().into_iter().fold(OpenApiRouter::new(), |whole, (need, mut routes)| {
            declare(need, &mut routes);
            whole.merge(routes)
        });
        let mut document = Description::openapi();
        document.merge(whole.into_openapi());
        let bearer = |says: &str| {
            let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(says));
            SecurityScheme::Http(http.build())
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("device", bearer("The credential a device was given when it joined. Under TLS its certificate takes the place of that."));
        components.add_security_scheme("operator", bearer("An operator token. The roles, each including those before it: viewer, operator, approver, admin."));
        document.to_json().unwrap_or_default()
    })
    .clone()
}

/// The whole service; requests whose traces are recorded are told to `tracer`.
pub(crate) fn router(app: &Arc<App>, tracer: Option<Tracer>) -> Router {
    let api = by_need().into_iter().fold(Router::new(), |whole, (need, routes)| {
        let (routes, _) = routes.split_for_parts();
        let guarded = routes.route_layer(middleware::from_fn_with_state((Arc::clone(app), need), guard));
        whole.merge(guarded)
    });
    api.merge(dashboard::router(app))
        .merge(mlflow::router(app))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::max(usize::try_from(JSON_BYTES_MAX).unwrap_or(usize::MAX)))
        .layer(middleware::from_fn(harden))
        .layer(middleware::from_fn_with_state(Arc::clone(app), observe))
        .layer(middleware::from_fn_with_state(tracer, follow))
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .with_state(Arc::clone(app))
}

async fn unknown_route(method: Method, uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let failure = Failure::not_found(format!("there is no route {method} {}", uri.path()))
        .hint("The routes are described in /openapi.json.");
    dashboard::told_to(&headers, failure.into_response())
}

async fn wrong_method(method: Method, uri: axum::http::Uri) -> Response {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    let error = format!("{} does not take {method}", uri.path());
    Failure::new(status, "method_not_allowed", error)
        .hint("The routes are described in /openapi.json.")
        .into_response()
}

/// Headers that every answer carries.
async fn harden(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With "no-referrer" a browser would send "Origin: null" with our own forms, and they would be refused.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
