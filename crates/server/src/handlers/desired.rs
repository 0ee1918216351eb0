//! The desired state as devices fetch it: one document for all of them, answered from memory.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeward_api::device::DesiredDocument;
use edgeward_api::{Problem, routes};
use edgeward_core::{Desired, Digest, Envelope};
use edgeward_store::{StoreError, View};

use crate::app::{App, Stopped, lock};
use crate::failure::Failure;

/// The latest desired state, ready to send.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    generation: u64,
    etag: String,
    body: Bytes,
}

impl Published {
    /// Generation of the document.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }
}

/// The signed desired state of the fleet; with `If-None-Match`, only if it is another one.
#[utoipa::path(get, path = routes::DESIRED, responses(
    (status = 200, body = DesiredDocument), (status = 304, description = "Unchanged"), (status = 404, body = Problem)))]
pub(crate) async fn desired(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Failure> {
    let known = lock(&app.published).clone();
    let published = match known {
        Some(published) => published,
        None => refresh(&app)
            .await
            .map_err(|error| Failure::unavailable("reading the desired state", &error))?
            .ok_or_else(|| {
                Failure::not_found("nothing is published yet").hint("Register a version and roll it out.")
            })?,
    };
    let cached =
        headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == published.etag.as_bytes());
    let tag = (header::ETAG, published.etag);
    if cached {
        return Ok((StatusCode::NOT_MODIFIED, [tag]).into_response());
    }
    let kind = (header::CONTENT_TYPE, "application/json".to_owned());
    Ok(([tag, kind, (header::CACHE_CONTROL, "no-cache".to_owned())], published.body).into_response())
}

/// What went wrong while reading it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DesiredError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document could not be read or written.
    #[error("reading the published desired state")]
    Document(#[from] serde_json::Error),
    /// The server is ending.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Reads the latest desired state from the store into memory.
pub(crate) async fn refresh(app: &App) -> Result<Option<Published>, DesiredError> {
    let published = app.read(load).await?;
    let mut known = lock(&app.published);
    if known.as_ref().map(|known| known.generation) < published.as_ref().map(|published| published.generation)
    {
        known.clone_from(&published);
    }
    Ok(published)
}

fn load(view: &View<'_>) -> Result<Option<Published>, DesiredError> {
    let Some((generation, desired)) = view.latest_desired()? else { return Ok(None) };
    let releases = releases(view, &desired)?;
    let document = DesiredDocument { desired, releases };
    let body = Bytes::from(serde_json::to_vec(&document)?);
    let etag = format!("\"{generation}-{}\"", Digest::of(&body).short());
    Ok(Some(Published { generation, etag, body }))
}

/// The release of each bundle that is named.
fn releases(view: &View<'_>, envelope: &Envelope) -> Result<Vec<Envelope>, DesiredError> {
    let desired: Desired = serde_json::from_slice(&envelope.payload.0)?;
    let mut releases = Vec::new();
    for (model, assignment) in &desired.models {
        for bundle in assignment.bundles().collect::<std::collections::BTreeSet<_>>() {
            releases.extend(view.version_of_bundle(model, bundle)?.map(|version| version.release));
        }
    }
    Ok(releases)
}
