//! The two folders of each model, and the only code that writes into them.
//!
//! `models/<model>/{a,b}/` hold bundles. Beside them, `<slot>.bundle` says which bundle a folder is meant for, so that
//! an interrupted download goes on; `<slot>.part/` holds what is not whole yet; `<slot>.trial` stands while a bundle is
//! tried, so that one that takes the whole process down is known after the restart; `<slot>.derived/` holds which form was
//! chosen and its faster copy. Nothing here is believed: whoever
//! uses a folder verifies every byte against the bundle's digest first.
//!
//! What is needed is decided elsewhere ([`Kept`]); [`Slots::collect`] removes the rest, and [`Slots::room_for`] says
//! whether more fits onto the disk and into the device's share of it.

mod room;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeward_core::slot::SlotId;
use edgeward_core::{Digest, ModelName};

use crate::disk::{Disk, OsDisk};
use crate::durable::{Access, DurableError, create_folder_on, read_on, replace_on};

pub use self::room::{FREE_BYTES_KEPT, Limit, Quota};

/// Most bytes one slot may take, the partial file included.
pub const SLOT_BYTES_MAX: u64 = 4 << 30;

const MARKER_BYTES_MAX: u64 = 128;
const MONITOR_STATE_BYTES_MAX: u64 = 128 << 20;

/// The slot folders of a device.
#[derive(Clone, Debug)]
pub struct Slots {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    quota: Option<Quota>,
}

/// What of a model is needed; everything else in its folder that is an agent's may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Slots with what is active, the way back, or what is being staged.
    pub slots: Vec<SlotId>,
    /// Bundles whose monitors may be needed.
    pub monitors: Vec<Digest>,
}

/// A slot made ready for one bundle.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Where the bundle's files go.
    pub folder: PathBuf,
    /// Where files stand until they are whole.
    pub partial: PathBuf,
}

