//! Files made to harm, through the real binary, with a wall around its memory: each is refused in words, none by a panic,
//! a signal or a gigabyte.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use edgeward_model::engine::conformance::fixture;
use edgeward_model::onnx::proto::StringStringEntryProto;
use edgeward_model::onnx::{self, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use edgeward_model::{DataType, Dim, Tensor};

/// Address space of the process, in KiB: code, stacks of its threads and every allocation.
const ADDRESS_SPACE_KIB: u64 = 2 << 20;

const TERA: i64 = 1 << 20;

fn edgeward(folder: &Path, arguments: &str) -> Output {
    let command = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$EDGEWARD\" {arguments}");
    Command::new("sh")
        .args(["-c", &command])
        .env("EDGEWARD", env!("CARGO_BIN_EXE_edgeward"))
        .env("NO_COLOR", "1")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("sh runs")
}

/// Every command that reads a model refuses `bytes`, saying one of `expected`.
fn refused(name: &str, bytes: &[u8], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::write(folder.path().join("secret.bin"), vec![0; 4096]).expect("it is written");
    std::fs::write(inner.join("model.onnx"), bytes).expect("it is written");
    for arguments in [
        "inspect model.onnx --json",
        "convert model.onnx --out out --json",
        "serve model.onnx --name mine --listen 127.0.0.1:0",
    ] {
        let output = edgeward(&inner, arguments);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let what = format!(
            "{name}: {arguments}: {:?}: {}",
            output.status,
            said.chars().take(2000).collect::<String>()
        );
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(!said.contains("panicked"), "{what}");
        assert!(expected.iter().any(|text| said.contains(text)), "{what}");
        assert!(said.len() < 64 << 10, "{name}: {arguments}: {} bytes of words", said.len());
    }
}

fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let mut model = fixture::classifier();
    change(model.graph.as_mut().expect("the fixture has a graph"));
    onnx::encode(&model)
}

/// `inner` as field `number` of a message.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![(number << 3) | 2];
    let mut left = inner.len();
    while left >= 0x80 {
        bytes.push((left as u8) | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(inner);
    bytes
}

#[test]
fn what_is_no_model_is_refused() {
    refused("empty", &[], &["no graph"]);
    refused("zeros", &vec![0; 64 << 20], &["not an ONNX model"]);
    let noise: Vec<u8> = (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    refused("noise", &noise, &["not an ONNX model", "no graph"]);
    refused("text", b"{\"a\": 1}", &["not an ONNX model", "no graph"]);
    refused("zip", b"PK\x03\x04\x14\x00\x00\x00\x08\x00", &["not an ONNX model", "no graph"]);
}

#[test]
fn a_model_cut_short_is_refused() {
    let whole = onnx::encode(&fixture::classifier());
    for cut in [1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        refused("truncated", &whole[..cut], &["not an ONNX model", "no graph", "cannot", "no engine"]);
    }
}

#[test]
fn a_graph_that_waits_for_itself_is_refused() {
    let bytes = changed(|graph| graph.node[0].input[0] = "active".to_owned());
    refused("cycle", &bytes, &["part of a cycle"]);
}

#[test]
fn shapes_beyond_all_memory_are_refused() {
    let list = |values: &[i64]| {
        let tensor = Tensor::new(vec![values.len()], values.to_vec()).expect("a list");
        TensorProto::from_tensor("huge", &tensor)
    };
    let declared =
        changed(|graph| graph.input[0] = ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::Fixed(1 << 40)]));
    refused("declared", &declared, &["elements", "too large"]);
    let constant = changed(|graph| graph.initializer[0].dims = vec![TERA, TERA]);
    refused("constant", &constant, &["elements", "bytes", "size", "shape", "too large"]);
    for (operator, inputs) in
        [("ConstantOfShape", &["huge"][..]), ("Expand", &["x", "huge"]), ("Tile", &["x", "huge"])]
    {
        let made = changed(|graph| {
            graph.initializer.push(list(&[TERA, TERA]));
            graph.node.push(NodeProto::new(operator, "bomb", inputs, &["boom"]));
        });
        refused(operator, &made, &["elements", "too large"]);
    }
}

