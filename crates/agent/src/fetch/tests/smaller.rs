//! Every way to a file that is shorter than the file, and every way in which it can go wrong.

use edgeward_model::delta::{delta, full};
use edgeward_model::engine::conformance::fixture;
use edgeward_model::onnx::{self, TensorProto};
use edgeward_model::{Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance};

use super::*;

/// A bundle whose model has 17 kB, of which versions differ in the bias only.
fn wide(folder: &Path, version: u64) -> Bundle {
    let mut network = fixture::wide();
    let bias = Tensor::new(vec![fixture::WIDTH], fixture::noise(fixture::WIDTH, 100 + version)).unwrap();
    network.graph.as_mut().unwrap().initializer[1] = TensorProto::from_tensor("b", &bias);
    let bytes = onnx::encode(&network);
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let row = Tensor::from_rows(1, fixture::WIDTH, fixture::noise(fixture::WIDTH, 9)).unwrap();
    let golden = Golden::record(session.runnable(), &[vec![row]], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(model());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    writer.add("notes.md", vec![b'n'; 5000]).unwrap();
    writer.write(&folder.join(format!("wide-{version}"))).unwrap()
}

/// A device that runs version 1 in slot A, and is to get version 2 into slot B.
struct Update {
    bench: Bench,
    model_len: usize,
    old: Digest,
    new: Digest,
}

impl Update {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (wide(folder.path(), 1), wide(folder.path(), 2));
        let bench = Bench::of(folder, one.clone());
        bench.stage().unwrap();
        let old = bench.digest_of(path::MODEL);
        let mut bench = Bench { slot: SlotId::B, ..Bench::of(bench._folder, two.clone()) };
        let new = bench.digest_of(path::MODEL);
        let (before, after) = (one.read(path::MODEL).unwrap(), two.read(path::MODEL).unwrap());
        bench.source.deltas.insert((new, None), full(&after));
        bench.source.deltas.insert((new, Some(old)), delta(&before, &after, after.len()).unwrap());
        Self { bench, model_len: after.len(), old, new }
    }

    fn delta(&mut self) -> &mut Vec<u8> {
        self.bench.source.deltas.get_mut(&(self.new, Some(self.old))).unwrap()
    }

    /// The sources that were asked for, the model itself being `blob`.
    fn ways(&self) -> Vec<&'static str> {
        let deltas = self.bench.source.asked_deltas.borrow();
        let deltas = deltas.iter().filter(|(result, ..)| *result == self.new);
        let deltas = deltas.map(|(_, source, _)| if source.is_some() { "delta" } else { "full" });
        let blobs = self.bench.source.asked.borrow();
        let blobs = blobs.iter().filter(|(digest, _)| *digest == self.new).map(|_| "blob");
        deltas.chain(blobs).collect()
    }

    fn ends_well_by(&self, ways: &[&str]) {
        self.bench.stage().unwrap();
        open_verified(&self.bench.slots.folder(&model(), SlotId::B), self.bench.release.bundle, &device())
            .unwrap();
        assert_eq!(self.ways(), ways);
    }

    fn received(&self) -> usize {
        self.bench.received.load(Ordering::Relaxed) as usize
    }
}

#[test]
fn an_update_takes_the_delta_and_fetches_nothing_it_has() {
    let update = Update::new();
    update.ends_well_by(&["delta"]);
    let notes = update.bench.digest_of("notes.md");
    let asked = update.bench.source.asked.borrow();
    assert!(asked.iter().all(|(digest, _)| *digest != notes), "it lies in the other slot");
    assert!(update.received() < update.model_len / 4, "{} of {}", update.received(), update.model_len);
}

#[test]
fn a_first_bundle_comes_compressed_and_without_that_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let made = wide(folder.path(), 1);
    let bytes = made.read(path::MODEL).unwrap();
    for compressed in [true, false] {
        let mut bench = Bench::of(tempfile::tempdir().unwrap(), made.clone());
        let digest = bench.digest_of(path::MODEL);
        if compressed {
            bench.source.deltas.insert((digest, None), full(&bytes));
        }
        bench.stage().unwrap();
        let blobs = bench.source.asked.borrow().iter().filter(|(asked, _)| *asked == digest).count();
        assert_eq!(blobs, usize::from(!compressed));
    }
}

#[test]
fn a_delta_that_leads_nowhere_costs_its_bytes_only() {
    let mut update = Update::new();
    let middle = update.delta().len() / 2;
    update.delta()[middle] ^= 0x40;
    update.ends_well_by(&["delta", "full"]);

    let mut update = Update::new();
    *update.delta() = b"<html>not found</html>".to_vec();
    update.bench.source.deltas.insert((update.new, None), vec![0; 1 << 20]);
    update.ends_well_by(&["delta", "full", "blob"]);
    assert!(update.received() < 1 << 18, "a delta without end is cut short");
}

#[test]
fn a_delta_is_no_way_from_a_file_that_has_rotted() {
    let update = Update::new();
    let held = update.bench.slots.folder(&model(), SlotId::A);
    for name in [path::MODEL, "notes.md"] {
        let mut bytes = fs::read(held.join(name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(held.join(name), bytes).unwrap();
    }
    update.ends_well_by(&["delta", "full"]);
    let notes = update.bench.digest_of("notes.md");
    assert!(update.bench.source.asked.borrow().iter().any(|(digest, _)| *digest == notes));
}

#[test]
fn a_delta_that_breaks_off_goes_on_where_it_stopped() {
    for ignores_ranges in [false, true] {
        let mut update = Update::new();
        update.bench.source.ignores_ranges = ignores_ranges;
        let part = update.delta().len() - 10;
        update.bench.source.break_deltas_after.set(Some(part));
        update.bench.to_be_tried_again();
        update.bench.source.break_deltas_after.set(None);
        update.bench.stage().unwrap();
        let asked = update.bench.source.asked_deltas.borrow();
        let offsets: Vec<u64> =
            asked.iter().filter(|(result, ..)| *result == update.new).map(|(.., offset)| *offset).collect();
        assert_eq!(offsets, [0, part as u64]);
    }
}
