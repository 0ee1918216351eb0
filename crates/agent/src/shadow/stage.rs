//! Getting shadows onto the device: one after the other, while nothing else is staged, into folders of their own.
//!
//! `shadows/<bundle>/` below the agent's data holds a model folder like the one of a bundle that is rolled out, so that
//! fetching, verifying, the golden test and what a cut-off trial leaves behind are the same. The slots are never touched; the
//! device's quota and its kept room bind shadows first, since whatever is rolled out takes their place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgeward_core::shadow::Shadows;
use edgeward_core::slot::SlotId;
use edgeward_core::{Digest, ModelName, Release};
use edgeward_sdk::Loaded;

use crate::brain::ModelMemory;
use crate::slots::Slots;

/// The only slot of a shadow's folder.
pub(crate) const SLOT: SlotId = SlotId::A;
/// Wait after the first failure; doubled with each further one.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Wait after a bundle that is rolled out needed the room.
const ROOM_REST: Duration = Duration::from_secs(600);

type Key = (ModelName, Digest);

/// What of a model is to run beside its champion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) model: ModelName,
    pub(crate) shadows: Shadows,
    /// The verified releases, one per bundle.
    pub(crate) releases: Vec<Release>,
}

/// The shadows on this device and on their way to it.
pub(crate) struct Stagehand {
    root: PathBuf,
    job: Option<Job>,
    ready: BTreeMap<Key, Arc<Loaded>>,
    failed: BTreeMap<Key, Failed>,
    /// Whether folders may stand that nobody needs.
    is_untidy: bool,
}

struct Job {
    key: Key,
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct Failed {
    until: Instant,
    wait: Duration,
    reason: String,
}

impl Wanted {
    /// What `memory` says is to run beside the champion of `model`: nothing while another bundle serves, or while any of it
    /// is not released.
    pub(crate) fn of(model: &ModelName, memory: &ModelMemory) -> Option<Self> {
        let shadows = memory.shadows.clone()?;
        let active = memory.slots.active?.bundle;
        let releases: Option<Vec<Release>> =
            shadows.bundles.iter().map(|bundle| memory.release_of(*bundle).copied()).collect();
        let releases = releases.filter(|_| active == shadows.champion)?;
        Some(Self { model: model.clone(), shadows, releases })
    }

    fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.shadows.bundles.iter().map(|bundle| (self.model.clone(), *bundle))
    }
}

impl Stagehand {
    pub(crate) fn new(data_dir: &Path) -> Self {
        let root = data_dir.join("shadows");
        Self { root, job: None, ready: BTreeMap::new(), failed: BTreeMap::new(), is_untidy: true }
    }

    /// The folder that stands for the device's slots while `bundle` is staged.
    pub(crate) fn slots(&self, slots: &Slots, bundle: Digest) -> Slots {
        slots.elsewhere(self.root.join(bundle.hex()))
    }

    /// A shadow that is loaded, and the folder with its files: what makes promoting it an exchange.
    pub(crate) fn held(
        &self,
        slots: &Slots,
        model: &ModelName,
        bundle: Digest,
    ) -> Option<(PathBuf, Arc<Loaded>)> {
        let loaded = self.ready.get(&(model.clone(), bundle))?;
        Some((self.slots(slots, bundle).folder(model, SLOT), Arc::clone(loaded)))
    }

    /// All candidates of `wanted`, if they are loaded.
    pub(crate) fn all(&self, wanted: &Wanted) -> Option<Vec<Arc<Loaded>>> {
        wanted.keys().map(|key| self.ready.get(&key).cloned()).collect()
    }

    /// Whether this one is loaded, and why not yet.
    pub(crate) fn state(&self, model: &ModelName, bundle: Digest) -> (bool, Option<String>) {
        let key = (model.clone(), bundle);
        (self.ready.contains_key(&key), self.failed.get(&key).map(|failed| failed.reason.clone()))
    }

    /// The next one to stage, if none is being staged.
    pub(crate) fn next(&self, wanted: &[Wanted], now: Instant) -> Option<(ModelName, Release)> {
        if self.job.is_some() {
            return None;
        }
        let is_due = |key: &Key| {
            let rests = self.failed.get(key).is_some_and(|failed| now < failed.until);
            !self.ready.contains_key(key) && !rests
        };
        let all = wanted.iter().flat_map(|wanted| wanted.keys().zip(&wanted.releases));
        all.filter(|(key, _)| is_due(key)).map(|((model, _), release)| (model, *release)).next()
    }

    pub(crate) fn started(&mut self, key: Key, cancelled: Arc<AtomicBool>, thread: JoinHandle<()>) {
        self.job = Some(Job { key, cancelled, thread });
    }

    /// Takes what came of a staging.
    pub(crate) fn ended(&mut self, key: Key, result: Result<Arc<Loaded>, String>, now: Instant) {
        if let Some(job) = self.job.take_if(|job| job.key == key) {
            // The thread's last act was to say so.
            let _ = job.thread.join();
        }
        match result {
            Ok(loaded) => {
                self.failed.remove(&key);
                self.ready.insert(key, loaded);
            }
            Err(reason) => {
                let before = self.failed.get(&key).map(|failed| failed.wait);
                let wait = before.map_or(RETRY, |wait| wait.saturating_mul(2).min(RETRY_MAX));
                tracing::warn!(model = %key.0, bundle = ?key.1, "a shadow is not staged: {reason}");
                self.failed.insert(key, Failed { until: now + wait, wait, reason });
            }
        }
    }

