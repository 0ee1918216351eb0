//! Following what the agent activates, from another process.
//!
//! A thread waits for the agent's `active.json` to be replaced (told by the kernel where it can, and looked at from time to
//! time in any case), hands each new activation to a callback, and tells the agent what came of it. The callback runs on
//! that thread and may take its time: the app goes on serving what it has.
//!
//! [`crate::Watch`] is this with the model loaded and swapped; apps with a runtime of their own use [`Follower`] and load
//! the path they are given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edgeward_core::ModelName;

use crate::active::{Active, ActiveError, CURRENT_LINK, Hold, Serving};
use crate::notice::Notice;
use crate::priority::{LOADING, step_back};

/// How often a follower looks without being told, by default.
pub const LOOK: Duration = Duration::from_secs(1);

/// A new activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// What is active.
    pub active: Active,
    /// The bundle's folder.
    pub folder: PathBuf,
    /// What the agent derived from the bundle on this device.
    pub derived: PathBuf,
}

/// What to do about an activation; an error is told to the agent, which takes it back.
pub type OnActivation = Box<dyn FnMut(&Activation) -> Result<(), String> + Send>;

/// What to do after an activation, once nothing new is there; true when it is done, false to be asked again at the next look.
pub(crate) type OnQuiet = Box<dyn FnMut() -> bool + Send>;

/// Follows one model; dropping it ends that.
pub struct Follower {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    notice: Arc<Notice>,
    thread: Option<JoinHandle<()>>,
}

/// Nothing is activated while it lives, up to the time it was asked for.
pub struct Pause {
    folder: PathBuf,
}

impl Drop for Pause {
    fn drop(&mut self) {
        Hold::release(&self.folder);
    }
}

/// The folder of a model below an agent's data folder.
#[must_use]
pub fn model_folder(data_dir: &Path, model: &ModelName) -> PathBuf {
    data_dir.join("models").join(model.as_str())
}

impl Follower {
    /// Follows the model in `folder`. What is active now, if anything, is handed to `on_activation` before this returns.
    ///
    /// # Errors
    /// The folder cannot be made or the agent's file cannot be read.
    pub fn start(folder: &Path, look: Duration, on_activation: OnActivation) -> Result<Self, ActiveError> {
        Self::start_with(folder, look, on_activation, Box::new(|| true))
    }

    pub(crate) fn start_with(
        folder: &Path,
        look: Duration,
        on_activation: OnActivation,
        on_quiet: OnQuiet,
    ) -> Result<Self, ActiveError> {
        let wrap = |source| ActiveError { doing: "following", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(wrap)?;
        let notice = Arc::new(Notice::on(folder).map_err(wrap)?);
        let stop = Arc::new(AtomicBool::new(false));
        let folder_of = folder.to_owned();
        let mut following = Following { folder: folder_of, done: None, quiet: true, on_activation, on_quiet };
        following.look();
        let (hears, ends) = (Arc::clone(&notice), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("edgeward-follow".to_owned())
            .spawn(move || {
                step_back(LOADING);
                while !ends.load(Ordering::Relaxed) {
                    hears.wait(look);
                    following.look();
                }
            })
            .map_err(wrap)?;
        Ok(Self { folder: folder.to_owned(), stop, notice, thread: Some(thread) })
    }

    /// A path that always leads to the active bundle's files, such as `current/model.onnx`.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.folder.join(CURRENT_LINK)
    }

    /// Asks the agent to activate nothing until the pause is dropped or `timeout` has passed: the app is in the middle of
    /// something.
    ///
    /// # Errors
    /// The app's folder cannot be written.
    pub fn pause(&self, timeout: Duration) -> Result<Pause, ActiveError> {
        Hold::write(&self.folder, timeout)?;
        Ok(Pause { folder: self.folder.clone() })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.notice.wake();
        if let Some(thread) = self.thread.take() {
            // A callback that panicked has said so already.
            let _ = thread.join();
        }
    }
}

struct Following {
    folder: PathBuf,
    /// Sequence number of the last activation that was handed on.
    done: Option<u64>,
    /// Whether nothing is left to do about it.
    quiet: bool,
    on_activation: OnActivation,
    on_quiet: OnQuiet,
}

impl Following {
    fn look(&mut self) {
        // A file that cannot be read now is looked at again soon.
        let Ok(Some(active)) = Active::read(&self.folder) else { return };
        if self.done == Some(active.sequence) {
            self.quiet = self.quiet || (self.on_quiet)();
            return;
        }
        self.quiet = false;
        let activation = Activation {
            folder: active.bundle_folder(&self.folder),
            derived: active.derived_folder(&self.folder),
            active,
        };
        let outcome = (self.on_activation)(&activation);
        if outcome.is_err() && self.has_moved_on(&activation.active) {
            // The slot was being emptied for another bundle: the newer activation says what counts.
            return self.look();
        }
        self.done = Some(activation.active.sequence);
        // An agent that hears nothing waits and then says so; the app serves all the same.
        let _ = Serving::write(&self.folder, &activation.active, outcome.err());
    }

    fn has_moved_on(&self, active: &Active) -> bool {
        let now = Active::read(&self.folder).ok().flatten();
        now.is_some_and(|now| now.sequence != active.sequence)
    }
}
