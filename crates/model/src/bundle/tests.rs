//! Bundles that are written, read back, and tampered with.

use std::fs;

use edgeward_core::ModelName;
use tempfile::TempDir;

use super::*;
use crate::engine::conformance::fixture;
use crate::onnx;
use crate::signature::Task;

fn device(engine: &str) -> Capabilities {
    let capability = edgeward_core::target::EngineCapability {
        name: engine.to_owned(),
        version: None,
        providers: vec!["cpu".to_owned()],
        formats: vec![edgeward_core::variant::Format::default()],
    };
    Capabilities::of_engines(vec![capability])
}

fn writer() -> BundleWriter {
    let model = onnx::encode(&fixture::classifier());
    let signature = Signature::new(
        Task::Other,
        vec![crate::TensorSpec::new("x", crate::DataType::Fp32, [])],
        vec![crate::TensorSpec::new("y", crate::DataType::Fp32, [])],
    );
    let mut writer = BundleWriter::new(ModelName::new("digits").unwrap());
    writer.model(model.clone()).unwrap();
    writer.variant("rten", "f32", model).unwrap();
    writer.variant("rten", "w8", vec![1, 2, 3]).unwrap();
    writer.signature(&signature).unwrap();
    writer.add(path::CARD, b"# card".to_vec()).unwrap();
    writer.add(path::MONITOR, b"{\"a\":1}".to_vec()).unwrap();
    writer
}

fn written() -> (TempDir, Bundle) {
    let parent = tempfile::tempdir().unwrap();
    let bundle = writer().write(parent.path()).unwrap();
    (parent, bundle)
}

fn refused(bundle: &Bundle) -> String {
    Bundle::verify(bundle.dir(), &bundle.digest()).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let (parent, bundle) = written();
    assert_eq!(bundle.dir(), parent.path().join(bundle.digest().hex()));
    let verified = Bundle::verify(bundle.dir(), &bundle.digest()).unwrap();
    assert_eq!(verified.manifest(), bundle.manifest());
    assert_eq!(verified.card().unwrap().as_deref(), Some("# card"));
    assert_eq!(verified.monitor().unwrap(), Some(serde_json::json!({"a": 1})));
    assert_eq!(verified.lineage().unwrap(), None);
    assert_eq!(verified.signature().unwrap().inputs[0].name, "x");
    let variant = verified.variant_for(&device("rten")).unwrap();
    assert_eq!((variant.dtype.as_str(), variant.path.as_str()), ("f32", path::MODEL));
    assert!(verified.variant_for(&device("ort")).is_none());
}

#[test]
fn writing_again_changes_nothing_and_leaves_nothing() {
    let (parent, bundle) = written();
    assert_eq!(writer().write(parent.path()).unwrap().digest(), bundle.digest());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_flipped_byte_is_found_in_every_file() {
    let (_parent, bundle) = written();
    for path in bundle.manifest().files.keys() {
        let file = bundle.dir().join(path.as_str());
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&file, bad).unwrap();
        assert!(refused(&bundle).contains(&format!("'{path}' in the bundle is not what its manifest says")));
        assert!(matches!(bundle.read(path.as_str()), Err(BundleError::Content { .. })));
        fs::write(&file, good).unwrap();
    }
    Bundle::verify(bundle.dir(), &bundle.digest()).unwrap();
}

#[test]
fn a_changed_manifest_is_another_bundle() {
    let (_parent, bundle) = written();
    let file = bundle.dir().join(path::MANIFEST);
    let text = fs::read_to_string(&file).unwrap().replace("digits", "digitz");
    fs::write(&file, text).unwrap();
    assert!(refused(&bundle).contains("not the bundle that was asked for"));
}

#[test]
fn missing_extra_longer_and_shorter_files_are_refused() {
    let (_parent, bundle) = written();
    let card = bundle.dir().join(path::CARD);
    fs::write(&card, b"# card, longer").unwrap();
    assert_eq!(refused(&bundle), "'card.md' in the bundle has 7 bytes, its manifest says 6");
    fs::remove_file(&card).unwrap();
    assert_eq!(refused(&bundle), "the bundle lacks 'card.md', which its manifest lists");
    fs::write(&card, b"# card").unwrap();
    fs::write(bundle.dir().join("golden.exe"), b"").unwrap();
    assert_eq!(refused(&bundle), "the bundle holds 'golden.exe', which its manifest does not list");
}

#[cfg(unix)]
#[test]
fn links_are_refused_even_to_the_right_bytes() {
    let (parent, bundle) = written();
    let card = bundle.dir().join(path::CARD);
    let outside = parent.path().join("outside.md");
    fs::rename(&card, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &card).unwrap();
    assert_eq!(refused(&bundle), "'card.md' in the bundle is not a plain file or folder; links are refused");
    fs::remove_file(&card).unwrap();
    fs::rename(&outside, &card).unwrap();
    std::os::unix::fs::symlink(parent.path(), bundle.dir().join("folder")).unwrap();
    assert!(refused(&bundle).contains("'folder' in the bundle is not a plain file"));
}

#[test]
fn paths_cannot_leave_the_bundle() {
    let (parent, bundle) = written();
    for path in ["../x", "/etc/passwd", "a/../../x", "golden\\x", ""] {
        assert!(matches!(writer().add(path, vec![]), Err(BundleError::Manifest(_))), "{path}");
        assert!(matches!(bundle.read(path), Err(BundleError::Unlisted(_))), "{path}");
    }
    let manifest = fs::read_to_string(bundle.dir().join(path::MANIFEST)).unwrap();
    let hostile = parent.path().join("hostile");
    fs::create_dir(&hostile).unwrap();
    fs::write(hostile.join(path::MANIFEST), manifest.replace("card.md", "../x")).unwrap();
    assert!(matches!(Bundle::open(&hostile), Err(BundleError::Manifest(_))));
}

#[test]
fn a_device_may_leave_out_variants_it_cannot_run() {
    let (_parent, bundle) = written();
    let variant = bundle.dir().join(path::variant("rten", "w8"));
    let wanted = |path: &BundlePath| !path.as_str().starts_with("variants/");
    fs::remove_file(&variant).unwrap();
    assert!(refused(&bundle).contains("lacks 'variants/rten-w8/model.onnx'"));
    Bundle::verify_subset(bundle.dir(), &bundle.digest(), wanted).unwrap();
    fs::write(&variant, b"bad").unwrap();
    assert!(Bundle::verify_subset(bundle.dir(), &bundle.digest(), wanted).is_err());
}

#[test]
fn a_file_cannot_be_added_twice_nor_the_manifest() {
    let mut writer = writer();
    assert!(matches!(writer.add(path::CARD, vec![]), Err(BundleError::Duplicate(_))));
    assert!(matches!(writer.add(path::MANIFEST, vec![]), Err(BundleError::Duplicate(_))));
}

#[test]
fn a_bundle_needs_a_variant() {
    let parent = tempfile::tempdir().unwrap();
    let empty = BundleWriter::new(ModelName::new("digits").unwrap());
    assert!(matches!(empty.write(parent.path()), Err(BundleError::Manifest(ManifestError::Variants(_)))));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