#[test]
fn constants_outside_the_folder_are_refused() {
    for location in ["../secret.bin", "/etc/passwd", "inner/../../secret.bin"] {
        let bytes = changed(|graph| {
            let constant = &mut graph.initializer[0];
            constant.raw_data = None;
            constant.data_location = 1;
            let entry =
                |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
            constant.external_data = vec![entry("location", location)];
        });
        refused(location, &bytes, &["folder", "stored in another file", "outside"]);
    }
}

#[test]
fn small_files_that_ask_for_gigabytes_are_refused() {
    // Eight bytes in memory for each in the file; then over a kilobyte for two bytes.
    let zeros = field(7, &field(5, &field(7, &vec![0; 200 << 20])));
    refused("packed zeros", &zeros, &["in memory"]);
    let attributes = field(7, &field(1, &field(5, &[]).repeat(4 << 20)));
    refused("empty attributes", &attributes, &["in memory"]);
    let nodes = field(7, &field(1, &[]).repeat(4 << 20));
    refused("empty nodes", &nodes, &["in memory"]);
}

#[test]
fn nesting_without_end_is_refused() {
    let mut bytes = Vec::new();
    for level in 0..4000 {
        bytes = field([1, 5, 6][level % 3], &bytes);
    }
    refused("nested", &field(7, &bytes), &["not an ONNX model"]);
}

#[test]
fn long_names_are_not_printed_in_full() {
    let bytes = changed(|graph| {
        graph.node[0].name = "n".repeat(8 << 20);
        graph.node[0].input[0] = "missing".repeat(1 << 20);
    });
    refused("names", &bytes, &["node 'nnn"]);
}

fn bundle_refused(name: &str, damage: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    std::fs::write(&model, onnx::encode(&fixture::classifier())).expect("it is written");
    let bundle: PathBuf = folder.path().join("bundle");
    std::fs::create_dir(&bundle).expect("a folder");
    damage(&bundle);
    for arguments in ["inspect bundle --json", "serve bundle --name mine --listen 127.0.0.1:0"] {
        let output = edgeward(folder.path(), arguments);
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {arguments}: {said:.2000}");
        assert!(!said.contains("panicked"), "{name}: {said:.2000}");
    }
}

#[test]
fn a_hostile_bundle_is_refused() {
    let manifest =
        |bundle: &Path, text: &str| std::fs::write(bundle.join("manifest.json"), text).expect("written");
    bundle_refused("empty", |_| {});
    bundle_refused("nested json", |bundle| manifest(bundle, &"[".repeat(1 << 20)));
    bundle_refused("no json", |bundle| manifest(bundle, "{"));
    bundle_refused("large", |bundle| manifest(bundle, &" ".repeat(2 << 20)));
    bundle_refused("a path that leaves", |bundle| {
        let entry = r#"{"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size_bytes":3}"#;
        let text = format!(
            r#"{{"files":{{"../../etc/passwd":{entry}}},"model":"digits","schema":"edgeward.manifest/1","variants":[{{"dtype":"f32","engine":"rten","path":"../../etc/passwd"}}]}}"#
        );
        manifest(bundle, &text);
    });
    bundle_refused("a link", |bundle| {
        std::os::unix::fs::symlink("/etc/passwd", bundle.join("manifest.json")).expect("a link");
    });
}

/// The model of a node with as many attributes as its memory allows still loads or is refused, within the wall.
#[test]
fn a_model_just_under_the_allowance_stays_within_the_wall() {
    let node = ModelProto::new(GraphProto {
        node: vec![NodeProto::new("Relu", "n", &["x"], &["y"])],
        input: vec![ValueInfoProto::tensor("x", DataType::Fp32, &[Dim::Fixed(1)])],
        output: vec![ValueInfoProto::tensor("y", DataType::Fp32, &[Dim::Fixed(1)])],
        ..GraphProto::new("g")
    });
    let mut bytes = onnx::encode(&node);
    // More metadata entries, 2 bytes each in the file: field 14 of the model.
    bytes.extend([0x72, 0].repeat(1 << 20));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("model.onnx"), bytes).expect("it is written");
    let output = edgeward(folder.path(), "inspect model.onnx --json");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