impl Slots {
    /// The slots below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(OsDisk), root)
    }

    /// The slots below `root` of any disk.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        Self { disk, root: root.into(), quota: None }
    }

    /// The same slots with a limit on what the agent keeps.
    #[must_use]
    pub fn with_quota(self, quota: Option<Quota>) -> Self {
        Self { quota, ..self }
    }

    /// The same below another root: the disk and the limit are shared.
    #[must_use]
    pub fn elsewhere(&self, root: PathBuf) -> Self {
        Self { root, ..self.clone() }
    }

    /// The disk they are on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The folder of a model, which apps follow.
    #[must_use]
    pub fn model_folder(&self, model: &ModelName) -> PathBuf {
        self.root.join(model.as_str())
    }

    /// The folder of a slot.
    #[must_use]
    pub fn folder(&self, model: &ModelName, slot: SlotId) -> PathBuf {
        self.model_folder(model).join(slot.as_str())
    }

    /// The folder of what is derived from a slot's bundle on this device.
    #[must_use]
    pub fn derived(&self, model: &ModelName, slot: SlotId) -> PathBuf {
        self.model_folder(model).join(format!("{}.derived", slot.as_str()))
    }

    /// The folder of downloads that are not whole yet.
    fn partial(&self, model: &ModelName, slot: SlotId) -> PathBuf {
        self.model_folder(model).join(format!("{}.part", slot.as_str()))
    }

    /// Empties `slot` for `bundle`, unless it was being filled with that bundle already.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn prepare(&self, model: &ModelName, slot: SlotId, bundle: Digest) -> Result<Prepared, DurableError> {
        let base = self.model_folder(model);
        let marker = base.join(format!("{}.bundle", slot.as_str()));
        let folder = base.join(slot.as_str());
        let partial = self.partial(model, slot);
        let name = bundle.to_string();
        if self.read(&marker, MARKER_BYTES_MAX).as_deref() != Some(name.as_bytes()) {
            self.remove_folder(&folder)?;
            self.remove_folder(&partial)?;
            self.remove_folder(&self.derived(model, slot))?;
        }
        create_folder_on(&*self.disk, &folder)?;
        create_folder_on(&*self.disk, &partial)?;
        replace_on(&*self.disk, &marker, name.as_bytes(), Access::Default)?;
        Ok(Prepared { folder, partial })
    }

    /// Lets the next [`Slots::prepare`] begin with an empty slot, whatever bundle it is for.
    pub fn distrust(&self, model: &ModelName, slot: SlotId) {
        // A marker that stays costs one more look at the same files.
        let _ = self.disk.remove_file(&self.model_folder(model).join(format!("{}.bundle", slot.as_str())));
    }

    /// Removes what a finished or refused staging leaves beside the slot.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove_partial(&self, prepared: &Prepared) -> Result<(), DurableError> {
        self.remove_folder(&prepared.partial)
    }

    /// Notes that `bundle` is about to be loaded and tested; returns how often that was begun before and never ended,
    /// because the process ended in the middle.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn begin_trial(&self, model: &ModelName, slot: SlotId, bundle: Digest) -> Result<u32, DurableError> {
        let path = self.trial_path(model, slot);
        let noted = self.read(&path, MARKER_BYTES_MAX).unwrap_or_default();
        let before = str::from_utf8(&noted).ok().and_then(|text| {
            let (name, count) = text.split_once(' ')?;
            (name == bundle.to_string()).then(|| count.parse().ok()).flatten()
        });
        let before: u32 = before.unwrap_or(0);
        let note = format!("{bundle} {}", before.saturating_add(1));
        replace_on(&*self.disk, &path, note.as_bytes(), Access::Default)?;
        Ok(before)
    }

    /// Notes that the trial came to an end, whatever it showed.
    pub fn end_trial(&self, model: &ModelName, slot: SlotId) {
        // A note that stays counts as one trial that was cut off, and several of those are needed to matter.
        let _ = self.disk.remove_file(&self.trial_path(model, slot));
    }

    fn trial_path(&self, model: &ModelName, slot: SlotId) -> PathBuf {
        self.model_folder(model).join(format!("{}.trial", slot.as_str()))
    }

    /// What the monitor of `bundle` had learnt when it was last saved.
    #[must_use]
    pub fn monitor_state(&self, model: &ModelName, bundle: Digest) -> Option<Vec<u8>> {
        self.read(&self.monitor_path(model, bundle), MONITOR_STATE_BYTES_MAX)
    }

    /// Saves what the monitor of `bundle` has learnt.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save_monitor_state(
        &self,
        model: &ModelName,
        bundle: Digest,
        state: &[u8],
    ) -> Result<(), DurableError> {
        let path = self.monitor_path(model, bundle);
        create_folder_on(&*self.disk, &self.model_folder(model))?;
        replace_on(&*self.disk, &path, state, Access::Default)
    }

    /// Forgets the monitors of every bundle that is not in `kept`.
    pub fn forget_monitors(&self, model: &ModelName, kept: &[Digest]) {
        let kept: Vec<PathBuf> = kept.iter().map(|bundle| self.monitor_path(model, *bundle)).collect();
        let folder = self.model_folder(model);
        let names = self.disk.names(&folder).unwrap_or_default();
        let states = names.iter().map(|name| folder.join(name)).filter(|path| {
            path.extension().is_some_and(|extension| extension == "monitor") && !kept.contains(path)
        });
        for path in states {
            // A file that stays costs a little room and nothing else.
            let _ = self.disk.remove_file(&path);
        }
    }

    /// Removes a slot with all that belongs to it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn empty(&self, model: &ModelName, slot: SlotId) -> Result<(), DurableError> {
        self.distrust(model, slot);
        self.end_trial(model, slot);
        for folder in [self.folder(model, slot), self.partial(model, slot), self.derived(model, slot)] {
            self.remove_folder(&folder)?;
        }
        Ok(())
    }

    /// Removes what no model needs; those in `busy` are left as they are. The number of slots that were emptied.
    ///
    /// # Errors
    /// The disk refuses; some of it may be gone.
    pub fn collect(
        &self,
        kept: &BTreeMap<ModelName, Kept>,
        busy: &[&ModelName],
    ) -> Result<usize, DurableError> {
        let names = self.disk.names(&self.root);
        let names = names.map_err(|source| DurableError::Read { path: self.root.clone(), source })?;
        let nothing = Kept::default();
        let mut emptied = 0;
        for model in names.into_iter().filter_map(|name| ModelName::new(name).ok()) {
            if busy.contains(&&model) {
                continue;
            }
            let kept = kept.get(&model).unwrap_or(&nothing);
            for slot in [SlotId::A, SlotId::B].into_iter().filter(|slot| !kept.slots.contains(slot)) {
                emptied += usize::from(self.holds_anything(&model, slot));
                self.empty(&model, slot)?;
            }
            self.forget_monitors(&model, &kept.monitors);
        }
        Ok(emptied)
    }

    fn holds_anything(&self, model: &ModelName, slot: SlotId) -> bool {
        [self.folder(model, slot), self.partial(model, slot)].iter().any(|folder| self.disk.is_folder(folder))
    }

    /// Whether so many more bytes may be written.
    ///
    /// # Errors
    /// They may not: how many may, and what sets the limit.
    pub fn room_for(&self, bytes: u64) -> Result<(), (u64, Limit)> {
        room::check(&*self.disk, &self.root, self.quota.as_ref(), bytes)
    }

    fn monitor_path(&self, model: &ModelName, bundle: Digest) -> PathBuf {
        self.model_folder(model).join(format!("{}.monitor", bundle.hex()))
    }

    /// What cannot be read counts as not there: it is made again.
    fn read(&self, path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
        read_on(&*self.disk, path, bytes_max).ok().flatten()
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), DurableError> {
        let wrap = |source| DurableError::Write { path: folder.to_owned(), source };
        self.disk.remove_folder(folder).map_err(wrap)
    }
}