    /// Lets go of what is not wanted any more, and gives its room back.
    pub(crate) fn tidy(&mut self, wanted: &[Wanted], slots: &Slots) {
        let keys: BTreeSet<Key> = wanted.iter().flat_map(Wanted::keys).collect();
        let before = self.ready.len() + self.failed.len();
        self.ready.retain(|key, _| keys.contains(key));
        self.failed.retain(|key, _| keys.contains(key));
        self.is_untidy |= self.ready.len() + self.failed.len() < before;
        if let Some(job) = self.job.as_ref().filter(|job| !keys.contains(&job.key)) {
            job.cancelled.store(true, Ordering::Relaxed);
            self.is_untidy = true;
            return;
        }
        if std::mem::take(&mut self.is_untidy) {
            let kept: BTreeSet<String> = keys.iter().map(|(_, bundle)| bundle.hex()).collect();
            for name in slots.disk().names(&self.root).unwrap_or_default() {
                if !kept.contains(&name) {
                    // A folder that stays takes room until the next start.
                    let _ = slots.disk().remove_folder(&self.root.join(name));
                }
            }
        }
    }

    /// Gives all room back to what is rolled out; whether there was any.
    pub(crate) fn make_room(&mut self, wanted: &[Wanted], slots: &Slots, now: Instant) -> bool {
        let held = !self.ready.is_empty() || self.job.is_some();
        self.stop();
        self.ready.clear();
        for key in wanted.iter().flat_map(Wanted::keys) {
            let reason = "a bundle that is rolled out needs the room".to_owned();
            self.failed.insert(key, Failed { until: now + ROOM_REST, wait: ROOM_REST, reason });
        }
        let removed = slots.disk().is_folder(&self.root) && slots.disk().remove_folder(&self.root).is_ok();
        held || removed
    }

    /// Ends a staging under way as soon as it may.
    pub(crate) fn stop(&self) {
        if let Some(job) = &self.job {
            job.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::model;
    use edgeward_core::RunId;
    use edgeward_core::slot::Installed;

    fn memory(active: &[u8]) -> ModelMemory {
        let release = |bytes: &[u8]| Release { bundle: Digest::of(bytes), manifest_size_bytes: 1 };
        let shadows = Shadows {
            run: RunId::new("run-1").unwrap(),
            champion: Digest::of(b"champion"),
            bundles: vec![Digest::of(b"one"), Digest::of(b"two")],
        };
        let mut memory = ModelMemory {
            shadows: Some(shadows),
            releases: vec![release(b"one"), release(b"two")],
            ..ModelMemory::default()
        };
        memory.slots.active = Some(Installed { slot: SlotId::A, bundle: Digest::of(active) });
        memory
    }

    #[test]
    fn shadows_are_wanted_beside_their_champion_and_only_if_all_are_released() {
        assert!(Wanted::of(&model(), &memory(b"champion")).is_some());
        assert_eq!(Wanted::of(&model(), &memory(b"another")), None);
        let mut unreleased = memory(b"champion");
        unreleased.releases.pop();
        assert_eq!(Wanted::of(&model(), &unreleased), None);
    }

    #[test]
    fn one_is_staged_after_the_other_and_a_failure_waits_ever_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut stagehand = Stagehand::new(folder.path());
        let wanted = [Wanted::of(&model(), &memory(b"champion")).unwrap()];
        let now = Instant::now();
        let one = (model(), Digest::of(b"one"));
        let is_one = |next: Option<(ModelName, Release)>| next.map(|(_, release)| release.bundle == one.1);
        assert_eq!(is_one(stagehand.next(&wanted, now)), Some(true));
        stagehand.started(one.clone(), Arc::default(), std::thread::spawn(|| {}));
        assert_eq!(stagehand.next(&wanted, now), None);
        stagehand.ended(one.clone(), Err("no answer".to_owned()), now);
        assert_eq!(is_one(stagehand.next(&wanted, now)), Some(false));
        assert_eq!(is_one(stagehand.next(&wanted, now + RETRY)), Some(true));
        stagehand.ended(one.clone(), Err("no answer".to_owned()), now);
        assert_eq!(is_one(stagehand.next(&wanted, now + RETRY)), Some(false));
        assert_eq!(stagehand.state(&model(), one.1), (false, Some("no answer".to_owned())));
    }

    #[test]
    fn what_is_not_wanted_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(folder.path().join("models"));
        let mut stagehand = Stagehand::new(folder.path());
        let wanted = [Wanted::of(&model(), &memory(b"champion")).unwrap()];
        let place = |bytes: &[u8]| folder.path().join("shadows").join(Digest::of(bytes).hex());
        for bytes in [&b"one"[..], b"left over"] {
            std::fs::create_dir_all(place(bytes)).unwrap();
        }
        stagehand.tidy(&wanted, &slots);
        assert!(place(b"one").exists() && !place(b"left over").exists());
        assert!(stagehand.make_room(&wanted, &slots, Instant::now()));
        assert!(!place(b"one").exists());
        assert_eq!(stagehand.next(&wanted, Instant::now()), None);
        assert!(stagehand.next(&wanted, Instant::now() + ROOM_REST).is_some());
    }
}
