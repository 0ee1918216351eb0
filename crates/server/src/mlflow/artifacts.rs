//! Files of runs, logged models and traces. They are blobs; which lies where is in the database.
//!
//! What arrives goes to a file without a name first, for its digest is not known before its end, and then into the blobs:
//! memory holds a few parts of it, whatever its length. A path leads nowhere but down.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edgeward_api::limits::BLOB_BYTES_MAX;
use edgeward_core::Digest;
use edgeward_core::digest::Hasher;
use edgeward_store::MlflowArtifact;
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::Answer;
use super::asked::Asked;
use super::check::is_plain_path;
use super::refusal::{Code, Refusal};
use super::runs;
use crate::app::{App, blocking};

/// Longest path, in bytes.
const PATH_LEN_MAX: usize = 4096;
/// Most files and folders in one answer.
const LISTED_MAX: usize = 100_000;
/// Bytes read at once of a file that arrived.
const PART_BYTES: usize = 1 << 20;
/// What the client takes as the word to send a file whole.
const NO_MULTIPART: &str = "Multipart upload is not supported for the current artifact repository";

/// A path as it is kept: without a slash at its end; empty for the root.
pub(crate) fn checked(path: &str) -> Result<String, Refusal> {
    let trimmed = path.trim_end_matches('/');
    let is_good = trimmed.is_empty()
        || (is_plain_path(trimmed) && !trimmed.contains(['\\', '\0']) && trimmed.len() <= PATH_LEN_MAX);
    match is_good && (trimmed.is_empty() == path.is_empty() || path == "/") {
        true => Ok(trimmed.to_owned()),
        false => Err(Refusal::invalid(format!("Invalid path: {path}"))),
    }
}

/// Where below the root the files of a run, model or trace are, if they are here at all.
pub(crate) fn place(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        // A host of its own: the client put the server's name there.
        Some(with_host) => with_host.split_once('/')?.1,
        None => rest,
    };
    checked(path.trim_start_matches('/')).ok()
}

pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    request: Request,
) -> Answer {
    let path = checked(&path)?;
    if path.is_empty() {
        return Err(Refusal::invalid("Invalid path: an artifact has a name"));
    }
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > BLOB_BYTES_MAX) {
        return Err(too_large());
    }
    let (digest, size_bytes) = keep(&app, request.into_body().into_data_stream()).await?;
    app.decide(move |decision| {
        let artifact = MlflowArtifact { path, digest, size_bytes };
        Ok::<_, Refusal>(decision.put_mlflow_artifact(&artifact)?)
    })
    .await?;
    super::done()
}

fn too_large() -> Refusal {
    Refusal::too_large(format!("an artifact is at most {BLOB_BYTES_MAX} bytes long"))
}

fn on_disk(error: &std::io::Error) -> Refusal {
    Refusal::unavailable("keeping an artifact on its way", error)
}

/// Makes a blob of what arrives.
async fn keep(app: &App, mut arriving: BodyDataStream) -> Result<(Digest, u64), Refusal> {
    let folder = app.home.path().to_owned();
    let file = blocking(move || tempfile::tempfile_in(folder).map_err(|error| on_disk(&error))).await?;
    let mut file = tokio::fs::File::from_std(file);
    let (mut hasher, mut received) = (Hasher::new(), 0);
    while let Some(part) = arriving.next().await {
        let part =
            part.map_err(|_| Refusal::new(Code::BadRequest, "the artifact was cut off; send it again"))?;
        received += part.len() as u64;
        if received > BLOB_BYTES_MAX {
            return Err(too_large());
        }
        hasher.update(&part);
        file.write_all(&part).await.map_err(|error| on_disk(&error))?;
    }
    let digest = hasher.finish();
    if !app.blobs.exists(digest).await? {
        file.flush().await.map_err(|error| on_disk(&error))?;
        file.rewind().await.map_err(|error| on_disk(&error))?;
        app.blobs.put_stream(digest, parts(file)).await?;
    }
    Ok((digest, received))
}

/// A file, part by part.
fn parts(file: tokio::fs::File) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::try_unfold(file, |mut file| async move {
        let mut part = vec![0; PART_BYTES];
        let count = file.read(&mut part).await?;
        part.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(part), file)))
    })
}

pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let path = checked(&path)?;
    let name = path.clone();
    let found = app.read(move |view| Ok::<_, Refusal>(view.mlflow_artifact(&name)?)).await?;
    let found = found.ok_or_else(|| Refusal::absent(format!("No such artifact: '{path}'")))?;
    let (length, stream) = app.blobs.stream(found.digest).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, format!("\"{}\"", found.digest.hex())),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

