//! An app that follows: a folder as an agent keeps it, with the real engine and real bundles.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use edgeward_core::slot::SlotId;
use edgeward_core::{Digest, ModelName};
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{BundleWriter, Golden, RtenEngine, Session, Tensor, Tolerance, onnx};

use super::*;
use crate::active::{ACTIVE_FILE, ACTIVE_SCHEMA, Active, Serving};

const PATIENCE: Duration = Duration::from_secs(20);

/// A model's folder as an agent keeps it.
struct Device {
    root: tempfile::TempDir,
    folder: PathBuf,
    sequence: AtomicU64,
}

fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

impl Device {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = crate::model_folder(root.path(), &model());
        fs::create_dir_all(&folder).unwrap();
        Self { root, folder, sequence: AtomicU64::new(0) }
    }

    /// Puts a bundle into a slot.
    fn stage(&self, slot: SlotId, version: &str) -> Bundle {
        let mut onnx_model = fixture::classifier();
        onnx_model.set_metadata("version", version);
        let bytes = onnx::encode(&onnx_model);
        let options = LoadOptions::with_threads(1);
        let session = Session::from_onnx(&bytes, &RtenEngine::new(), &options).unwrap();
        let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
        let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
        let mut writer = BundleWriter::new(model());
        writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
        writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
        let made = writer.write(&self.root.path().join("made")).unwrap();
        let place = self.folder.join(slot.as_str());
        let _ = fs::remove_dir_all(&place);
        fs::rename(made.dir(), &place).unwrap();
        Bundle::open(&place).unwrap()
    }

    fn activate(&self, slot: SlotId, bundle: Digest) -> u64 {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let active = Active { schema: ACTIVE_SCHEMA.to_owned(), model: model(), bundle, slot, sequence };
        let beside = self.folder.join("active.new");
        fs::write(&beside, serde_json::to_vec(&active).unwrap()).unwrap();
        fs::rename(beside, self.folder.join(ACTIVE_FILE)).unwrap();
        sequence
    }

    fn heard(&self, sequence: u64) -> Serving {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(said) = Serving::read(&self.folder).filter(|said| said.sequence == sequence) {
                return said;
            }
            assert!(Instant::now() < deadline, "the app never said anything about {sequence}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn ask(watch: &Watch) -> Digest {
    let rows = vec![Tensor::from_rows(1, 4, fixture::noise(4, 1)).unwrap().named("x")];
    watch.handle().infer(rows).unwrap().bundle
}

#[test]
fn an_app_follows_every_activation_without_a_failed_request() {
    let device = Device::new();
    let one = device.stage(SlotId::A, "1").digest();
    device.activate(SlotId::A, one);
    let watch = Watch::start(&device.folder, WatchOptions::default()).unwrap();
    assert_eq!(ask(&watch), one, "what is active serves at once");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask(&watch);
            }
        });
        for n in 2..12 {
            let slot = if n % 2 == 0 { SlotId::B } else { SlotId::A };
            let bundle = device.stage(slot, &n.to_string()).digest();
            let said = device.heard(device.activate(slot, bundle));
            assert_eq!((said.bundle, said.error), (bundle, None));
            assert_eq!(ask(&watch), bundle);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    assert_eq!(watch.swaps(), 11);
}

#[test]
fn memory_is_given_back_once_the_last_request_on_the_old_model_has_left() {
    let device = Device::new();
    let one = device.stage(SlotId::A, "1").digest();
    device.activate(SlotId::A, one);
    let watch = Watch::start(&device.folder, WatchOptions::default()).unwrap();
    let pinned = watch.handle().current().unwrap();
    let two = device.stage(SlotId::B, "2").digest();
    device.heard(device.activate(SlotId::B, two));
    assert!(!watch.shared.let_go(), "a request still runs on it");
    drop(pinned);
    assert!(watch.shared.let_go());
}

#[test]
fn an_app_waits_for_its_first_model() {
    let device = Device::new();
    let watch = Watch::start(&device.folder, WatchOptions::default()).unwrap();
    assert!(!watch.wait_until_serving(Duration::from_millis(10)));
    let one = device.stage(SlotId::A, "1").digest();
    device.activate(SlotId::A, one);
    assert!(watch.wait_until_serving(PATIENCE));
    assert_eq!(ask(&watch), one);
}

#[test]
fn a_bundle_that_is_not_what_it_should_be_never_serves_and_the_agent_hears_why() {
    let device = Device::new();
    let one = device.stage(SlotId::A, "1").digest();
    device.activate(SlotId::A, one);
    let watch = Watch::start(&device.folder, WatchOptions::default()).unwrap();
    let two = device.stage(SlotId::B, "2");
    let file = two.dir().join(two.manifest().variants[0].path.as_str());
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let said = device.heard(device.activate(SlotId::B, two.digest()));
    assert!(said.error.unwrap().contains("digest"), "it says what is wrong");
    assert_eq!(ask(&watch), one);
    let said = device.heard(device.activate(SlotId::A, one));
    assert_eq!(said.error, None, "going back to the slot that serves is an activation like any other");
}

#[test]
fn an_app_with_a_runtime_of_its_own_gets_the_path_and_may_refuse() {
    let device = Device::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let refuse_b = move |activation: &Activation| {
        sender.send(activation.clone()).unwrap();
        match activation.active.slot {
            SlotId::A => Ok(()),
            SlotId::B => Err("not for me".to_owned()),
        }
    };
    let follower = Follower::start(&device.folder, LOOK, Box::new(refuse_b)).unwrap();
    let one = device.stage(SlotId::A, "1").digest();
    let first = device.activate(SlotId::A, one);
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap().folder, device.folder.join("a"));
    assert_eq!(device.heard(first).error, None);
    let said = device.heard(device.activate(SlotId::B, one));
    assert_eq!(said.error.as_deref(), Some("not for me"));
    let pause = follower.pause(Duration::from_secs(60)).unwrap();
    let now = edgeward_core::Timestamp(0);
    assert!(crate::Hold::remaining(&device.folder, now).is_none(), "another clock");
    assert!(device.folder.join("app/hold.json").exists());
    drop(pause);
    assert!(!device.folder.join("app/hold.json").exists());
}
