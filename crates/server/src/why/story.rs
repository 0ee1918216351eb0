//! What the ledger and the bundle say of a model, put in order.

use std::collections::BTreeMap;

use edgeward_core::event::{RolloutOutcome, RunOutcome};
use edgeward_core::ledger::Entry;
use edgeward_core::{Digest, Event, Manifest, RolloutId, RunId, Timestamp};
use serde::Serialize;
use serde_json::Value;

/// What the ledger says of a version.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// When it was registered, and by which entry.
    pub registered: Option<(Timestamp, u64)>,
    /// Its metrics at evaluation.
    pub metrics: BTreeMap<String, f64>,
    /// The run that made it.
    pub run: Option<RunTold>,
    /// Its rollouts, the first one first.
    pub rollouts: Vec<RolloutTold>,
    /// Devices that were pinned to it, and by whom.
    pub pins: Vec<(String, String)>,
}

/// The run that made a version.
#[derive(Clone, Debug, Serialize)]
pub struct RunTold {
    /// Its id.
    pub id: RunId,
    /// Its project.
    pub project: String,
    /// Why it was asked for.
    pub cause: String,
    /// When.
    pub at_ms: Timestamp,
    /// The commit of the pipeline's repository that was on trial.
    pub commit: Option<String>,
    /// The verdict of every gate.
    pub gates: Vec<Gate>,
    /// `passed`, `refused` or `failed`; none while it is under way.
    pub outcome: Option<RunOutcome>,
}

/// One gate's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The gate.
    pub gate: String,
    /// Whether it let the run pass.
    pub passed: bool,
    /// Why.
    pub reason: String,
    /// The entry that says so.
    pub entry: u64,
}

/// A rollout.
#[derive(Clone, Debug, Serialize)]
pub struct RolloutTold {
    /// Its id.
    pub id: RolloutId,
    /// Who or what started it.
    pub cause: String,
    /// When.
    pub at_ms: Timestamp,
    /// What the fleet ran before.
    pub from: Option<Digest>,
    /// Who agreed that waves open.
    pub approvals: Vec<Approval>,
    /// Waves that opened, each with its reasons.
    pub waves: Vec<Vec<String>>,
    /// How it ended; none while it is under way.
    pub outcome: Option<RolloutOutcome>,
    /// Why it ended so.
    pub reasons: Vec<String>,
}

/// A person's consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// So many waves, from the first on.
    pub waves: usize,
    /// Why.
    pub cause: String,
    /// When.
    pub at_ms: Timestamp,
    /// The entry that says so.
    pub entry: u64,
}

/// A form of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FormTold {
    /// What it is called.
    pub form: String,
    /// Digest of its file.
    pub digest: Option<Digest>,
    /// The external tool that made it and its version; none if the embedded converter did.
    pub tool: Option<String>,
    /// What the parity gate said when it was converted.
    pub conversion: Vec<Gate>,
}

/// What a bundle says it was made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MadeFrom {
    /// The data: SHA-256 of the snapshot.
    pub snapshot: Option<String>,
    /// Rows in it.
    pub rows: Option<u64>,
    /// Samples among them that devices captured.
    pub captured: Option<u64>,
    /// Commit of the checkout that the pipeline was in.
    pub commit: Option<String>,
    /// Files that the result depends on, by name, with their SHA-256.
    pub materials: BTreeMap<String, String>,
    /// The seed.
    pub seed: Option<u64>,
    /// Versions of the tools.
    pub tools: BTreeMap<String, String>,
}

/// Reads the entries about `bundle`.
#[must_use]
pub fn story(entries: &[Entry], bundle: Digest) -> Story {
    let mut story = Story::default();
    for entry in entries {
        about_version(&mut story, entry, bundle);
    }
    for entry in entries {
        about_run(&mut story, entry, bundle);
        about_rollout(&mut story, entry, bundle);
    }
    story
}

fn about_version(story: &mut Story, entry: &Entry, bundle: Digest) {
    match &entry.event {
        Event::ModelRegistered(version) if version.bundle == bundle => {
            story.registered = Some((entry.at_ms, entry.seq));
            story.metrics.clone_from(&version.metrics);
        }
        Event::DevicePinned { device, bundle: pinned, by, .. } if *pinned == bundle => {
            story.pins.push((device.to_string(), by.clone()));
        }
        _ => {}
    }
}

