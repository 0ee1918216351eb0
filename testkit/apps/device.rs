//! An agent's data folder for the tests of what apps embed, and the conversation that every language must be able to hold:
//! `steps.txt`, one step a line.
//!
//! A driver in the language under test reads steps from its standard input and answers each with one line: a status and
//! more. Bundles are activated by the agent's own code.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edgeward_agent::activation::pointer::point;
use edgeward_core::slot::{Installed, SlotId};
use edgeward_core::{Digest, ModelName};
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{
    Bundle, BundleWriter, Golden, LoadOptions, NamedTensor, RtenEngine, Session, Tensor, Tolerance, onnx,
};
use edgeward_sdk::{Serving, model_folder};

const STEPS: &str = include_str!("steps.txt");
/// The row that the steps ask about.
const ROW: [f32; 4] = [0.5, -0.5, 0.25, 0.0];

pub(crate) fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

/// An agent's data folder with one model.
pub(crate) struct Device {
    pub(crate) root: tempfile::TempDir,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        model_folder(self.root.path(), &model())
    }

    /// Puts a bundle into a slot and activates it as the agent does.
    pub(crate) fn activate(&self, slot: SlotId, version: &str) -> Digest {
        let mut onnx_model = fixture::classifier();
        onnx_model.set_metadata("version", version);
        let bytes = onnx::encode(&onnx_model);
        let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
        let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
        let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
        let mut writer = BundleWriter::new(model());
        writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
        writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
        let made = writer.write(&self.root.path().join("made")).unwrap();
        let (place, digest) = (self.folder().join(slot.as_str()), made.digest());
        fs::create_dir_all(self.folder()).unwrap();
        let _ = fs::remove_dir_all(&place);
        fs::rename(made.dir(), &place).unwrap();
        point(&self.folder(), &model(), Installed { slot, bundle: digest }).unwrap();
        digest
    }

    /// Activates `swaps` models after the `first`, each once the app has said that it serves the one before; `next` is the
    /// app's next line.
    pub(crate) fn swap_while_told(&self, first: Digest, swaps: usize, mut next: impl FnMut() -> String) {
        assert_eq!(next(), format!("serving {}", first.hex()), "what is active serves at once");
        for n in 1..=swaps {
            let slot = if n % 2 == 0 { SlotId::A } else { SlotId::B };
            let bundle = self.activate(slot, &n.to_string());
            assert_eq!(next(), format!("serving {}", bundle.hex()));
        }
    }

    /// The agent can read that the app took up every one of them.
    pub(crate) fn heard_of(&self, swaps: usize) {
        let heard = Serving::read(&self.folder()).unwrap();
        assert_eq!((heard.sequence, heard.error), (swaps as u64 + 1, None), "the agent hears of it");
    }

    /// What the steps' words in braces stand for.
    fn words(&self, active: Digest) -> Vec<(&'static str, String)> {
        let bundle = Bundle::open(self.folder().join("a")).unwrap();
        let session = Session::load(&bundle, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
        let rows = Tensor::from_rows(1, 4, ROW.to_vec()).unwrap();
        let said = session.infer(vec![NamedTensor::new("x", rows)]).unwrap();
        let probabilities = said.get("probabilities").and_then(Tensor::as_f32).unwrap();
        let probabilities: Vec<String> = probabilities.iter().map(|value| format!("{value:.6}")).collect();
        let row = &said.rows[0];
        let predicted = row.predicted.map_or(-1, |class| class as i64);
        vec![
            ("{row}", ROW.map(|value| value.to_string()).join(" ")),
            ("{probabilities}", probabilities.join(" ")),
            ("{predicted}", predicted.to_string()),
            ("{label}", row.label.clone().unwrap_or_else(|| "-".to_owned())),
            ("{confidence}", format!("{:.6}", row.confidence.unwrap_or(f32::NAN))),
            ("{bundle}", self.folder().join("a").display().to_string()),
            ("{data}", self.root.path().display().to_string()),
            ("{digest}", active.hex()),
        ]
    }
}

/// Holds the conversation with a driver.
pub(crate) fn converse(driver: &mut Command) {
    let device = Device::new();
    let mut active = device.activate(SlotId::A, "0");
    let mut child = driver.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let lines = STEPS.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    for (at, line) in lines {
        if let Some(version) = line.strip_prefix("activate ") {
            active = device.activate(SlotId::B, version);
            continue;
        }
        let words = device.words(active);
        let filled = words.iter().fold(line.to_owned(), |line, (word, value)| line.replace(word, value));
        let (step, expected) = filled.split_once(" -> ").unwrap();
        writeln!(to, "{step}").unwrap();
        let mut said = String::new();
        from.read_line(&mut said).unwrap();
        check(at + 1, step, expected, said.trim_end());
    }
    drop(to);
    assert!(child.wait().unwrap().success());
}

/// Success is said word for word; a failure must have the status and, somewhere, the words.
fn check(at: usize, step: &str, expected: &str, said: &str) {
    let (status, words) = expected.split_once(' ').unwrap_or((expected, ""));
    let fits = match status {
        "ok" => said == expected,
        _ => said.split(' ').next() == Some(status) && said.contains(words),
    };
    assert!(fits, "line {at}: {step}\n  expected: {expected}\n  said:     {said}");
}

/// A file of the repository.
pub(crate) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
