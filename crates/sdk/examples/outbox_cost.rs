//! What records cost an app: the same requests to an app that follows a bundle without and one with `[records]`, in turns.
//!
//!     cargo run --release -p edgeward-sdk --example outbox_cost -- [SECONDS]
//!
//! The model is tiny, so that the difference is what a request pays: packing and hashing its input and output, and a place in
//! the queue. A thread of the library writes the documents meanwhile; nobody takes them, so the oldest give way.

#![expect(clippy::unwrap_used, reason = "an example ends where a step fails")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeward_core::record::{InputsKept, RECORD_POLICY_SCHEMA};
use edgeward_core::slot::SlotId;
use edgeward_core::{ModelName, RecordPolicy};
use edgeward_model::bundle::path;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{
    BundleWriter, Golden, LoadOptions, NamedTensor, RtenEngine, Session, Tensor, Tolerance, onnx,
};
use edgeward_sdk::{ACTIVE_FILE, ACTIVE_SCHEMA, Active, Watch, WatchOptions, model_folder};

/// Requests of one block.
const BLOCK: usize = 500;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20.0);
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let apps = [follow(roots[0].path(), None), follow(roots[1].path(), Some(policy()))];
    let mut took = [Duration::ZERO; 2];
    let (began, mut turns) = (Instant::now(), 0);
    while began.elapsed().as_secs_f64() < seconds {
        // Whatever slows the machine down hits both, now one first and now the other.
        for at in if turns % 2 == 0 { [0, 1] } else { [1, 0] } {
            took[at] += block(&apps[at]);
        }
        turns += 1;
    }
    let each_us = took.map(|took| took.as_secs_f64() * 1e6 / (BLOCK * turns) as f64);
    println!(
        "{} requests each: {:.2} us without records, {:.2} us with: {:.2} us for a record with its input",
        BLOCK * turns,
        each_us[0],
        each_us[1],
        each_us[1] - each_us[0]
    );
}

fn policy() -> RecordPolicy {
    RecordPolicy {
        schema: RECORD_POLICY_SCHEMA.to_owned(),
        inputs: InputsKept::All,
        sampled: 1.0,
        redact: Vec::new(),
        retention_days: 90,
        records_days: None,
        subject: None,
    }
}

fn row() -> Vec<NamedTensor> {
    vec![Tensor::from_rows(1, 4, fixture::noise(4, 1)).unwrap().named("x")]
}

fn block(app: &Watch) -> Duration {
    let began = Instant::now();
    (0..BLOCK).for_each(|_| drop(app.handle().infer(row()).unwrap()));
    began.elapsed()
}

/// An app that follows a bundle as an agent keeps it.
fn follow(root: &Path, records: Option<RecordPolicy>) -> Watch {
    let model = ModelName::new("digits").unwrap();
    let bytes = onnx::encode(&fixture::classifier());
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
    let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(model.clone());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    if let Some(policy) = records {
        writer.add(path::RECORDS, serde_json::to_vec(&policy).unwrap()).unwrap();
    }
    let made = writer.write(&root.join("made")).unwrap();
    let (folder, bundle) = (model_folder(root, &model), made.digest());
    fs::create_dir_all(&folder).unwrap();
    fs::rename(made.dir(), folder.join(SlotId::A.as_str())).unwrap();
    let active = Active { schema: ACTIVE_SCHEMA.to_owned(), model, bundle, slot: SlotId::A, sequence: 1 };
    fs::write(folder.join(ACTIVE_FILE), serde_json::to_vec(&active).unwrap()).unwrap();
    Watch::start(&folder, WatchOptions::default()).unwrap()
}
