//! Starting a run, and looking at a pipeline's repository now.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use edgeward_api::operator::RunRequest;
use edgeward_core::ProjectName;
use maud::html;

use super::{Asking, Decided, to};
use crate::app::App;
use crate::dashboard::layout::Place;
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::{projects, sources};

async fn check_known(app: &App, name: &ProjectName) -> Result<(), Failure> {
    let asked = name.clone();
    let known = app.read(move |view| Ok::<_, Failure>(view.project_named(&asked)?.is_some())).await?;
    match known {
        true => Ok(()),
        false => Err(Failure::not_found(format!("there is no project {name}"))
            .hint("'edgeward run --server' registers one.")),
    }
}

pub(super) async fn ask_run(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(name): Named<ProjectName>,
) -> Result<Response, Failure> {
    check_known(&app, &name).await?;
    let asking = Asking {
        title: "Start a run?",
        says: html! {
            p { "The pipeline of " b { (name) } " runs on this control plane: fresh data, training, conversion, gates. A version that
                passes is registered, and from level 1 on it is rolled out." }
        },
        act: "Start the run",
        cause: true,
        ..Asking::at(Place::Runs, &uri, "/runs", "Runs")
    };
    Ok(asking.page(&viewer))
}

pub(super) async fn run(
    State(app): State<Arc<App>>,
    Named(project): Named<ProjectName>,
    decided: Decided,
) -> Result<Response, Failure> {
    let request = RunRequest { cause: decided.cause() };
    let run = projects::request_run(State(app), Named(project), Document(request)).await?;
    Ok(to(&format!("/runs/{}?done=started", run.0.id)))
}

pub(super) async fn ask_check(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    Named(name): Named<ProjectName>,
) -> Result<Response, Failure> {
    check_known(&app, &name).await?;
    let asking = Asking {
        title: "Look for a new commit?",
        says: html! { p { "The repository that the pipeline of " b { (name) } " comes from is looked at now. A new commit is put on trial." } },
        act: "Look now",
        ..Asking::at(Place::Runs, &uri, "/runs", "Runs")
    };
    Ok(asking.page(&viewer))
}

pub(super) async fn check(
    State(app): State<Arc<App>>,
    Named(project): Named<ProjectName>,
    _: Decided,
) -> Result<Response, Failure> {
    sources::check(State(app), Named(project)).await.map(drop)?;
    Ok(to("/runs?done=looking"))
}
