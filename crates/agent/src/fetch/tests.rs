//! Staging from honest, broken and hostile sources.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor};

use edgeward_api::Problem;
use edgeward_core::Variant;
use edgeward_core::variant::Requires;
use edgeward_model::{BundleWriter, Engines};
use tempfile::TempDir;

#[cfg(target_os = "linux")]
mod full;
mod smaller;

use super::*;
use crate::disk::OsDisk;
use crate::fixtures::{bundle, model, onnx_bytes};
use crate::platform::Hardware;

/// Blobs in memory, with the faults of a network.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<Digest, Vec<u8>>,
    deltas: BTreeMap<(Digest, Option<Digest>), Vec<u8>>,
    /// Answers break off after so many bytes.
    break_after: Cell<Option<usize>>,
    break_deltas_after: Cell<Option<usize>>,
    ignores_ranges: bool,
    asked: RefCell<Vec<(Digest, u64)>>,
    asked_deltas: RefCell<Vec<(Digest, Option<Digest>, u64)>>,
}

impl BlobSource for Memory {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.asked.borrow_mut().push((*digest, offset));
        self.answer(self.blobs.get(digest), offset, self.break_after.get())
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.asked_deltas.borrow_mut().push((*result, source.copied(), offset));
        let found = self.deltas.get(&(*result, source.copied()));
        self.answer(found, offset, self.break_deltas_after.get())
    }
}

impl Memory {
    fn answer<'a>(
        &self,
        found: Option<&'a Vec<u8>>,
        offset: u64,
        break_after: Option<usize>,
    ) -> Result<(bool, Box<dyn Read + 'a>), ClientError> {
        let refused = |status| ClientError::Refused {
            address: "memory".to_owned(),
            status,
            retry_after_s: None,
            problem: Problem::new("refused", "no such bytes"),
        };
        let blob = found.ok_or_else(|| refused(404))?;
        if offset > 0 && offset >= blob.len() as u64 && !self.ignores_ranges {
            return Err(refused(416));
        }
        let (honoured, from) = if self.ignores_ranges { (false, 0) } else { (true, offset as usize) };
        let rest = &blob[from.min(blob.len())..];
        let end = break_after.map_or(rest.len(), |after| after.min(rest.len()));
        let breaks = end < rest.len();
        Ok((honoured, Box::new(Cursor::new(&rest[..end]).chain(Break(breaks)))))
    }
}

/// The end of an answer, or of the connection.
struct Break(bool);

impl Read for Break {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(0),
        }
    }
}

/// A device with the embedded engine, in a chip of a known kind.
fn device() -> Platform {
    let hardware = Hardware { soc: Some("SM8550".to_owned()), ..Hardware::default() };
    Platform::new(Arc::new(Engines::embedded()), hardware)
}

struct Bench {
    _folder: TempDir,
    source: Memory,
    slots: Slots,
    slot: SlotId,
    courtesy: Courtesy,
    received: AtomicU64,
    release: Release,
    bundle: Bundle,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(&folder.path().join("made"), "1");
        Self::of(folder, bundle)
    }

    fn of(folder: TempDir, bundle: Bundle) -> Self {
        let mut source = Memory::default();
        let manifest = fs::read(bundle.dir().join(path::MANIFEST)).unwrap();
        let release = Release { bundle: bundle.digest(), manifest_size_bytes: manifest.len() as u64 };
        source.blobs.insert(bundle.digest(), manifest);
        for (path, entry) in &bundle.manifest().files {
            source.blobs.insert(entry.digest, bundle.read(path.as_str()).unwrap());
        }
        let slots = Slots::new(folder.path().join("models"));
        let (slot, received) = (SlotId::A, AtomicU64::new(0));
        let courtesy = Courtesy::default();
        Self { _folder: folder, source, slots, slot, courtesy, received, release, bundle }
    }

    fn stage(&self) -> Result<Arc<Loaded>, FetchError> {
        self.stage_unless(&AtomicBool::new(false))
    }

    fn stage_unless(&self, cancelled: &AtomicBool) -> Result<Arc<Loaded>, FetchError> {
        let (source, slots) = (&self.source as &dyn BlobSource, &self.slots);
        let received = &self.received;
        let courtesy = &self.courtesy;
        Staging { source, slots, platform: &device(), courtesy, cancelled, received, beside: None }.stage(
            &model(),
            self.slot,
            &self.release,
        )
    }

    fn digest_of(&self, path: &str) -> Digest {
        self.bundle.manifest().files[&BundlePath::new(path).unwrap()].digest
    }

    fn refused(&self, expected: &str) {
        let error = self.stage().err().expect("it should be refused");
        let StageOutcome::Refused(reason) = error.outcome() else { panic!("{error}") };
        assert!(reason.contains(expected), "{reason}");
    }

    fn damaged(&self, expected: &str) {
        let error = self.stage().err().expect("it should be damaged");
        let StageOutcome::Damaged(reason) = error.outcome() else { panic!("{error}") };
        assert!(reason.contains(expected), "{reason}");
    }

    fn to_be_tried_again(&self) {
        let error = self.stage().err().expect("it should fail");
        assert!(matches!(error.outcome(), StageOutcome::Unreachable(_)), "{error}");
    }
}

