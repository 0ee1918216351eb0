//! Shadows, as far as the loop has to do with them: fetched while it has nothing better to do, running once all are there.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use edgeward_api::device::{ShadowCount, ShadowReport};
use edgeward_core::slot::StageOutcome;
use edgeward_core::{Digest, ModelName};
use edgeward_sdk::Loaded;

use super::activate::{Errand, spawn_staging};
use super::{Control, Message};
use crate::shadow::ShadowSet;
use crate::shadow::stage::{SLOT, Wanted};

impl Control {
    /// Stages what is missing, lets complete sets run, and lets go of what is not wanted.
    pub(super) fn tend_shadows(&mut self) {
        // What is rolled out may be made of a shadow's files, and comes first in any case.
        if !self.jobs.is_empty() {
            return self.stagehand.stop();
        }
        let wanted = self.wanted_shadows();
        self.stagehand.tidy(&wanted, &self.parts.slots);
        let bench = &self.parts.registry.shadows;
        for model in bench.models() {
            if !wanted.iter().any(|wanted| wanted.model == model) {
                bench.end(&model);
            }
        }
        for one in &wanted {
            self.run_beside(one);
        }
        if let Some((model, release)) = self.stagehand.next(&wanted, Instant::now()) {
            let slots = self.stagehand.slots(&self.parts.slots, release.bundle);
            let cancelled = Arc::new(AtomicBool::new(false));
            let key = (model.clone(), release.bundle);
            let errand = Errand { slots, model, slot: SLOT, release, held: None };
            let say = |model, bundle, result| Message::ShadowStaged { model, bundle, result };
            let thread = spawn_staging(&self.parts, &self.sender, &cancelled, errand, say);
            self.stagehand.started(key, cancelled, thread);
        }
    }

    fn wanted_shadows(&self) -> Vec<Wanted> {
        let models = self.parts.brain.models();
        models.filter_map(|(model, memory)| Wanted::of(model, memory)).collect()
    }

    fn run_beside(&self, wanted: &Wanted) {
        let bench = &self.parts.registry.shadows;
        if bench.set(&wanted.model).is_some_and(|set| *set.shadows() == wanted.shadows) {
            return;
        }
        let Some(loaded) = self.stagehand.all(wanted) else {
            return bench.wait(&wanted.model, self.waiting(wanted));
        };
        let champion = self.parts.registry.get_or_add(&wanted.model).handle.current();
        let scale = champion.and_then(|champion| champion.recorder()?.error_baseline());
        tracing::info!(model = %wanted.model, run = %wanted.shadows.run, "{} shadows run", loaded.len());
        bench.begin(&wanted.model, ShadowSet::new(wanted.shadows.clone(), loaded, scale));
        edgeward_sdk::give_back_memory();
    }

    /// What is reported while not all of them are there.
    fn waiting(&self, wanted: &Wanted) -> ShadowReport {
        let count = |bundle: &Digest| {
            let (staged, reason) = self.stagehand.state(&wanted.model, *bundle);
            let (answered, failed, agreed, confidence_micros) = (0, 0, 0, 0);
            ShadowCount { bundle: *bundle, staged, answered, failed, agreed, confidence_micros, reason }
        };
        let candidates = wanted.shadows.bundles.iter().map(count).collect();
        let run = wanted.shadows.run.clone();
        ShadowReport { run, mirrored: 0, dropped: 0, losses: Vec::new(), candidates }
    }

    pub(super) fn on_shadow_staged(
        &mut self,
        model: ModelName,
        bundle: Digest,
        result: Result<Arc<Loaded>, StageOutcome>,
    ) {
        let result = result.map_err(|outcome| match outcome {
            StageOutcome::Ready => String::new(),
            StageOutcome::Refused(reason)
            | StageOutcome::Unreachable(reason)
            | StageOutcome::Damaged(reason)
            | StageOutcome::NoRoom(reason) => reason,
        });
        self.stagehand.ended((model, bundle), result, Instant::now());
        self.report_due = true;
    }

    /// Lets shadows make room for what is rolled out.
    pub(super) fn shadows_make_room(&mut self) {
        let wanted = self.wanted_shadows();
        if self.stagehand.make_room(&wanted, &self.parts.slots, Instant::now()) {
            let bench = &self.parts.registry.shadows;
            wanted.iter().for_each(|one| bench.end(&one.model));
            tracing::warn!("shadows made room for what is rolled out");
        }
    }
}
