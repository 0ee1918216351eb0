//! Approving, pausing, resuming and taking back a rollout.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use edgeward_api::operator::RolloutWish;
use edgeward_core::RolloutId;
use maud::{Markup, html};

use super::{Asking, Decided, to};
use crate::app::App;
use crate::dashboard::layout::Place;
use crate::dashboard::session::Viewer;
use crate::extract::{Document, Named};
use crate::failure::Failure;
use crate::handlers::rollouts;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Approve,
    Pause,
    Resume,
    Abort,
}

impl Verb {
    fn of(uri: &Uri) -> Option<Self> {
        match uri.path().rsplit('/').next() {
            Some("approve") => Some(Self::Approve),
            Some("pause") => Some(Self::Pause),
            Some("resume") => Some(Self::Resume),
            Some("abort") => Some(Self::Abort),
            _ => None,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Approve => "Approve the next wave?",
            Self::Pause => "Pause the rollout?",
            Self::Resume => "Let the rollout go on?",
            Self::Abort => "Take the rollout back?",
        }
    }

    const fn act(self) -> &'static str {
        match self {
            Self::Approve => "Approve",
            Self::Pause => "Pause",
            Self::Resume => "Let it go on",
            Self::Abort => "Take it back",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Abort => "taken-back",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Approve => {
                "The wave that comes next opens as soon as nothing else stands against it: its gates, the bake time and the window still hold."
            }
            Self::Pause => {
                "No further wave opens. Devices that run the version go on with it, and the gates go on counting."
            }
            Self::Resume => {
                "Waves open again as the policy says. What the gates held against the rollout so far is forgotten."
            }
            Self::Abort => {
                "Every device returns to what it ran before. This ends the rollout and cannot be undone; another one can be started."
            }
        }
    }
}

pub(in crate::dashboard) async fn ask(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    uri: Uri,
    rollout: Named<RolloutId>,
) -> Result<Response, Failure> {
    let (verb, back) = (verb(&uri)?, format!("/rollouts/{}", rollout.0));
    let status = rollouts::status(State(app), rollout).await?.0;
    let about = &status.rollout;
    let says: Markup = html! {
        p { "Rollout of " b { (about.model) " v" (about.version) } " to "
            @match &about.group { Some(group) => { "group " (group) }, None => "everybody" } "." }
        @for reason in &status.now { p.quiet { (reason) } }
        p { (verb.says()) }
    };
    let asking = Asking {
        title: verb.title(),
        says,
        act: verb.act(),
        danger: verb == Verb::Abort,
        cause: true,
        ..Asking::at(Place::Rollouts, &uri, back, "The rollout")
    };
    Ok(asking.page(&viewer))
}

pub(in crate::dashboard) async fn act(
    State(app): State<Arc<App>>,
    uri: Uri,
    rollout: Named<RolloutId>,
    Decided { viewer, sent }: Decided,
) -> Result<Response, Failure> {
    let (verb, then) = (verb(&uri)?, format!("/rollouts/{}", rollout.0));
    let wish = Document(RolloutWish { cause: sent.cause_or("") });
    let (app, caller) = (State(app), Extension(viewer.caller));
    let decided = match verb {
        Verb::Approve => rollouts::approve(app, caller, rollout, wish).await,
        Verb::Pause => rollouts::pause(app, caller, rollout, wish).await,
        Verb::Resume => rollouts::resume(app, caller, rollout, wish).await,
        Verb::Abort => rollouts::abort(app, caller, rollout, wish).await,
    };
    decided.map(drop)?;
    Ok(to(&format!("{then}?done={}", verb.done())))
}

fn verb(uri: &Uri) -> Result<Verb, Failure> {
    Verb::of(uri).ok_or_else(|| Failure::not_found("there is no such action"))
}
