//! What may be declared, and what a converter may do wrong.

use edgeward_model::engine::conformance::fixture;
use edgeward_model::session::derive_signature;

use super::*;
use crate::project::Span;

fn table(tool: &str) -> VariantTable {
    VariantTable { tool: Some(tool.to_owned()), ..VariantTable::default() }
}

fn own(command: &str) -> VariantTable {
    VariantTable {
        command: Some(command.to_owned()),
        probe: Some("echo 1.0".to_owned()),
        output: Some("out.onnx".to_owned()),
        ..table("mine")
    }
}

fn spec(table: &VariantTable) -> ToolSpec {
    ToolSpec::of(table).unwrap().unwrap()
}

/// Runs the converter in a fresh folder; its version and what it made.
fn run(table: &VariantTable) -> Result<(String, Vec<u8>), ToolRunError> {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch folder");
    fs::create_dir(&scratch).unwrap();
    let place = Place {
        dir: &scratch,
        project: &dir.path().join("it's a project"),
        log: &dir.path().join("log"),
        cancel: &AtomicBool::new(false),
    };
    let model = fixture::classifier();
    let signature = derive_signature(&model).unwrap();
    let samples =
        vec![vec![Tensor::from_rows(1, fixture::FEATURES, vec![1.5; fixture::FEATURES]).unwrap()]; 3];
    let spec = spec(table);
    let version = spec.version(&place)?;
    let bytes = spec.convert(&onnx::encode(&model), &signature, &samples, &place, &mut |_| {})?;
    Ok((version, bytes))
}

fn refused(table: &VariantTable) -> (&'static str, String) {
    ToolSpec::of(table).unwrap_err()
}

#[test]
fn profiles_fill_in_what_is_not_said() {
    let ort = spec(&table("ort-offline"));
    assert_eq!((ort.variant.engine.as_str(), ort.variant.dtype.as_str()), ("onnxruntime", "f32"));
    assert_eq!((ort.variant.label().as_str(), ort.output.as_str()), ("onnxruntime-ort-offline", "model.ort"));
    assert!(ort.script.is_some_and(|script| script.contains("save_model_format")));
    let mut bound = table("qnn-context");
    let (key, reason) = refused(&bound);
    assert_eq!(key, "soc");
    assert!(reason.contains("one chip with one SDK"), "{reason}");
    bound.soc = vec!["SM8550".to_owned()];
    assert_eq!(refused(&bound).0, "sdk");
    bound.sdk = Some("2.31".to_owned());
    assert!(refused(&bound).1.contains("a name and a version"));
    bound.sdk = Some("qairt 2.31".to_owned());
    let made = spec(&bound).made("1.22", false);
    assert_eq!(made.requires.provider.as_deref(), Some("qnn"));
    assert_eq!(made.requires.sdk.unwrap().version, "2.31");
    assert!(!made.tool.unwrap().verified);
    for profile in &PROFILES {
        check_command(profile.command).unwrap();
    }
}

#[test]
fn a_tool_of_ones_own_needs_a_command_a_probe_and_an_output() {
    assert_eq!(refused(&table("mine")).0, "command");
    let whole = own("cp {model} {output}");
    assert_eq!(refused(&VariantTable { probe: None, ..whole.clone() }).0, "probe");
    assert_eq!(refused(&VariantTable { output: None, ..whole.clone() }).0, "output");
    for output in ["../out", "/tmp/out", "a/b", ""] {
        let table = VariantTable { output: Some(output.to_owned()), ..whole.clone() };
        assert_eq!(refused(&table).0, "output", "{output}");
    }
    let (key, reason) = refused(&own("cp {modell} {output}"));
    assert!(key == "command" && reason.contains("{modell} stands for nothing"), "{reason}");
    let shell = spec(&own("cp ${MODEL:-x} {output}; awk '{print $1}' f"));
    assert!(
        shell.command.contains("${MODEL") && shell.command.contains("{print"),
        "the shell's own braces stay"
    );
    let stray = VariantTable { soc: vec!["SM8550".to_owned()], ..VariantTable::default() };
    assert_eq!(refused(&stray).0, "soc");
}

#[test]
fn the_command_sees_its_files_and_nothing_else() {
    let list = "test -f {model} && test \"$(wc -l < {samples})\" = 3 && \
                test \"$(ls | sort | tr '\\n' ' ')\" = 'input_list.txt model.onnx samples ' && \
                test \"$(wc -c < samples/2-0.raw)\" = 16 && test {project} != x && cp {model} {output}";
    let (version, bytes) = run(&own(list)).unwrap();
    assert_eq!((version.as_str(), bytes), ("1.0", onnx::encode(&fixture::classifier())));
}

#[test]
fn what_a_converter_does_wrong_is_said() {
    let said = |table: &VariantTable| {
        let error = run(table).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    assert!(said(&own("true")).contains("'out.onnx' was not written"));
    assert!(said(&own("touch {output}")).contains("is empty"));
    assert!(said(&own("mkdir {output}")).contains("is not a plain file"));
    assert!(said(&own("ln -s /etc/passwd {output}")).contains("is not a plain file"));
    assert!(said(&own("echo no > {output}")).contains("is not an ONNX file"));
    assert!(said(&own("echo out of licences >&2; exit 3")).contains("out of licences"));
    let ort = VariantTable { format: Some("ort".to_owned()), ..own("cp {model} {output}") };
    assert!(said(&ort).contains("is not an .ort file"));
    let slow = VariantTable { timeout: Some(Span(Duration::from_millis(200))), ..own("sleep 60") };
    assert!(said(&slow).contains("time limit"));
    let absent = VariantTable { probe: Some("no-such-converter --version".to_owned()), ..own("true") };
    assert!(said(&absent).contains("is it installed and on the PATH"));
    let silent = VariantTable { probe: Some("true".to_owned()), ..own("true") };
    assert!(said(&silent).contains("prints nothing"));
}