#[test]
fn only_what_the_device_runs_is_fetched() {
    let bench = Bench::new();
    let loaded = bench.stage().unwrap();
    assert_eq!(loaded.bundle(), bench.release.bundle);
    assert!(loaded.recorder().is_some());
    let other = bench.digest_of("variants/other-f32/model.onnx");
    assert!(bench.source.asked.borrow().iter().all(|(digest, _)| *digest != other));
    let folder = bench.slots.folder(&model(), SlotId::A);
    open_verified(&folder, bench.release.bundle, &device()).unwrap();
    bench.source.asked.borrow_mut().clear();
    bench.stage().unwrap();
    assert_eq!(bench.source.asked.borrow().len(), 0, "what is whole is not fetched again");
}

/// A bundle of the usual model with another form for each of these chips.
fn compiled_for(chips: &[&str], with_plain: bool) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let made = bundle(&folder.path().join("made"), "1");
    let onnx = made.read(path::MODEL).unwrap();
    let mut writer = BundleWriter::new(model());
    for soc in chips {
        let mut form = Variant::new("rten", "f32", BundlePath::new(path::MODEL).unwrap());
        form.name = Some(format!("for-{soc}"));
        form.requires = Requires { soc: vec![(*soc).to_owned()], ..Requires::default() };
        writer.form(form, onnx_bytes(soc)).unwrap();
    }
    if with_plain {
        writer.model(onnx.clone()).unwrap().variant("rten", "f32", onnx).unwrap();
    }
    writer.add(path::SIGNATURE, made.read(path::SIGNATURE).unwrap()).unwrap();
    writer.add(path::GOLDEN, made.read(path::GOLDEN).unwrap()).unwrap();
    let bundle = writer.write(&folder.path().join("compiled")).unwrap();
    Bench::of(folder, bundle)
}

#[test]
fn a_form_for_another_chip_is_refused_before_it_is_fetched() {
    let bench = compiled_for(&["SM8650", "SM8550"], true);
    let loaded = bench.stage().unwrap();
    let asked: Vec<Digest> = bench.source.asked.borrow().iter().map(|(digest, _)| *digest).collect();
    let was_asked = |path: &str| asked.contains(&bench.digest_of(path));
    assert!(!was_asked("variants/for-SM8650/model.onnx"));
    assert!(
        was_asked("variants/for-SM8550/model.onnx") && was_asked(path::MODEL),
        "every usable form is fetched"
    );
    assert!(loaded.recorder().is_none());
}

#[test]
fn a_bundle_without_a_form_for_the_device_says_why_and_fetches_nothing_more() {
    let bench = compiled_for(&["SM8650", "QCS6490"], false);
    bench.refused("for-SM8650: it was compiled for SM8650, this device is SM8550");
    assert_eq!(*bench.source.asked.borrow(), [(bench.release.bundle, 0)], "only the manifest was fetched");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    for ignores_ranges in [false, true] {
        let bench = Bench { source: Memory { ignores_ranges, ..Bench::new().source }, ..Bench::new() };
        bench.source.break_after.set(Some(100));
        bench.to_be_tried_again();
        bench.source.break_after.set(None);
        bench.source.asked.borrow_mut().clear();
        bench.stage().unwrap();
        assert_eq!(bench.source.asked.borrow()[0], (bench.release.bundle, 100));
    }
}

