//! What went wrong, as a page: what failed, why, and what to do next.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::Problem;
use maud::{Markup, html};

use super::layout::{bare, shown, wordmark};

/// The same refusal as a page, if it is one.
pub(super) fn as_page(response: Response) -> Response {
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    let page = page(response.status(), problem);
    let mut fresh = (response.status(), shown(&page)).into_response();
    if let Some(after) = response.headers().get(header::RETRY_AFTER) {
        fresh.headers_mut().insert(header::RETRY_AFTER, after.clone());
    }
    fresh
}

/// Whether whoever asks is a person with a browser.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// A refusal for whoever asked: a page for a browser, a document for programs.
pub(crate) fn told(headers: &HeaderMap, response: Response) -> Response {
    if wants_page(headers) { as_page(response) } else { response }
}

fn page(status: StatusCode, problem: &Problem) -> Markup {
    let heading = match status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::FORBIDDEN => "That is not for this token",
        StatusCode::CONFLICT => "That cannot be done now",
        StatusCode::SERVICE_UNAVAILABLE => "The control plane is busy",
        status if status.is_client_error() => "That was not understood",
        _ => "Something went wrong here",
    };
    let body = html! {
        main.door id="main" {
            (wordmark())
            h1 { (heading) }
            p role="alert" { (problem.error) "." }
            @for hint in &problem.hints { p.quiet { (hint) } }
            p { a href="/" { "Back to the overview" } }
            p.quiet { (status.as_u16()) " · " code { (problem.kind) } }
        }
    };
    bare(heading, &body)
}
