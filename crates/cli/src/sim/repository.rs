//! The repository as a simulated device reads it: the same files as a real one, in the same order.
//!
//! What a file says is parsed once for all devices: but for the timestamp its name carries its version or its hash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use edgeward_api::routes;
use edgeward_core::Desired;
use edgeward_trust::fleet::{DESIRED_PATH, RELEASES, ROLLOUTS};
use serde_json::Value;

/// Files that are kept parsed.
const KEPT_MAX: usize = 64;

/// The document that says whether there is news.
pub(super) const TIMESTAMP: &str = "timestamp.json";

/// What the files said, by their paths.
#[derive(Default)]
pub(super) struct Parsed(Mutex<BTreeMap<String, Arc<Said>>>);

/// What a file says.
pub(super) enum Said {
    /// The version of each role it lists.
    Versions(BTreeMap<String, u64>),
    /// Where the desired state is.
    Target(String),
    /// What the fleet should run.
    Desired(Desired),
    /// Nothing that a device which trusts its control plane needs.
    Nothing,
}

/// The path of a document.
pub(super) fn document(name: &str) -> String {
    format!("{}/metadata/{name}", routes::REPOSITORY)
}

/// The roles that a device looks at when the snapshot lists another version, in its order.
pub(super) const ROLES: [&str; 3] = ["targets", ROLLOUTS, RELEASES];

impl Said {
    /// What the file at `path` says.
    pub(super) fn read(path: &str, bytes: &[u8]) -> Option<Self> {
        if path.ends_with(".desired.json") {
            return serde_json::from_slice(bytes).ok().map(Self::Desired);
        }
        let document: Value = serde_json::from_slice(bytes).ok()?;
        let signed = document.get("signed")?;
        if let Some(listed) = signed.get("meta").and_then(Value::as_object) {
            let version = |(file, meta): (&String, &Value)| {
                Some((file.strip_suffix(".json")?.to_owned(), meta.get("version")?.as_u64()?))
            };
            return Some(Self::Versions(listed.iter().filter_map(version).collect()));
        }
        let target = signed.get("targets").and_then(|targets| targets.get(DESIRED_PATH));
        let hash = target.and_then(|target| target.get("hashes")?.get("sha256")?.as_str());
        Some(hash.map_or(Self::Nothing, |hash| {
            Self::Target(format!("{}/targets/{ROLLOUTS}/{hash}.desired.json", routes::REPOSITORY))
        }))
    }
}

impl Parsed {
    /// What the file at `path` says, parsed if no device has had it before.
    pub(super) fn of(&self, path: &str, bytes: &[u8]) -> Option<Arc<Said>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(path) {
            return Some(Arc::clone(known));
        }
        let said = Arc::new(Said::read(path, bytes)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(path.to_owned(), Arc::clone(&said));
        Some(said)
    }
}
