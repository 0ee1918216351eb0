//! `lineage.json`: what a bundle was made from, as an in-toto statement with SLSA provenance.
//!
//! Sources: in-toto attestation framework v1 (statement), SLSA provenance v1 (predicate). No times are in it: a run
//! that is repeated makes the same bundle.

use std::collections::BTreeMap;

use edgeward_core::{Digest, RunId};
use serde_json::{Value, json};

use crate::project::ProjectFile;
use crate::snapshot::Snapshot;
use crate::split::SplitRule;

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "https://github.com/edgeward/edgeward/pipeline/v1";
/// Most data files that are named one by one; the snapshot's digest covers them all.
const FILES_NAMED_MAX: usize = 1000;

/// What is said about a bundle.
pub struct Lineage<'a> {
    /// The project.
    pub project: &'a ProjectFile,
    /// The run that made it.
    pub run: &'a RunId,
    /// Its data.
    pub snapshot: &'a Snapshot,
    /// How the data was divided.
    pub rule: &'a SplitRule,
    /// Files a training command depends on.
    pub deps: &'a BTreeMap<String, Digest>,
    /// The commit of the checkout the project is in.
    pub commit: Option<&'a str>,
    /// The model files by path.
    pub models: &'a [(String, Digest)],
    /// The tools' versions by name.
    pub tools: &'a BTreeMap<&'a str, String>,
}

fn digest_of(digest: &Digest) -> Value {
    json!({ "sha256": digest.hex() })
}

impl Lineage<'_> {
    /// The statement.
    #[must_use]
    pub fn statement(&self) -> Value {
        let subject: Vec<Value> = self
            .models
            .iter()
            .map(|(name, digest)| json!({ "name": name, "digest": digest_of(digest) }))
            .collect();
        json!({
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": self.project.recipe(),
                    "internalParameters": {
                        "split": self.rule,
                        "rows": self.snapshot.rows,
                        "captured": self.snapshot.captured,
                    },
                    "resolvedDependencies": self.materials(),
                },
                "runDetails": {
                    "builder": { "id": BUILD_TYPE, "version": self.tools },
                    "metadata": { "invocationId": self.run },
                },
            },
        })
    }

    fn materials(&self) -> Vec<Value> {
        let named = |name: String, digest: &Digest| json!({ "name": name, "digest": digest_of(digest) });
        let mut materials = vec![named("data/snapshot".to_owned(), &self.snapshot.digest)];
        let files = self.snapshot.files.iter().take(FILES_NAMED_MAX);
        materials.extend(files.map(|(name, content)| named(format!("data/file/{name}"), &content.digest)));
        materials.extend(
            self.snapshot.captured_digest.iter().map(|digest| named("data/captured".to_owned(), digest)),
        );
        let deps = self.deps.iter().take(FILES_NAMED_MAX);
        materials.extend(deps.map(|(name, digest)| named(format!("code/{name}"), digest)));
        materials.extend(
            self.commit.map(|commit| json!({ "name": "code/git", "digest": { "gitCommit": commit } })),
        );
        materials
    }
}

/// How the data of the bundle with this lineage was divided.
#[must_use]
pub fn split_rule(lineage: &Value) -> Option<SplitRule> {
    let rule = lineage.pointer("/predicate/buildDefinition/internalParameters/split")?;
    serde_json::from_value(rule.clone()).ok()
}
