//! The two folders of each model, and the only code that writes into them.
//!
//! `models/<model>/{a,b}/` hold bundles. Beside them, `<slot>.bundle` says which bundle a folder is meant for, so that
//! an interrupted download goes on; `<slot>.part/` holds what is not whole yet; `<slot>.trial` stands while a bundle is
//! tried, so that one that takes the whole process down is known after the restart; `<slot>.derived/` holds which form was
//! chosen and its faster copy. Nothing here is believed: whoever
//! uses a folder verifies every byte against the bundle's digest first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeward_core::slot::SlotId;
use edgeward_core::{Digest, ModelName};

use crate::disk::{Disk, OsDisk};
use crate::durable::{Access, DurableError, create_folder_on, read_on, replace_on};

/// Most bytes one slot may take, the partial file included.
pub const SLOT_BYTES_MAX: u64 = 4 << 30;

const MARKER_BYTES_MAX: u64 = 128;
const MONITOR_STATE_BYTES_MAX: u64 = 128 << 20;

/// The slot folders of a device.
#[derive(Clone, Debug)]
pub struct Slots {
    disk: Arc<dyn Disk>,
    root: PathBuf,
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
        Self { disk, root: root.into() }
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

    /// Empties `slot` for `bundle`, unless it was being filled with that bundle already.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn prepare(&self, model: &ModelName, slot: SlotId, bundle: Digest) -> Result<Prepared, DurableError> {
        let base = self.model_folder(model);
        let marker = base.join(format!("{}.bundle", slot.as_str()));
        let folder = base.join(slot.as_str());
        let partial = base.join(format!("{}.part", slot.as_str()));
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
        let Ok(entries) = fs::read_dir(self.model_folder(model)) else { return };
        let states = entries.flatten().map(|entry| entry.path()).filter(|path| {
            path.extension().is_some_and(|extension| extension == "monitor") && !kept.contains(path)
        });
        for path in states {
            // A file that stays costs a little room and nothing else.
            let _ = fs::remove_file(path);
        }
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
}