#[test]
fn tampered_bytes_are_not_used_and_not_held_against_the_bundle() {
    let manifest = Bench::new().release.bundle;
    for path in [path::MODEL, path::GOLDEN, path::REFERENCE_PROFILE, path::SIGNATURE] {
        let mut bench = Bench::new();
        let digest = bench.digest_of(path);
        bench.source.blobs.get_mut(&digest).unwrap()[3] ^= 1;
        bench.damaged("its digest is");
        bench.source.blobs.get_mut(&digest).unwrap()[3] ^= 1;
        bench.stage().expect("the right bytes are taken once they come");
    }
    let mut bench = Bench::new();
    bench.source.blobs.get_mut(&manifest).unwrap()[3] ^= 1;
    bench.damaged("its digest is");
    let mut bench = Bench::new();
    bench.source.blobs.get_mut(&manifest).unwrap().push(b' ');
    bench.damaged("longer than its size says");
}

#[test]
fn a_bundle_of_another_model_is_refused() {
    let bench = Bench::new();
    let staging = Staging {
        source: &bench.source,
        slots: &bench.slots,
        platform: &device(),
        courtesy: &Courtesy::default(),
        cancelled: &AtomicBool::new(false),
        received: &AtomicU64::new(0),
        beside: None,
    };
    let letters = ModelName::new("letters").unwrap();
    let error = staging.stage(&letters, SlotId::A, &bench.release).err().unwrap();
    assert!(matches!(error.outcome(), StageOutcome::Refused(_)) && error.to_string().contains("letters"));
}

#[test]
fn a_missing_blob_is_tried_again() {
    let mut bench = Bench::new();
    let digest = bench.digest_of(path::MODEL);
    bench.source.blobs.remove(&digest);
    bench.to_be_tried_again();
}

#[test]
fn bits_that_rot_on_the_disk_are_fetched_again() {
    let bench = Bench::new();
    bench.stage().unwrap();
    let folder = bench.slots.folder(&model(), SlotId::A);
    let file = folder.join(path::MODEL);
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(open_verified(&folder, bench.release.bundle, &device()).is_err());
    bench.stage().unwrap();
    open_verified(&folder, bench.release.bundle, &device()).unwrap();
}

#[test]
fn a_slot_with_a_file_too_many_is_emptied_and_filled_again() {
    let bench = Bench::new();
    bench.stage().unwrap();
    fs::write(bench.slots.folder(&model(), SlotId::A).join("stray"), b"x").unwrap();
    bench.damaged("stray");
    bench.stage().unwrap();
}

#[test]
fn a_rotten_partial_file_does_not_condemn_the_bundle() {
    let bench = Bench::new();
    bench.source.break_after.set(Some(100));
    bench.to_be_tried_again();
    bench.source.break_after.set(None);
    let part =
        bench.slots.folder(&model(), SlotId::A).with_extension("part").join(bench.release.bundle.hex());
    let mut bytes = fs::read(&part).unwrap();
    bytes[0] ^= 1;
    fs::write(&part, bytes).unwrap();
    bench.stage().unwrap();
}

#[test]
fn staging_stops_when_nobody_wants_it() {
    let bench = Bench::new();
    let error = bench.stage_unless(&AtomicBool::new(true)).err().unwrap();
    assert!(matches!(error, FetchError::Cancelled));
}

#[test]
fn a_bundle_that_keeps_ending_the_process_is_refused() {
    let bench = Bench::new();
    bench.slots.prepare(&model(), SlotId::A, bench.bundle.digest()).unwrap();
    // What a process leaves that ends between the beginning and the end of a trial.
    for earlier in 0..TRIALS_CUT_OFF_MAX {
        let begun = bench.slots.begin_trial(&model(), SlotId::A, bench.bundle.digest());
        assert_eq!(begun.unwrap(), earlier);
    }
    bench.refused("ended 3 times while testing it");
    bench.stage().expect("the count begins anew once a trial ended");
}

