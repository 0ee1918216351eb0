//! What clients ask before anything else: which version this is, and what it can do.

use axum::Json;
use serde_json::{Value, json};

/// What is said to those who ask for MLflow's version: the last one whose clients keep a trace's spans in a file and not
/// with the server. Later clients do the same with a server of this version.
const SPOKEN: &str = "3.3.2";

/// MLflow's version, as text.
pub(crate) async fn version() -> &'static str {
    SPOKEN
}

/// What can be asked for beside the usual.
pub(crate) async fn server_info() -> Json<Value> {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
    }))
}
