//! Records of an app's predictions, on their way to the agent on the same device.
//!
//! A request leaves its record in a bounded queue and goes on: no file is touched and nothing is encoded on its thread. A
//! thread of the library's own writes what has gathered into [`RECORDS_FOLDER`] of the app's folder, as one document that
//! appears under its name only as a whole; the agent removes it once it has taken it. While the agent is away the oldest
//! documents give way, and each record that is lost is counted in the next document.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use edgeward_core::envelope::Base64;
use edgeward_core::record::{LabelRecord, Record};
use edgeward_core::{ModelName, PredictionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::active::{APP_FOLDER, now, write_whole};
use crate::handover::{HANDOVER_BYTES_MAX, HANDOVER_EVERY, read_bounded, waiting_in, whole_in};
use crate::keepsake::record_of;
use crate::prediction::Prediction;

/// Schema of [`HandedRecords`].
pub(crate) const OUTBOX_SCHEMA: &str = "edgeward.handed-records/1";
/// Where the documents wait, in the app's folder.
pub(crate) const RECORDS_FOLDER: &str = "records";
/// Most records that wait in memory; a further one is lost and counted.
pub(crate) const QUEUED_MAX: usize = 8192;
/// Most bytes that they take there, about.
pub(crate) const QUEUED_BYTES_MAX: usize = 4 << 20;
/// Most documents that wait for the agent; then the oldest goes.
pub(crate) const DOCUMENTS_MAX: usize = 64;
/// Most bytes that they take together; then the oldest go.
pub(crate) const DOCUMENTS_BYTES_MAX: u64 = 16 << 20;
/// What a record takes beside its input and its answers, about.
const RECORD_BYTES: usize = 768;
/// What one row's answer takes, about.
const ANSWER_BYTES: usize = 64;

/// Records that an app handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedRecords {
    /// Always `edgeward.handed-records/1`.
    pub schema: String,
    /// Records that were lost since the document before, for want of room.
    pub dropped: u64,
    /// The records, in the order in which they were made.
    pub records: Vec<HandedRecord>,
}

/// One record, and what may have to be forgotten beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedRecord {
    /// An `edgeward_core::Record` as JSON.
    pub record: String,
    /// Salt of its digests; none of a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Base64>,
    /// What is kept of the input: packed tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Base64>,
    /// Whom the input is about, if the policy names a field that says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
}

impl HandedRecords {
    /// The documents that wait in a model's folder, oldest first.
    #[must_use]
    pub fn waiting(model_folder: &Path) -> Vec<PathBuf> {
        whole_in(&model_folder.join(APP_FOLDER).join(RECORDS_FOLDER))
    }

    /// A document as it waits.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is no such document.
    pub fn read(path: &Path) -> io::Result<Self> {
        let read: Self = serde_json::from_slice(&read_bounded(path, HANDOVER_BYTES_MAX)?)?;
        match read.schema == OUTBOX_SCHEMA {
            true => Ok(read),
            false => Err(io::Error::other(format!("its schema is '{}'", read.schema))),
        }
    }
}

/// Where a model's predictions leave their records; shared by every request.
pub(crate) struct Outbox {
    model: ModelName,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Queued>,
    bytes: usize,
    dropped: u64,
    is_ending: bool,
}

/// A record before it is encoded, with what travels beside it.
struct Queued {
    record: Record,
    salt: Option<Base64>,
    input: Option<Base64>,
    subjects: Vec<String>,
}

impl Outbox {
    pub(crate) fn new(model: ModelName) -> Self {
        Self { model, queue: Mutex::default(), wake: Condvar::new() }
    }

    /// Takes the record of an answer, and with it the prediction's keepsake.
    pub(crate) fn answered(&self, prediction: &mut Prediction) {
        let Some(record) = record_of(&self.model, prediction, now()) else { return };
        let Some(keepsake) = prediction.keepsake.take() else { return };
        let said: usize =
            record.answers.iter().map(|one| one.predicted.as_ref().map_or(0, String::len)).sum();
        let marked: usize = record.marks.iter().map(|mark| mark.message.len()).sum();
        let bytes = RECORD_BYTES + keepsake.bytes.len() + said + marked + ANSWER_BYTES * record.answers.len();
        let salt = Some(Base64(keepsake.salt.to_vec()));
        let input = (!keepsake.bytes.is_empty()).then_some(Base64(keepsake.bytes));
        let subjects = keepsake.subjects;
        self.offer(Queued { record: Record::Prediction(record), salt, input, subjects }, bytes);
    }

