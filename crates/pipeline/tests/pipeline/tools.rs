//! Forms that external converters make, in real runs.

use edgeward_model::Bundle;

use crate::harness::{Bench, LOGISTIC, worked};

/// A converter that counts how often it ran and copies the model.
const COPY: &str = r#"
[[convert.variant]]
[[convert.variant]]
tool = "copy"
command = "cat {project}/version > /dev/null && echo ran >> {project}/ran && cp {model} {output}"
probe = "cat {project}/version"
output = "copy.onnx"
inputs = ["tool/*.json"]
"#;

fn bench(more: &str) -> Bench {
    let bench = Bench::new(&format!("{LOGISTIC}{COPY}{more}"));
    bench.write("version", "copy 1.0");
    bench.write("tool/options.json", "{}");
    bench
}

fn runs(bench: &Bench) -> usize {
    std::fs::read_to_string(bench.dir.path().join("ran")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_form_that_runs_here_is_compared_and_kept_until_something_changes() {
    let bench = bench("");
    let summary = bench.run().unwrap();
    let bundle = Bundle::open(summary.bundle_path.as_deref().unwrap()).unwrap();
    let variant = &bundle.manifest().variants[1];
    assert_eq!(variant.label(), "rten-copy");
    let tool = variant.tool.as_ref().unwrap();
    assert_eq!((tool.name.as_str(), tool.version.as_str(), tool.verified), ("copy", "copy 1.0", true));
    assert!(bundle.lists("golden/rten-copy.json"));
    assert!(
        summary.gates.iter().any(|gate| gate.gate == "parity.rten-copy" && gate.passed),
        "{:?}",
        summary.gates
    );
    assert_eq!(runs(&bench), 1);
    assert!(worked(&bench.run().unwrap()).is_empty());
    bench.write("tool/options.json", "{\"level\": 2}");
    bench.run().unwrap();
    bench.write("version", "copy 1.1");
    bench.run().unwrap();
    assert_eq!(runs(&bench), 3, "another input and another version make it anew");
}

#[test]
fn a_form_for_other_hardware_ships_as_not_verified() {
    let bench = bench("soc = [\"SM8550\"]\nsdk = \"qairt 2.31\"\n");
    let summary = bench.run().unwrap();
    let verdict = summary.gates.iter().find(|gate| gate.gate == "parity.rten-copy").unwrap();
    assert!(verdict.passed, "{verdict:?}");
    assert!(verdict.reason.contains("not verified on hardware: it was compiled for SM8550"), "{verdict:?}");
    let bundle = Bundle::open(summary.bundle_path.as_deref().unwrap()).unwrap();
    let variant = &bundle.manifest().variants[1];
    assert_eq!(variant.requires.soc, ["SM8550"]);
    assert!(!variant.tool.as_ref().unwrap().verified);
    let golden = bundle.golden(variant).unwrap();
    assert!(golden.tolerance.abs > 0.01, "the bounds of parity are its tolerance");
}

#[test]
fn a_form_that_strays_is_left_out_with_the_reason() {
    // Another model: its answers differ.
    let other = COPY.replace("cp {model} {output}", "cp {project}/other.onnx {output}");
    let bench = Bench::new(&format!("{LOGISTIC}{other}"));
    bench.write("version", "copy 1.0");
    let first = bench.run();
    assert!(first.unwrap_err().chain().contains("'copy' failed"));
    let model = edgeward_model::onnx::encode(&edgeward_model::engine::conformance::fixture::regressor());
    std::fs::write(bench.dir.path().join("other.onnx"), model).unwrap();
    let summary = bench.run().unwrap();
    let verdict = summary.gates.iter().find(|gate| gate.gate == "parity.rten-copy").unwrap();
    assert!(!verdict.passed, "{verdict:?}");
    let bundle = Bundle::open(summary.bundle_path.as_deref().unwrap()).unwrap();
    assert_eq!(bundle.manifest().variants.len(), 1);
}