pub(crate) async fn delete(State(app): State<Arc<App>>, Path(path): Path<String>) -> Answer {
    let path = checked(&path)?;
    if path.is_empty() {
        return Err(Refusal::invalid("Invalid path: the root of all artifacts is not deleted"));
    }
    app.decide(move |decision| {
        decision.drop_mlflow_artifacts(&path)?;
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

/// A file or a folder in a listing: its name, and its length if it is a file.
type Entry = (String, Option<u64>);

/// What is in a folder, without what is further below.
async fn entries(app: &App, folder: String) -> Result<Vec<Entry>, Refusal> {
    app.read(move |view| {
        let folder = if folder.is_empty() { folder } else { format!("{folder}/") };
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = view.mlflow_artifacts(&folder, &after)?;
            let Some(last) = page.last() else { return Ok(entries) };
            after.clone_from(&last.path);
            for artifact in page {
                let Some(rest) = artifact.path.strip_prefix(&folder) else { continue };
                let entry = match rest.split_once('/') {
                    None => (rest.to_owned(), Some(artifact.size_bytes)),
                    Some((name, _)) => {
                        // Whatever else is below it needs no reading.
                        let end = format!("{folder}{name}/{}", char::MAX);
                        after = after.max(end);
                        (name.to_owned(), None)
                    }
                };
                if entries.last() != Some(&entry) {
                    entries.push(entry);
                }
            }
            if entries.len() > LISTED_MAX {
                return Err(Refusal::invalid(format!("the folder has more than {LISTED_MAX} entries")));
            }
        }
    })
    .await
}

fn told(entries: Vec<Entry>, prefix: &str) -> Vec<Value> {
    let told = entries.into_iter().map(|(name, length)| {
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        match length {
            Some(length) => json!({ "path": path, "is_dir": false, "file_size": length }),
            None => json!({ "path": path, "is_dir": true }),
        }
    });
    told.collect()
}

/// Lists a folder; what it says is relative to it.
pub(crate) async fn list(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let folder = checked(&asked.text("path")?.unwrap_or_default())?;
    let entries = entries(&app, folder).await?;
    Ok(Json(json!({ "files": told(entries, "") })))
}

/// Lists a folder of something that has its files at `root`; what it says is relative to that.
pub(crate) async fn list_below(app: &App, root: String, path: Option<String>) -> Answer {
    let path = checked(&path.unwrap_or_default())?;
    let Some(place) = place(&root) else {
        return Err(Refusal::new(
            Code::NotImplemented,
            format!("the files are at {root}, which this server does not keep; list them there"),
        ));
    };
    let folder = if path.is_empty() { place } else { format!("{place}/{path}") };
    let entries = entries(app, folder).await?;
    Ok(Json(json!({ "root_uri": root, "files": told(entries, &path) })))
}

/// Lists a folder of a run.
pub(crate) async fn list_of_run(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, path) = (runs::run_id(&asked)?, asked.text("path")?);
    let root = app.read(move |view| Ok::<_, Refusal>(runs::get_run(view, &id)?.artifact_uri)).await?;
    list_below(&app, root, path).await
}

/// Files come and go whole: clients that are told so send them so.
pub(crate) async fn no_parts() -> Refusal {
    Refusal::new(Code::NotImplemented, NO_MULTIPART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_nowhere_but_down() {
        for (path, expect) in [("a/b.txt", "a/b.txt"), ("a/b/", "a/b"), ("", ""), ("/", ""), ("ä ö", "ä ö")]
        {
            assert_eq!(checked(path).unwrap(), expect, "{path}");
        }
        let long = "x".repeat(PATH_LEN_MAX + 1);
        for path in ["../a", "a/../b", "a/./b", "/etc/passwd", "a//b", "a\\..\\b", "a\0", "..", "//", &long] {
            assert!(checked(path).is_err(), "{path}");
        }
    }

    #[test]
    fn places_are_told_from_addresses() {
        for (uri, expect) in [
            ("mlflow-artifacts:/1/abc/artifacts", Some("1/abc/artifacts")),
            ("mlflow-artifacts://host:5000/1/abc", Some("1/abc")),
            ("mlflow-artifacts:/", Some("")),
            ("mlflow-artifacts:/../../etc", None),
            ("s3://bucket/1", None),
            ("/tmp/x", None),
        ] {
            assert_eq!(place(uri).as_deref(), expect, "{uri}");
        }
    }
}
