//! Bytes that travel for really trained models, against `bsdiff` and `zstd --patch-from`, and what applying them takes.
//!
//!     cargo bench -p edgeward-model --bench delta [-- FOLDER]
//!
//! Trains the models with Python (`delta_models.py`; numpy, onnx and bsdiff4 are installed once) into FOLDER, or into
//! `target/delta`, unless they are there. Needs the `zstd` program. Printed: a row per change and format, bytes and their
//! share of the full compressed form; times are CPU milliseconds of one run. Every delta is applied in a process of its
//! own, whose peak memory is the last column but one; the last says what it held before it began.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use edgeward_model::delta::{Header, Seekable, apply, delta, full};

const REQUIREMENTS: [&str; 3] = ["numpy==2.3.5", "onnx==1.23.2", "bsdiff4==1.3.2"];
const CHANGES: [&str; 7] =
    ["head", "sgd-1e-3", "sgd-1e-2", "adam-1e-5", "adam-1e-4", "warm-1e-3", "new-seed"];
const FORMS: [&str; 3] = ["f32", "f16", "int8"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [apply, old, patch, out] = &arguments[..]
        && apply == "apply"
    {
        return apply_one(Path::new(old), Path::new(patch), Path::new(out));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = arguments.first().map_or_else(|| workspace.join("target/delta"), PathBuf::from);
    let Ok(python) = edgeward_testkit_python::environment("delta", &REQUIREMENTS) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/delta_models.py");
    fs::create_dir_all(&folder).expect("a folder for the models");
    if !folder.join("new-seed-int8.onnx").exists() {
        let digits = workspace.join("examples/robots/data/digits.csv");
        python.run_file(&script, &["make", &digits.to_string_lossy(), &folder.to_string_lossy()]);
    }
    println!(
        "| change | format | full | delta | share | bsdiff | zstd patch-from | zstd -19 | best other / delta | make | apply | bsdiff apply | apply peak KiB | before KiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for form in FORMS {
        for change in CHANGES {
            row(&folder, change, form, |old, new| bsdiff(&python, &script, old, new));
        }
    }
}

fn row(folder: &Path, change: &str, form: &str, bsdiff: impl Fn(&Path, &Path) -> (u64, f64)) {
    let (old, new) = (folder.join(format!("base-{form}.onnx")), folder.join(format!("{change}-{form}.onnx")));
    let (source, result) = (fs::read(&old).expect("the old model"), fs::read(&new).expect("the new model"));
    let whole = full(&result);
    let begun = Instant::now();
    let patch = delta(&source, &result, usize::MAX).expect("no limit");
    let make_ms = begun.elapsed().as_secs_f64() * 1e3;
    let sent = if patch.len() < whole.len() { &patch } else { &whole };
    let path = folder.join("patch");
    fs::write(&path, sent).expect("the patch is written");
    let (apply_ms, peak, before) = applied(&old, &path, &folder.join("out"));
    assert_eq!(fs::read(folder.join("out")).expect("the result"), result, "{change} {form}");
    let (bsdiff_len, bsdiff_ms) = bsdiff(&old, &new);
    let patch_from = zstd(&["-19", "--long=27", "--patch-from", &old.to_string_lossy()], &new);
    let plain = zstd(&["-19"], &new);
    let share = sent.len() as f64 / whole.len() as f64;
    let others = bsdiff_len.min(patch_from).min(plain) as f64 / sent.len() as f64;
    println!(
        "| {change} | {form} | {} | {} | {share:.4} | {bsdiff_len} | {patch_from} | {plain} | {others:.2} | {make_ms:.0} | {apply_ms:.0} | {bsdiff_ms:.0} | {peak} | {before} |",
        whole.len(),
        sent.len(),
    );
}

fn bsdiff(
    python: &edgeward_testkit_python::Environment,
    script: &Path,
    old: &Path,
    new: &Path,
) -> (u64, f64) {
    let said = python.run_file(script, &["bsdiff", &old.to_string_lossy(), &new.to_string_lossy()]);
    let mut words = said.split_whitespace();
    let bytes = words.next().and_then(|word| word.parse().ok()).expect("bytes");
    (bytes, words.next().and_then(|word| word.parse().ok()).expect("milliseconds"))
}

/// Bytes that the `zstd` program makes of a file.
fn zstd(options: &[&str], file: &Path) -> u64 {
    let output = Command::new("zstd").args(["-q", "-c"]).args(options).arg(file).output();
    let output = output.expect("the zstd program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.len() as u64
}

/// CPU milliseconds, and memory at the end and before the beginning in KiB, of a process that applies one delta.
fn applied(old: &Path, patch: &Path, out: &Path) -> (f64, u64, u64) {
    let own = std::env::current_exe().expect("this program");
    let output = Command::new(own).arg("apply").args([old, patch, out]).output().expect("it starts itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1] as u64, numbers[2] as u64)
}

fn apply_one(old: &Path, patch: &Path, out: &Path) {
    let before = peak_kib();
    let begun = Instant::now();
    let header = Header::read(&mut File::open(patch).expect("the patch")).expect("a delta");
    let mut source = File::open(old).expect("the old file");
    let source = header.source.map(|_| &mut source as &mut dyn Seekable);
    let mut to = BufWriter::new(File::create(out).expect("the result"));
    let mut patch = BufReader::new(File::open(patch).expect("the patch"));
    apply(&mut patch, source, &header.result, &mut to).expect("it applies");
    to.flush().expect("the result is written");
    println!("{} {} {before}", begun.elapsed().as_secs_f64() * 1e3, peak_kib());
}

/// The most memory this process has held, where the system tells.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
