//! With a real library: one named by `EDGEWARD_TEST_ONNXRUNTIME`, or that of a Python wheel installed for the tests.

use std::path::Path;

use super::*;
use crate::engine::conformance::{self, fixture};
use crate::onnx;
use crate::tensor::{DataType, TensorData};

use edgeward_testkit_python::onnxruntime_library as library;

fn engine() -> Option<OnnxRuntimeEngine> {
    library().ok().map(|library| OnnxRuntimeEngine::open(&library).unwrap())
}

#[test]
fn conforms() {
    if let Some(engine) = engine() {
        conformance::assert_conforms(&engine);
        assert!(engine.build_info().contains("ORT"), "{}", engine.build_info());
    }
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    let refused = |path: &Path| {
        let error = OnnxRuntimeEngine::open(path).err().expect("it opened");
        assert_eq!(error.kind(), EngineErrorKind::Library, "{error}");
        error.to_string()
    };
    assert!(refused(&path).contains("opening the library"));
    for garbage in [&b""[..], b"garbage", b"\x7fELF\x02\x01", &[0x7f; 4096]] {
        std::fs::write(&path, garbage).unwrap();
        refused(&path);
    }
    refused(folder.path());
}

/// Runs the test of this name in a process of its own, since a process keeps the first library it opens, and memory is a
/// process's. True in that process, which goes on with the test.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "EDGEWARD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
    false
}

#[test]
fn another_library_is_refused() {
    let Ok(library) = library() else { return };
    if !is_alone("another_library_is_refused") {
        return;
    }
    let other = library.with_file_name("libonnxruntime_providers_shared.so");
    if !other.is_file() {
        eprintln!("skipped: another_library_is_refused: no {}", other.display());
        return;
    }
    let error = OnnxRuntimeEngine::open(&other).err().expect("it opened");
    assert!(error.to_string().contains("does not export `OrtGetApiBase`"), "{error}");
    OnnxRuntimeEngine::open(&library).unwrap();
}

