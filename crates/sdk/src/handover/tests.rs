//! Windows of a real model with a monitor, in the folder where the agent finds them.

use edgeward_model::engine::conformance::fixture;
use edgeward_model::{LoadOptions, NamedTensor, RtenEngine, Session, Tensor, onnx};
use edgeward_monitor::{MonitorConfig, Profile, Reference, Sample};

use super::*;
use crate::labelled::Labelled;

const FEATURES: usize = 4;

fn rows(count: usize, shift: f32) -> Vec<f32> {
    fixture::noise(count * FEATURES, 5).into_iter().map(|value| value + shift).collect()
}

/// A classifier whose monitor was made from `rows(600, 0.0)`.
fn loaded() -> Loaded {
    let bytes = onnx::encode(&fixture::classifier());
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let names: Vec<String> = (0..FEATURES).map(|feature| format!("x{feature}")).collect();
    let seen = rows(600, 0.0);
    let samples =
        seen.chunks(FEATURES).map(|features| Sample { features, predicted: Some(0), confidence: Some(0.9) });
    let reference = Reference::fit(&names, &["a".to_owned(), "b".to_owned()], samples).unwrap();
    let config = MonitorConfig { baseline_accuracy: Some((0.95, 500)), ..MonitorConfig::default() };
    Loaded::new(session, Some(Arc::new(Recorder::new(Arc::new(reference), config).unwrap())))
}

fn ask(loaded: &Loaded, values: &[f32]) -> usize {
    let input: NamedTensor =
        Tensor::from_rows(values.len() / FEATURES, FEATURES, values.to_vec()).unwrap().named("x");
    loaded.infer(vec![input]).unwrap().alarms.len()
}

fn label(loaded: &Loaded, truth: &str) -> Option<Alarm> {
    let told =
        Labelled { predicted: "a", truth, scores: &[], values: &[1.0, 2.0, 3.0, 4.0], tags: &[], of: None };
    loaded.recorder().unwrap().label(&told)
}

fn documents(folder: &Path) -> Vec<Handover> {
    Handover::waiting(folder).iter().map(|path| Handover::read(path).unwrap()).collect()
}

#[test]
fn what_was_counted_is_there_for_the_agent_when_the_app_ends() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded();
    let handing_over = HandingOver::start(folder.path()).unwrap();
    (handing_over.taking_over())(&loaded);
    ask(&loaded, &rows(7, 0.0));
    let alarms = ask(&loaded, &[1e6, 0.0, 0.0, 0.0]);
    assert!(alarms > 0, "an impossible value is an outlier at once");
    label(&loaded, "a");
    label(&loaded, "b");
    drop(handing_over);

    let documents = documents(folder.path());
    let sum = |count: fn(&Handover) -> u64| documents.iter().map(count).sum::<u64>();
    assert_eq!((sum(|one| one.labelled), sum(|one| one.correct)), (2, 1));
    assert_eq!(sum(|one| one.alarms.len() as u64), alarms as u64);
    let rows: u64 = documents.iter().map(|one| Profile::from_bytes(&one.profile.0).unwrap().n()).sum();
    assert_eq!(rows, 8);
    let sample = documents.iter().flat_map(|one| &one.samples).next().unwrap();
    assert_eq!((sample.predicted.as_str(), sample.label.as_str()), ("a", "a"));
    assert_eq!(sample.features.0.len(), FEATURES * 4);
    assert!(documents.iter().all(|one| one.bundle == loaded.bundle() && one.from_ms <= one.to_ms));
}

#[test]
fn a_monitor_goes_on_where_the_app_ended() {
    let folder = tempfile::tempdir().unwrap();
    let first = loaded();
    let handing_over = HandingOver::start(folder.path()).unwrap();
    (handing_over.taking_over())(&first);
    ask(&first, &rows(300, 0.4));
    drop(handing_over);
    let evidence = |loaded: &Loaded| loaded.recorder().unwrap().evidence()[0].log10_evidence;
    let again = loaded();
    assert_ne!(evidence(&again).to_bits(), evidence(&first).to_bits());
    let handing_over = HandingOver::start(folder.path()).unwrap();
    (handing_over.taking_over())(&again);
    assert_eq!(evidence(&again).to_bits(), evidence(&first).to_bits());
    drop(handing_over);
    let counted: u64 =
        documents(folder.path()).iter().map(|one| Profile::from_bytes(&one.profile.0).unwrap().n()).sum();
    assert_eq!(counted, 300, "nothing is counted twice");
}

#[test]
fn windows_grow_longer_while_nobody_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = folder.path().join(APP_FOLDER).join(HANDOVER_FOLDER);
    for n in 0..WAITING_MAX {
        write_whole(&waiting.join(format!("{n:04}.json")), b"{}").unwrap();
    }
    let loaded = loaded();
    let handing_over = HandingOver::start(folder.path()).unwrap();
    (handing_over.taking_over())(&loaded);
    ask(&loaded, &rows(7, 0.0));
    drop(handing_over);
    assert_eq!(Handover::waiting(folder.path()).len(), WAITING_MAX);
    assert_eq!(loaded.recorder().unwrap().take_window().unwrap().samples, 7, "the window stays open");
}

#[test]
fn a_document_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("1.json", &b"{"[..]), ("2.json", b"{}"), ("3.json", b"null")] {
        write_whole(&folder.path().join(name), bytes).unwrap();
        assert!(Handover::read(&folder.path().join(name)).is_err(), "{name}");
    }
}