fn about_run(story: &mut Story, entry: &Entry, bundle: Digest) {
    let is_its = |story: &Story, id: &RunId| story.run.as_ref().is_some_and(|run| run.id == *id);
    match &entry.event {
        Event::RunRequested { run: id, project, cause, commit, .. } => {
            story.run = Some(RunTold {
                id: id.clone(),
                project: project.to_string(),
                cause: cause.clone(),
                at_ms: entry.at_ms,
                commit: commit.clone(),
                gates: Vec::new(),
                outcome: None,
            });
        }
        Event::GateJudged { run: id, gate, passed, reason } if is_its(story, id) => {
            let verdict =
                Gate { gate: gate.clone(), passed: *passed, reason: reason.clone(), entry: entry.seq };
            story.run.iter_mut().for_each(|run| run.gates.push(verdict.clone()));
        }
        Event::RunFinished { run: id, outcome, .. } if is_its(story, id) => {
            let other = matches!(outcome, RunOutcome::Passed { bundle: made } if *made != bundle);
            if !other {
                story.run.iter_mut().for_each(|run| run.outcome = Some(outcome.clone()));
            }
        }
        _ => {}
    }
}

fn about_rollout(story: &mut Story, entry: &Entry, of: Digest) {
    let id = match &entry.event {
        Event::RolloutStarted { rollout, bundle, from, cause, .. } if *bundle == of => {
            return story.rollouts.push(RolloutTold {
                id: rollout.clone(),
                cause: cause.clone(),
                at_ms: entry.at_ms,
                from: *from,
                approvals: Vec::new(),
                waves: Vec::new(),
                outcome: None,
                reasons: Vec::new(),
            });
        }
        Event::RolloutApproved { rollout, .. }
        | Event::RolloutAdvanced { rollout, .. }
        | Event::RolloutFinished { rollout, .. } => rollout,
        _ => return,
    };
    let Some(told) = story.rollouts.iter_mut().find(|told| told.id == *id) else { return };
    match &entry.event {
        Event::RolloutApproved { waves, by, cause, .. } => {
            let (waves, by, cause) = (*waves, by.clone(), cause.clone());
            told.approvals.push(Approval { by, waves, cause, at_ms: entry.at_ms, entry: entry.seq });
        }
        Event::RolloutAdvanced { reasons, .. } => told.waves.push(reasons.clone()),
        Event::RolloutFinished { outcome, reasons, .. } => {
            told.outcome = Some(*outcome);
            told.reasons.clone_from(reasons);
        }
        _ => {}
    }
}

impl FormTold {
    /// The forms in a manifest, each with what the gates of `story` said about its conversion.
    #[must_use]
    pub fn of(manifest: &Manifest, story: &Story) -> Vec<Self> {
        let gates = story.run.as_ref().map_or(&[][..], |run| &run.gates);
        let told = manifest.variants.iter().map(|variant| {
            let form = variant.label();
            let about =
                |gate: &&Gate| gate.gate.starts_with("parity.") && gate.gate.ends_with(&format!(".{form}"));
            let tool = variant.tool.as_ref().map(|tool| match tool.verified {
                true => format!("{} {}", tool.name, tool.version),
                false => format!("{} {}, not compared where it was made", tool.name, tool.version),
            });
            Self {
                digest: manifest.files.get(&variant.path).map(|file| file.digest),
                tool,
                conversion: gates.iter().filter(about).cloned().collect(),
                form,
            }
        });
        told.collect()
    }
}

impl MadeFrom {
    /// What `lineage.json` says: an in-toto statement with SLSA provenance.
    #[must_use]
    pub fn of(statement: &Value) -> Self {
        let definition = &statement["predicate"]["buildDefinition"];
        let mut made = Self {
            rows: definition["internalParameters"]["rows"].as_u64(),
            captured: definition["internalParameters"]["captured"].as_u64(),
            seed: definition["externalParameters"]["seed"].as_u64(),
            ..Self::default()
        };
        for material in definition["resolvedDependencies"].as_array().into_iter().flatten() {
            let name = material["name"].as_str().unwrap_or_default();
            let (sha, commit) = (&material["digest"]["sha256"], &material["digest"]["gitCommit"]);
            match name {
                "data/snapshot" => made.snapshot = sha.as_str().map(str::to_owned),
                "code/git" => made.commit = commit.as_str().map(str::to_owned),
                name => {
                    let sha = sha.as_str().unwrap_or_default().to_owned();
                    made.materials.insert(name.to_owned(), sha);
                }
            }
        }
        let tools = statement["predicate"]["runDetails"]["builder"]["version"].as_object();
        let text = |(name, version): (&String, &Value)| Some((name.clone(), version.as_str()?.to_owned()));
        made.tools = tools.into_iter().flatten().filter_map(text).collect();
        made
    }
}