    /// Takes the record of a label.
    pub(crate) fn labelled(&self, (prediction, row): (PredictionId, u32), truth: &str) {
        let label = truth.to_owned();
        let record = Record::Label(LabelRecord { prediction, row, label, at_ms: now() });
        let bytes = RECORD_BYTES / 4 + truth.len();
        self.offer(Queued { record, salt: None, input: None, subjects: Vec::new() }, bytes);
    }

    fn offer(&self, queued: Queued, bytes: usize) {
        let mut queue = self.queue();
        let is_full = queue.waiting.len() >= QUEUED_MAX || queue.bytes + bytes > QUEUED_BYTES_MAX;
        if is_full || queue.is_ending {
            queue.dropped += 1;
            return;
        }
        queue.bytes += bytes;
        queue.waiting.push(queued);
        // Half full, it is emptied before its time.
        let is_pressing = queue.is_pressing();
        drop(queue);
        if is_pressing {
            self.wake.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    const fn is_pressing(&self) -> bool {
        self.waiting.len() > QUEUED_MAX / 2 || self.bytes > QUEUED_BYTES_MAX / 2
    }
}

/// Empties an outbox until it is dropped, and then once more.
pub(crate) struct Carrying {
    outbox: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
}

impl Carrying {
    /// Carries from `outbox` into the app's folder `folder`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(outbox: &Arc<Outbox>, folder: &Path) -> io::Result<Self> {
        let (carries, folder) = (Arc::clone(outbox), folder.join(RECORDS_FOLDER));
        let thread = thread::Builder::new().name("edgeward-records".to_owned()).spawn(move || {
            // Requests come first.
            crate::priority::step_back(crate::priority::LOADING);
            carries.run(&folder);
        })?;
        Ok(Self { outbox: Arc::clone(outbox), thread: Some(thread) })
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.outbox.queue().is_ending = true;
        self.outbox.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Outbox {
    fn run(&self, folder: &Path) {
        let mut lost = 0;
        loop {
            let idle = |queue: &mut Queue| !queue.is_ending && !queue.is_pressing();
            let waited = self.wake.wait_timeout_while(self.queue(), HANDOVER_EVERY, idle);
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.bytes = 0;
            let (waiting, is_ending) = (std::mem::take(&mut queue.waiting), queue.is_ending);
            lost += std::mem::take(&mut queue.dropped);
            drop(queue);
            if !waiting.is_empty() || lost > 0 {
                lost = carry(folder, waiting, lost);
            }
            if is_ending {
                return;
            }
        }
    }
}

/// Writes a document, after those that are too many or too large have gone; how many records are lost and not told yet.
fn carry(folder: &Path, waiting: Vec<Queued>, lost: u64) -> u64 {
    let dropped = lost + make_room(folder);
    let count = waiting.len() as u64;
    let records = waiting.into_iter().filter_map(|Queued { record, salt, input, subjects }| {
        let record = serde_json::to_string(&record).ok()?;
        Some(HandedRecord { record, salt, input, subjects })
    });
    let document = HandedRecords { schema: OUTBOX_SCHEMA.to_owned(), dropped, records: records.collect() };
    let path = folder.join(format!("{}.json", Uuid::now_v7()));
    let written = serde_json::to_vec(&document).map_err(io::Error::from);
    match written.and_then(|bytes| write_whole(&path, &bytes)) {
        Ok(()) => 0,
        // The app has other things to do with a full disk.
        Err(_) => dropped + count,
    }
}

/// Removes the oldest documents until there is room for another; how many records were in them.
fn make_room(folder: &Path) -> u64 {
    let mut lost = 0;
    for oldest in whole_in(folder) {
        let (documents, bytes) = waiting_in(folder);
        if documents < DOCUMENTS_MAX && bytes < DOCUMENTS_BYTES_MAX {
            break;
        }
        let held = HandedRecords::read(&oldest).map_or(0, |held| held.records.len() as u64 + held.dropped);
        // The agent may have taken it just now: then nothing is lost.
        if fs::remove_file(&oldest).is_ok() {
            lost += held;
        }
    }
    lost
}

#[cfg(test)]
mod tests;