/// Makes `folder` and what is above it, durably.
///
/// # Errors
/// The disk refuses.
pub fn create_folder(folder: &Path) -> Result<(), DurableError> {
    create_folder_on(&OsDisk, folder)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_slot_is_emptied_for_another_bundle_only() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path());
        let model = ModelName::new("digits").unwrap();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let prepared = slots.prepare(&model, SlotId::A, one).unwrap();
        fs::write(prepared.folder.join("file"), b"x").unwrap();
        fs::write(prepared.partial.join("rest"), b"x").unwrap();
        let again = slots.prepare(&model, SlotId::A, one).unwrap();
        assert!(again.folder.join("file").exists() && again.partial.join("rest").exists());
        let other = slots.prepare(&model, SlotId::A, two).unwrap();
        assert!(!other.folder.join("file").exists() && !other.partial.join("rest").exists());
    }

    #[test]
    fn monitors_of_bundles_that_are_gone_are_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path());
        let model = ModelName::new("digits").unwrap();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        slots.save_monitor_state(&model, one, b"one").unwrap();
        slots.save_monitor_state(&model, two, b"two").unwrap();
        slots.forget_monitors(&model, &[two]);
        assert_eq!(slots.monitor_state(&model, one), None);
        assert_eq!(slots.monitor_state(&model, two).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn what_no_model_needs_is_removed_and_what_apps_own_stays() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path());
        let [kept, gone, busy] = ["kept", "gone", "busy"].map(|name| ModelName::new(name).unwrap());
        for model in [&kept, &gone, &busy] {
            for slot in [SlotId::A, SlotId::B] {
                let prepared = slots.prepare(model, slot, Digest::of(b"1")).unwrap();
                fs::write(prepared.folder.join("file"), b"x").unwrap();
                fs::create_dir_all(slots.derived(model, slot)).unwrap();
            }
            slots.save_monitor_state(model, Digest::of(b"1"), b"learnt").unwrap();
            fs::create_dir_all(slots.model_folder(model).join("app")).unwrap();
            fs::write(slots.model_folder(model).join("active.json"), b"{}").unwrap();
        }
        let needed = Kept { slots: vec![SlotId::B], monitors: vec![Digest::of(b"1")] };
        let needed = BTreeMap::from([(kept.clone(), needed)]);
        assert_eq!(slots.collect(&needed, &[&busy]).unwrap(), 3);
        let names = |model: &ModelName| {
            let mut names = slots.disk().names(&slots.model_folder(model)).unwrap();
            names.sort();
            names
        };
        let monitor = format!("{}.monitor", Digest::of(b"1").hex());
        let mut left = vec!["active.json", "app", "b", "b.bundle", "b.derived", "b.part", &monitor];
        left.sort_unstable();
        assert_eq!(names(&kept), left);
        assert_eq!(names(&gone), ["active.json", "app"]);
        assert_eq!(names(&busy).len(), 11);
    }

    #[test]
    fn a_quota_counts_all_that_the_agent_keeps_and_no_link_twice() {
        let data = tempfile::tempdir().unwrap();
        let quota = Quota { data_dir: data.path().to_owned(), bytes: 1000 };
        let slots = Slots::new(data.path().join("models")).with_quota(Some(quota));
        let model = ModelName::new("digits").unwrap();
        let prepared = slots.prepare(&model, SlotId::A, Digest::of(b"1")).unwrap();
        fs::write(prepared.folder.join("file"), [0; 500]).unwrap();
        fs::write(data.path().join("state.0"), [0; 200]).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("a", slots.model_folder(&model).join("current")).unwrap();
        let marker = Digest::of(b"1").to_string().len() as u64;
        assert_eq!(slots.room_for(300 - marker), Ok(()));
        assert_eq!(slots.room_for(301 - marker), Err((300 - marker, Limit::Quota)));
        assert!(matches!(slots.with_quota(None).room_for(u64::MAX), Err((_, Limit::Disk))));
    }
}
