//! What an app beside the agent counted: its windows go up as the agent's own do.
//!
//! Alarms and labelled inputs have names of their own, so they are made durable before the document goes; a window has
//! none, so its document goes first. A crash in between counts no window twice and loses at most one. Records of predictions
//! are known by their prediction: a crash sends some of them twice, and they are kept once.

use std::fs;
use std::path::Path;

use edgeward_api::device::{PROFILE_SCHEMA, ProfileUpload, Service};
use edgeward_api::limits::{PERFORMANCE_BYTES_MAX, PROFILE_BYTES_MAX};
use edgeward_core::{Digest, ModelName, Timestamp};
use edgeward_sdk::{HandedRecords, Handover, chain};

use super::Control;
use crate::activation::Method;
use crate::records::to_json;
use crate::spool::Lane;

/// Most documents taken of one model in one turn.
const PER_TURN_MAX: usize = 16;

impl Control {
    /// Takes what apps handed over, if apps serve here.
    pub(super) fn take_handed(&mut self, now: Timestamp) {
        if self.parts.activation.method == Method::Serve {
            return;
        }
        let models: Vec<(ModelName, [Option<Digest>; 2])> =
            self.parts.brain.models().map(answering).collect();
        for (model, bundles) in &models {
            let waiting = Handover::waiting(&self.parts.slots.model_folder(model));
            for path in waiting.iter().take(PER_TURN_MAX) {
                self.take_document(model, bundles, path, now);
            }
        }
    }

    /// Takes the records of predictions that apps left, also while the control plane is away: the spool has its own limit.
    pub(super) fn take_handed_records(&self) {
        if self.parts.activation.method == Method::Serve {
            return;
        }
        for (model, _) in self.parts.brain.models() {
            let waiting = HandedRecords::waiting(&self.parts.slots.model_folder(model));
            for path in waiting.iter().take(PER_TURN_MAX) {
                match HandedRecords::read(path) {
                    Ok(handed) => self.parts.records.handed_records(model, handed),
                    Err(reason) => tracing::warn!(%model, "records of the app are dropped: {reason}"),
                }
                forget(path);
            }
        }
    }

    fn take_document(&mut self, model: &ModelName, bundles: &[Option<Digest>], path: &Path, now: Timestamp) {
        let read = Handover::read(path).map_err(|error| error.to_string());
        let usable = read.and_then(|handed| match bundles.contains(&Some(handed.bundle)) {
            true if handed.profile.0.len() <= PROFILE_BYTES_MAX => Ok(handed),
            true => Err(format!("its profile has {} bytes", handed.profile.0.len())),
            false => Err(format!("{:?} does not serve here", handed.bundle)),
        });
        let handed = match usable {
            Ok(handed) => handed,
            Err(reason) => {
                tracing::warn!(%model, "a window of the app is dropped: {reason}");
                return forget(path);
            }
        };
        if let Err(error) = self.parts.records.handed(model, &handed, now) {
            // It stays, and is taken when there is room again.
            return tracing::error!(%model, "a window of the app has to wait: {}", chain(&error));
        }
        forget(path);
        let upload = self.upload_of(model, handed);
        if let Err(error) = self.parts.records.spool().append(Lane::Profiles, &to_json(&upload)) {
            tracing::error!(%model, "a window of the app is lost: {}", chain(&error));
        }
    }

    fn upload_of(&mut self, model: &ModelName, handed: Handover) -> ProfileUpload {
        self.profile_seq += 1;
        ProfileUpload {
            schema: PROFILE_SCHEMA.to_owned(),
            session: self.session,
            seq: self.profile_seq,
            model: model.clone(),
            bundle: handed.bundle,
            from_ms: handed.from_ms,
            to_ms: handed.to_ms,
            profile: handed.profile,
            labelled: handed.labelled,
            correct: handed.correct,
            performance: handed.performance.filter(|bytes| bytes.0.len() <= PERFORMANCE_BYTES_MAX),
            service: (!handed.errors.is_empty())
                .then(|| Service { errors: handed.errors.into(), ..Service::default() }),
        }
    }
}

/// The model, and the bundles that an app may have answered from lately.
fn answering((model, memory): (&ModelName, &crate::brain::ModelMemory)) -> (ModelName, [Option<Digest>; 2]) {
    let slots = &memory.slots;
    (model.clone(), [slots.active, slots.previous].map(|slot| slot.map(|installed| installed.bundle)))
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::error!("{} cannot be removed: {error}", path.display());
    }
}
