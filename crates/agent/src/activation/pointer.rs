//! The files that say which bundle is active, for apps in other processes.
//!
//! `active.json` is replaced durably before the link is, so that whoever is woken by either finds the truth in the first.

use std::fs;
use std::io;
use std::path::Path;

use edgeward_core::ModelName;
use edgeward_core::slot::Installed;
use edgeward_sdk::{ACTIVE_FILE, ACTIVE_SCHEMA, APP_FOLDER, Active, CURRENT_LINK};

use crate::durable::{Access, DurableError, replace, sync_folder};
use crate::records::to_json;
use crate::slots::create_folder;

/// What became of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    /// What they say now.
    pub active: Active,
    /// Whether they said something else before.
    pub changed: bool,
}

/// Makes the files in a model's `folder` say that `installed` is active.
///
/// # Errors
/// The disk refuses; the files may say the old or the new, each of them whole.
pub fn point(folder: &Path, model: &ModelName, installed: Installed) -> Result<Pointed, DurableError> {
    let before = Active::read(folder).ok().flatten();
    let same = |active: &Active| active.bundle == installed.bundle && active.slot == installed.slot;
    if let Some(active) = before.clone().filter(same) {
        link(folder, installed)?;
        return Ok(Pointed { active, changed: false });
    }
    create_folder(&folder.join(APP_FOLDER))?;
    let active = Active {
        schema: ACTIVE_SCHEMA.to_owned(),
        model: model.clone(),
        bundle: installed.bundle,
        slot: installed.slot,
        sequence: before.map_or(0, |active| active.sequence) + 1,
    };
    replace(&folder.join(ACTIVE_FILE), &to_json(&active), Access::Default)?;
    link(folder, installed)?;
    Ok(Pointed { active, changed: true })
}

/// Replaces the link in one rename: who opens a path through it finds the old folder or the new one.
#[cfg(unix)]
fn link(folder: &Path, installed: Installed) -> Result<(), DurableError> {
    let target = Path::new(installed.slot.as_str());
    let link = folder.join(CURRENT_LINK);
    if fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    let beside = folder.join("current.new");
    let exchange = || {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(target, &beside)?;
        fs::rename(&beside, &link)
    };
    exchange().map_err(|source| DurableError::Write { path: link.clone(), source })?;
    sync_folder(folder)
}

/// Elsewhere apps read `active.json`.
#[cfg(not(unix))]
fn link(_folder: &Path, _installed: Installed) -> Result<(), DurableError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use edgeward_core::Digest;
    use edgeward_core::slot::SlotId;

    use super::*;
    use crate::fixtures::model;

    #[test]
    fn the_files_name_what_is_active_and_every_change_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let one = Installed { slot: SlotId::A, bundle: Digest::of(b"1") };
        let two = Installed { slot: SlotId::B, bundle: Digest::of(b"2") };
        let first = point(root.path(), &model(), one).unwrap();
        assert!(first.changed);
        assert!(!point(root.path(), &model(), one).unwrap().changed);
        let second = point(root.path(), &model(), two).unwrap();
        let back = point(root.path(), &model(), one).unwrap();
        assert_eq!((first.active.sequence, second.active.sequence, back.active.sequence), (1, 2, 3));
        assert_eq!(fs::read_link(root.path().join(CURRENT_LINK)).unwrap(), Path::new("a"));
        assert_eq!(Active::read(root.path()).unwrap(), Some(back.active));
    }

    #[test]
    fn a_link_that_was_lost_is_made_again_and_a_torn_file_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let one = Installed { slot: SlotId::A, bundle: Digest::of(b"1") };
        point(root.path(), &model(), one).unwrap();
        fs::remove_file(root.path().join(CURRENT_LINK)).unwrap();
        assert!(!point(root.path(), &model(), one).unwrap().changed);
        assert!(fs::read_link(root.path().join(CURRENT_LINK)).is_ok());
        fs::write(root.path().join(ACTIVE_FILE), b"{").unwrap();
        assert!(point(root.path(), &model(), one).unwrap().changed);
    }
}
