//! Starting a run, and looking at a pipeline's repository now.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::RunRequest;
use edgeward_core::ProjectName;
use maud::html;

use super::{Asking, Sent, check as check_form, parse, to};
use crate::app::App;
use crate::dashboard::layout::{Place, shown};
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::{projects, sources};

async fn known(app: &App, project: &str) -> Result<ProjectName, Failure> {
    let name: ProjectName = parse(project)?;
    let asked = name.clone();
    let known = app.read(move |view| Ok::<_, Failure>(view.project_named(&asked)?.is_some())).await?;
    match known {
        true => Ok(name),
        false => Err(Failure::not_found(format!("there is no project {name}"))
            .hint("'edgeward run --server' registers one.")),
    }
}

pub(super) async fn ask_run(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(project): Path<String>,
) -> Result<Response, Failure> {
    let name = known(&app, &project).await?;
    let asking = Asking {
        place: Place::Runs,
        title: "Start a run?",
        says: html! {
            p { "The pipeline of " b { (name) } " runs on this control plane: fresh data, training, conversion, gates. A version that
                passes is registered, and from level 1 on it is rolled out." }
        },
        act: "Start the run",
        danger: false,
        path: uri.path(),
        back: ("/runs", "Runs"),
        fields: html! {},
        cause: true,
    };
    Ok(shown(&asking.page(&viewer)).into_response())
}

pub(super) async fn run(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(project): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check_form(&viewer, &uri, &sent)?;
    let cause = format!("{} (by {})", sent.cause_or("by hand"), viewer.caller.name());
    let run =
        projects::request_run(State(app), Named(parse(&project)?), Document(RunRequest { cause })).await?;
    Ok(to(&format!("/runs/{}?done=started", run.0.id)))
}

pub(super) async fn ask_check(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(project): Path<String>,
) -> Result<Response, Failure> {
    let name = known(&app, &project).await?;
    let asking = Asking {
        place: Place::Runs,
        title: "Look for a new commit?",
        says: html! { p { "The repository that the pipeline of " b { (name) } " comes from is looked at now. A new commit is put on trial." } },
        act: "Look now",
        danger: false,
        path: uri.path(),
        back: ("/runs", "Runs"),
        fields: html! {},
        cause: false,
    };
    Ok(shown(&asking.page(&viewer)).into_response())
}

pub(super) async fn check(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Path(project): Path<String>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    check_form(&viewer, &uri, &sent)?;
    sources::check(State(app), Named(parse(&project)?)).await.map(drop)?;
    Ok(to("/runs?done=looking"))
}