#[test]
fn a_trial_that_was_cut_off_once_is_made_again() {
    let bench = Bench::new();
    bench.slots.prepare(&model(), SlotId::A, bench.bundle.digest()).unwrap();
    bench.slots.begin_trial(&model(), SlotId::A, bench.bundle.digest()).unwrap();
    bench.stage().unwrap();
    assert_eq!(bench.slots.begin_trial(&model(), SlotId::A, bench.bundle.digest()).unwrap(), 0);
    assert_eq!(bench.slots.begin_trial(&model(), SlotId::A, Digest::of(b"another")).unwrap(), 0);
}

#[test]
fn a_bundle_beyond_the_quota_waits_and_says_so_before_it_is_fetched() {
    let bench = Bench::new();
    let data_dir = bench._folder.path().join("models");
    let quota = |bytes| Some(crate::slots::Quota { data_dir: data_dir.clone(), bytes });
    let bench = Bench { slots: bench.slots.clone().with_quota(quota(500)), ..bench };
    let error = bench.stage().err().unwrap();
    let StageOutcome::NoRoom(why) = error.outcome() else { panic!("{error}") };
    assert!(why.contains("--disk-quota-bytes") && why.contains("the disk quota leaves"), "{why}");
    assert_eq!(bench.source.asked.borrow().len(), 1, "the manifest, and no more");
    let bench = Bench { slots: bench.slots.clone().with_quota(quota(10 << 20)), ..bench };
    bench.stage().unwrap();
}

#[test]
fn a_metered_link_carries_the_manifest_and_the_rest_waits_for_another() {
    let bench =
        Bench { courtesy: Courtesy::new(crate::courtesy::Metered::Always, Vec::new()), ..Bench::new() };
    let error = bench.stage().err().unwrap();
    let StageOutcome::Unreachable(why) = error.outcome() else { panic!("{error}") };
    assert!(why.contains("the link is metered"), "{why}");
    assert_eq!(bench.source.asked.borrow().len(), 1, "the manifest, and no more");
    let bench = Bench { courtesy: Courtesy::default(), ..bench };
    bench.stage().unwrap();
    let bench = Bench { courtesy: Courtesy::new(crate::courtesy::Metered::Always, Vec::new()), ..bench };
    bench.stage().unwrap();
}

/// A disk that takes so many bytes more.
#[derive(Debug)]
struct Filling {
    left: Arc<AtomicU64>,
}

struct Writer(Box<dyn Write + Send>, Arc<AtomicU64>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = usize::try_from(self.1.load(Ordering::Relaxed)).unwrap();
        let count = bytes.len().min(left);
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.1.fetch_sub(count as u64, Ordering::Relaxed);
        self.0.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Disk for Filling {
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        OsDisk.read(path, bytes_max)
    }
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        OsDisk.len(path)
    }
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn edgeward_model::delta::Seekable + Send>>> {
        OsDisk.open(path)
    }
    fn append(&self, path: &Path, keep: u64) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(Writer(OsDisk.append(path, keep)?, Arc::clone(&self.left))))
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.names(folder)
    }
    fn free_bytes(&self, _: &Path) -> Option<u64> {
        None
    }
    fn write(&self, path: &Path, bytes: &[u8], access: crate::durable::Access) -> io::Result<()> {
        OsDisk.write(path, bytes, access)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_file(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_folder(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_folder(path)
    }
    fn is_folder(&self, path: &Path) -> bool {
        OsDisk.is_folder(path)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_folder(path)
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_gets_its_room_back_and_takes_the_bundle_later() {
    const MUCH: u64 = 1 << 40;
    let left = Arc::new(AtomicU64::new(MUCH));
    let bench = Bench::new();
    let root = bench._folder.path().join("full");
    let full = Bench { slots: Slots::on(Arc::new(Filling { left: Arc::clone(&left) }), root), ..bench };
    full.stage().unwrap();
    let written = MUCH - left.load(Ordering::Relaxed);
    for at in (0..written).step_by(usize::try_from(written / 23).unwrap()) {
        full.slots.empty(&model(), full.slot).unwrap();
        left.store(at, Ordering::Relaxed);
        let error = full.stage().err().unwrap();
        assert!(matches!(error.outcome(), StageOutcome::NoRoom(_)), "{at} of {written}: {error}");
        let here = full.slots.folder(&model(), full.slot);
        assert!(!here.exists() && !here.with_extension("part").exists(), "what it took is given back");
        left.store(MUCH, Ordering::Relaxed);
        full.stage().unwrap();
    }
}