#[test]
fn a_library_cut_short_is_refused() {
    let Ok(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    let bytes = std::fs::read(library).unwrap();
    for length in [40, 64, 1000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = OnnxRuntimeEngine::open(&path).err().expect("it opened");
        assert_eq!(error.kind(), EngineErrorKind::Library, "{error}");
    }
}

#[test]
fn a_second_library_is_refused_and_the_first_goes_on() {
    let Ok(library) = library() else { return };
    let engine = OnnxRuntimeEngine::open(&library).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(&library, &copy).unwrap();
    let error = OnnxRuntimeEngine::open(&copy).err().expect("it opened").to_string();
    assert!(error.contains("start it anew"), "{error}");
    OnnxRuntimeEngine::open(&library).unwrap();
    engine.load(&onnx::encode(&fixture::regressor()), &LoadOptions::default()).unwrap();
}

#[test]
fn a_provider_the_library_lacks_is_named() {
    let Ok(library) = library() else { return };
    for provider in ["rocm", "warp-drive"] {
        let error = OnnxRuntimeEngine::open_with(&library, provider).err().expect("it opened");
        assert_eq!(error.kind(), EngineErrorKind::Provider);
        assert!(
            error.to_string().contains(&format!("no execution provider '{provider}'; it has: cpu")),
            "{error}"
        );
    }
    assert_eq!(OnnxRuntimeEngine::open_with(&library, "cpu").unwrap().provider(), "cpu");
}

const ORT_FILE: &[u8] = include_bytes!("../../../tests/fixtures/digits_mlp.ort");

#[test]
fn a_file_of_its_own_format_answers_as_the_model_it_was_made_from() {
    let Some(engine) = engine() else {
        return;
    };
    assert!(engine.version().is_some_and(|version| version.starts_with("1.")), "{:?}", engine.version());
    let golden = include_bytes!("../../../tests/fixtures/digits_mlp.golden.json");
    let golden = crate::Golden::parse(golden).unwrap();
    let (as_ort, as_onnx) = (
        engine.load(ORT_FILE, &LoadOptions::with_threads(1)).unwrap(),
        engine
            .load(include_bytes!("../../../tests/fixtures/digits_mlp.onnx"), &LoadOptions::with_threads(1))
            .unwrap(),
    );
    assert_eq!((as_ort.inputs(), as_ort.outputs()), (as_onnx.inputs(), as_onnx.outputs()));
    let report = golden.check(&*as_ort).unwrap();
    assert!(report.abs_difference_max < 1e-5, "{}", report.abs_difference_max);
}

#[test]
fn a_prepared_form_answers_the_same() {
    let Some(engine) = engine() else { return };
    let onnx = onnx::encode(&fixture::classifier());
    let folder = tempfile::tempdir().unwrap();
    let files = engine.prepare(&onnx).unwrap().unwrap();
    for file in &files {
        std::fs::write(folder.path().join(file.name), &file.bytes).unwrap();
    }
    let options = LoadOptions::with_threads(1);
    let input = [Tensor::from_rows(4, fixture::FEATURES, fixture::noise(16, 1)).unwrap()];
    let expected = engine.load(&onnx, &options).unwrap().run(&input).unwrap();
    assert_eq!(engine.load_prepared(folder.path(), &options).unwrap().run(&input).unwrap(), expected);
    assert_eq!(engine.prepare(&files[0].bytes).unwrap(), None, "it is in that form already");
    assert!(engine.load_prepared(&folder.path().join("nowhere"), &options).is_err());
}

#[test]
fn a_damaged_file_of_its_own_format_is_refused() {
    let Some(engine) = engine() else { return };
    for length in [8, 24, ORT_FILE.len() / 4, ORT_FILE.len() / 2, ORT_FILE.len() - 8] {
        let error = engine.load(&ORT_FILE[..length], &LoadOptions::with_threads(1)).err().expect("it loaded");
        assert!(!error.to_string().is_empty());
    }
    let mut zeroed = ORT_FILE.to_vec();
    zeroed[8..].fill(0);
    engine.load(&zeroed, &LoadOptions::with_threads(1)).err().expect("it loaded");
}

#[test]
fn the_embedded_engine_says_whose_format_it_is() {
    let error = crate::RtenEngine::new().load(ORT_FILE, &LoadOptions::default()).err().unwrap();
    assert!(error.to_string().contains("only ONNX Runtime reads"), "{error}");
}

#[test]
fn texts_pass_both_ways() {
    let Some(engine) = engine() else { return };
    let mut model = fixture::add_one(DataType::Bytes);
    let graph = model.graph.as_mut().unwrap();
    graph.node = vec![onnx::NodeProto::new("Identity", "same", &["x"], &["y"])];
    graph.initializer.clear();
    let model = engine.load(&onnx::encode(&model), &LoadOptions::with_threads(1)).unwrap();
    let texts = TensorData::Bytes(vec![b"left".to_vec(), "größer".as_bytes().to_vec()]);
    let given = Tensor::new([2], texts).unwrap();
    assert_eq!(model.run(std::slice::from_ref(&given)).unwrap(), [given]);
    let bytes = Tensor::new([1], TensorData::Bytes(vec![vec![0xff]])).unwrap();
    assert_eq!(model.run(&[bytes]).unwrap_err().kind(), EngineErrorKind::InvalidInput);
}

#[cfg(target_os = "linux")]
fn resident_pages() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_loads_leave_memory_flat() {
    const PAGES_MAX: usize = 4096;
    let Some(engine) = engine().filter(|_| is_alone("a_thousand_loads_leave_memory_flat")) else { return };
    let bytes = onnx::encode(&fixture::classifier());
    let input = [Tensor::from_rows(4, fixture::FEATURES, fixture::noise(16, 1)).unwrap()];
    let mut after_warming = 0;
    for cycle in 0..1000 {
        let model = engine.load(&bytes, &LoadOptions::with_threads(1)).unwrap();
        model.run(&input).unwrap();
        after_warming = if cycle == 100 { resident_pages() } else { after_warming };
    }
    let grown = resident_pages().saturating_sub(after_warming);
    assert!(grown < PAGES_MAX, "900 cycles left {grown} pages more");
}
