//! What an app's monitor counted, handed to the agent on the same device: windows, alarms and labelled inputs go up as if
//! the agent had answered itself, so drift and decay of a model that an app serves are seen, and it is trained anew. Records
//! of predictions, where the bundle has them kept, go the same way by an [`Outbox`](crate::outbox) of their own.
//!
//! The app writes a document per window into [`HANDOVER_FOLDER`] of its own folder; it appears under its name only as a
//! whole, and the agent removes it when it has taken it. While [`WAITING_MAX`] documents wait, windows stay open and only
//! grow longer. What the monitor has learnt is kept beside, so that an app that restarts does not begin anew.
//!
//! Deliberately missing: failures and latency of the app's requests, which the app knows and this library does not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use edgeward_core::envelope::Base64;
use edgeward_core::{Digest, ModelName, PredictionId, Timestamp};
use edgeward_monitor::{Alarm, ErrorSizes};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::active::{APP_FOLDER, now, write_whole};
use crate::kept::LabelledInput;
use crate::loaded::Loaded;
use crate::outbox::{Carrying, Outbox};
use crate::recorder::{Recorder, Window};

/// Schema of [`Handover`].
pub(crate) const HANDOVER_SCHEMA: &str = "edgeward.handover/1";
/// Where the documents wait, in the app's folder.
pub(crate) const HANDOVER_FOLDER: &str = "windows";
/// Most documents that wait for the agent.
pub(crate) const WAITING_MAX: usize = 64;
/// While documents take more than this together, windows stay open too.
pub(crate) const WAITING_BYTES_MAX: u64 = 16 << 20;
/// Largest document, in bytes.
pub(crate) const HANDOVER_BYTES_MAX: u64 = 8 << 20;
/// How often a window is handed over, if anything was counted.
pub(crate) const HANDOVER_EVERY: Duration = Duration::from_secs(2);
/// Where monitors' states are, in the app's folder.
const MONITORS_FOLDER: &str = "monitors";
/// States that are kept: of the model that serves, and of the one before.
const MONITORS_MAX: usize = 2;
/// Largest state that is read, in bytes.
const STATE_BYTES_MAX: u64 = 64 << 20;

/// One window of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// Always [`HANDOVER_SCHEMA`].
    pub schema: String,
    /// The bundle that answered.
    pub bundle: Digest,
    /// When the window began, by the device's clock.
    pub from_ms: Timestamp,
    /// When it ended.
    pub to_ms: Timestamp,
    /// The counts, as `edgeward_monitor::Profile` writes them.
    pub profile: Base64,
    /// Labels that arrived.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// How well predictions agreed with the labels, as `edgeward_monitor::SegmentedPerformance` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance: Option<Base64>,
    /// How large a regression's errors were, as `edgeward_monitor::ErrorSizes` counts them.
    #[serde(default, skip_serializing_if = "ErrorSizes::is_empty")]
    pub errors: ErrorSizes,
    /// Alarms that were raised.
    pub alarms: Vec<Alarm>,
    /// Inputs whose label came.
    pub samples: Vec<HandedSample>,
}

/// An input whose label came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedSample {
    /// A name of its own: an app's labels name no prediction.
    pub id: PredictionId,
    /// The input row: little-endian f32 values.
    pub features: Base64,
    /// What was predicted.
    pub predicted: String,
    /// The truth.
    pub label: String,
    /// What is impossible about the input or the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<String>,
}

impl Handover {
    fn new(bundle: Digest, window: Window, (from_ms, to_ms): (Timestamp, Timestamp)) -> Self {
        let Window { profile, labelled, correct, performance, errors, kept, .. } = window;
        Self {
            schema: HANDOVER_SCHEMA.to_owned(),
            bundle,
            from_ms,
            to_ms,
            profile: Base64(profile.to_bytes()),
            labelled,
            correct,
            performance: (!performance.is_empty()).then(|| Base64(performance.to_bytes())),
            errors,
            alarms: kept.alarms.into_iter().map(Alarm::with_finite_evidence).collect(),
            samples: kept.labelled.into_iter().map(HandedSample::new).collect(),
        }
    }

    /// The documents that wait in a model's folder, oldest first.
    #[must_use]
    pub fn waiting(model_folder: &Path) -> Vec<PathBuf> {
        whole_in(&model_folder.join(APP_FOLDER).join(HANDOVER_FOLDER))
    }

    /// A document as it waits.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is no such document.
    pub fn read(path: &Path) -> io::Result<Self> {
        let read: Self = serde_json::from_slice(&read_bounded(path, HANDOVER_BYTES_MAX)?)?;
        match read.schema == HANDOVER_SCHEMA {
            true => Ok(read),
            false => Err(io::Error::other(format!("its schema is '{}'", read.schema))),
        }
    }
}

impl HandedSample {
    fn new(input: LabelledInput) -> Self {
        Self {
            id: PredictionId(Uuid::now_v7()),
            features: Base64(input.values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            predicted: input.predicted,
            label: input.truth,
            suspicion: input.suspicion,
        }
    }
}

/// The documents in a folder that are there as a whole, oldest first.
pub(crate) fn whole_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut whole: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    // Names begin with the time.
    whole.sort();
    whole
}

pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, bytes_max + 1), &mut bytes)?;
    match bytes.len() as u64 <= bytes_max {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("it is longer than {bytes_max} bytes"))),
    }
}

/// Hands windows over until it is dropped, and then once more.
pub(crate) struct HandingOver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// The app's folder.
    folder: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
    /// Where predictions leave their records; none if the folder is of no model's name.
    outbox: Option<Arc<Outbox>>,
    /// What empties it, once a bundle has records kept.
    carrying: Mutex<Option<Carrying>>,
}

#[derive(Default)]
struct State {
    counting: Vec<Counting>,
    is_ending: bool,
}

struct Counting {
    bundle: Digest,
    recorder: Arc<Recorder>,
    since: Timestamp,
    serves: bool,
}

impl HandingOver {
    /// For the model in `model_folder`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(model_folder: &Path) -> io::Result<Self> {
        let name = model_folder.file_name().and_then(|name| ModelName::new(name.to_str()?).ok());
        let shared = Arc::new(Shared {
            folder: model_folder.join(APP_FOLDER),
            state: Mutex::default(),
            wake: Condvar::new(),
            outbox: name.map(|name| Arc::new(Outbox::new(name))),
            carrying: Mutex::default(),
        });
        let works = Arc::clone(&shared);
        let thread = thread::Builder::new().name("edgeward-windows".to_owned()).spawn(move || works.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What hands over what `loaded` counts, from now on, in place of the model before.
    pub(crate) fn taking_over(&self) -> impl Fn(&Loaded) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |loaded| shared.take_over(loaded)
    }
}

impl Drop for HandingOver {
    fn drop(&mut self) {
        self.shared.state().is_ending = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        let carrying = self.shared.carrying.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(carrying);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, loaded: &Loaded) {
        self.take_records(loaded);
        let mut state = self.state();
        state.counting.iter_mut().for_each(|counting| counting.serves = false);
        let Some(recorder) = loaded.recorder() else { return };
        let monitor = self.folder.join(MONITORS_FOLDER).join(loaded.bundle().hex());
        if let Ok(learnt) = read_bounded(&monitor, STATE_BYTES_MAX) {
            // One of another version is of no use.
            let _ = recorder.restore(&learnt);
        }
        recorder.keep();
        let (bundle, recorder) = (loaded.bundle(), Arc::clone(recorder));
        state.counting.push(Counting { bundle, recorder, since: now(), serves: true });
    }

    /// Lets `loaded` leave the records of its predictions, if its bundle has them kept.
    fn take_records(&self, loaded: &Loaded) {
        let Some(outbox) = self.outbox.as_ref().filter(|_| loaded.records().is_some()) else { return };
        let mut carrying = self.carrying.lock().unwrap_or_else(PoisonError::into_inner);
        if carrying.is_none() {
            // Without a thread the records stay with the predictions, and serving goes on.
            let Ok(started) = Carrying::start(outbox, &self.folder) else { return };
            *carrying = Some(started);
        }
        loaded.leave_records_in(outbox);
    }

    fn run(&self) {
        let mut is_ending = false;
        while !is_ending {
            let state = self.state();
            let waited = self.wake.wait_timeout_while(state, HANDOVER_EVERY, |state| !state.is_ending);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            is_ending = state.is_ending;
            let mut counting = std::mem::take(&mut state.counting);
            drop(state);
            counting.iter_mut().for_each(|counting| self.hand_over(counting));
            // A model that serves no more has had a while to answer its last requests.
            counting.retain(|counting| counting.serves);
            let mut state = self.state();
            let later = std::mem::take(&mut state.counting);
            if !later.is_empty() {
                counting.iter_mut().for_each(|counting| counting.serves = false);
            }
            state.counting = counting.into_iter().chain(later).collect();
        }
    }

    /// A window whose document cannot be written is lost: the app has other things to do with a full disk.
    fn hand_over(&self, counting: &mut Counting) {
        let folder = self.folder.join(HANDOVER_FOLDER);
        let (documents, bytes) = waiting_in(&folder);
        if documents >= WAITING_MAX || bytes >= WAITING_BYTES_MAX {
            return;
        }
        let Some(window) = counting.recorder.take_window() else { return };
        let to = now();
        let document = Handover::new(counting.bundle, window, (counting.since, to));
        counting.since = to;
        if let Ok(bytes) = serde_json::to_vec(&document) {
            let _ = write_whole(&folder.join(format!("{}.json", Uuid::now_v7())), &bytes);
        }
        let monitors = self.folder.join(MONITORS_FOLDER);
        let learnt = counting.recorder.state_to_bytes();
        let _ = write_whole(&monitors.join(counting.bundle.hex()), &learnt);
        forget_oldest(&monitors, MONITORS_MAX);
    }
}

/// How many documents wait, and their bytes.
pub(crate) fn waiting_in(folder: &Path) -> (usize, u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.fold((0, 0), |(documents, sum), bytes| (documents + 1, sum + bytes))
}

fn forget_oldest(folder: &Path, keep: usize) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let aged = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut files: Vec<_> = entries.filter_map(aged).collect();
    files.sort();
    let old = files.len().saturating_sub(keep);
    files.iter().take(old).for_each(|(_, path)| {
        // A file that stays costs a little room and nothing else.
        let _ = fs::remove_file(path);
    });
}

#[cfg(test)]
mod tests;
