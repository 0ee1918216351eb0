//! `edgeward tuf-client` against repositories that other implementations write, and theirs against ours.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use edgeward_core::ModelName;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{
    Bundle, BundleWriter, Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance, onnx,
};
use edgeward_testkit_python::Environment;

/// python-tuf, the reference implementation, with what it needs for every kind of key.
const PYTHON_TUF: [&str; 3] = ["tuf==7.0.1", "securesystemslib==1.6.0", "cryptography==50.0.2"];

/// OpenSSF's tool for signatures over models.
const MODEL_SIGNING: [&str; 3] = ["model-signing==1.1.1", "cryptography==49.0.0", "pyopenssl==26.3.0"];

fn edgeward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeward")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs the client; the exit code must be `code`.
fn client(args: &[&str], code: i32) -> String {
    let output = edgeward(&[&["tuf-client"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

/// Runs a command that must succeed; what it says.
fn done(args: &[&str]) -> String {
    let output = edgeward(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A small bundle below `parent`.
fn bundle(parent: &Path) -> Bundle {
    let bytes = onnx::encode(&fixture::classifier());
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
    let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(ModelName::new("pumps").unwrap());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    writer.write(parent).unwrap()
}

/// Any web server: here the one that comes with Python.
struct WebServer {
    child: Child,
    url: String,
}

impl WebServer {
    fn start(python: &Environment, folder: &Path) -> Self {
        let mut command = Command::new(python.python());
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_once('(').unwrap().1.split_once(')').unwrap().0.trim_end_matches('/').to_owned();
        Self { child, url }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_python_tuf_writes_is_read() {
    let Ok(python) = edgeward_testkit_python::environment("tuf", &PYTHON_TUF) else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    python.run(include_str!("tuf/write.py"), &[repository.to_str().unwrap()]);
    let server = WebServer::start(&python, &repository);
    let (metadata, targets) = (folder.path().join("trusted"), folder.path().join("downloads"));
    let (metadata, targets) = (metadata.to_str().unwrap(), targets.to_str().unwrap());
    let (metadata_url, targets_url) = (format!("{}/metadata", server.url), format!("{}/targets", server.url));
    let root = repository.join("metadata/1.root.json");
    client(&["--metadata-dir", metadata, "init", root.to_str().unwrap()], 0);
    let refresh = ["--metadata-dir", metadata, "--metadata-url", &metadata_url, "refresh"];
    client(&refresh, 0);
    let download = |name: &str, code| {
        let place =
            ["--target-name", name, "--target-base-url", &targets_url, "--target-dir", targets, "download"];
        client(&[&refresh[..4], &place].concat(), code)
    };
    let wanted: [(&str, &str, &[u8]); 3] = [
        ("plain.txt", "plain.txt", b"plain"),
        ("docs/a/read.md", "docs%2Fa%2Fread.md", b"read me"),
        ("anything", "anything", b"binary \x00\xff"),
    ];
    for (name, file, content) in wanted {
        download(name, 0);
        assert_eq!(fs::read(Path::new(targets).join(file)).unwrap(), content);
    }
    assert!(download("docs/read.md", 1).contains("may vouch"));
    for name in ["../plain.txt", "/plain.txt", "docs//a"] {
        download(name, 1);
    }
    let kept = fs::read(Path::new(metadata).join("root.json")).unwrap();
    assert_eq!(kept, fs::read(repository.join("metadata/2.root.json")).unwrap());
    // A torn copy of what is trusted is damage, and not a reason to begin anew.
    fs::write(Path::new(metadata).join("timestamp.json"), b"{\"signed\":").unwrap();
    assert!(client(&refresh, 1).contains("timestamp.json"));
}

#[test]
fn python_tuf_reads_what_we_write_and_follows_our_changes_of_keys() {
    let Ok(python) = edgeward_testkit_python::environment("tuf", &PYTHON_TUF) else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (repository, keys, other) = (place("repository"), place("keys"), place("other"));
    let bundle = bundle(&folder.path().join("bundles"));
    done(&["repo", "init", &repository, "--keys", &keys]);
    done(&["repo", "init", &place("spare"), "--keys", &other]);
    let released = [
        "repo",
        "sign",
        &repository,
        "--keys",
        &keys,
        "--bundle",
        bundle.dir().to_str().unwrap(),
        "--roll-out",
    ];
    done(&released);
    let server = WebServer::start(&python, Path::new(&repository));
    let (metadata_url, targets_url) = (format!("{}/metadata", server.url), format!("{}/targets", server.url));
    let (root, trusted, targets) =
        (place("repository/metadata/1.root.json"), place("trusted"), place("targets"));
    for folder in [&trusted, &targets] {
        fs::create_dir(folder).unwrap();
    }
    let manifest = format!("releases/pumps/{}/manifest.json", bundle.digest().hex());
    let read = || {
        let script = include_str!("tuf/read.py");
        let wanted =
            [&root, &trusted, &metadata_url, &targets_url, &targets, "rollouts/desired.json", &manifest];
        python.run(script, &wanted)
    };
    assert!(read().contains(&manifest));
    // Each role gets another key, the root all three; the client that trusts the first root follows.
    for role in ["timestamp", "snapshot", "rollouts", "releases"] {
        let key = format!("{other}/{role}.json");
        let rotate = ["repo", "rotate", &repository, "--keys", &keys, "--role", role, "--key", &key];
        done(&rotate);
        fs::copy(&key, format!("{keys}/{role}.json")).unwrap();
        done(&["repo", "refresh", &repository, "--keys", &keys]);
        assert!(read().contains(&manifest), "{role}");
    }
    let roots = ["root-1", "root-2", "root-3"].map(|name| format!("{other}/{name}.json"));
    let mut rotate =
        vec!["repo", "rotate", &repository, "--keys", &keys, "--role", "root", "--threshold", "2"];
    roots.iter().for_each(|root| rotate.extend(["--key", root]));
    done(&rotate);
    let said = done(&["repo", "verify", &repository]);
    assert!(said.contains("root 4 until") && said.contains("targets 4 until"), "{said}");
    assert!(read().contains(&manifest));
    let kept = fs::read(Path::new(&trusted).join("root.json")).unwrap();
    assert_eq!(kept, fs::read(place("repository/metadata/4.root.json")).unwrap());
}

#[test]
fn the_public_tool_verifies_our_model_signatures() {
    let Ok(python) = edgeward_testkit_python::environment("model-signing", &MODEL_SIGNING) else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let bundle = bundle(&folder.path().join("bundles"));
    let (key, public, other) = (place("key.pem"), place("public.pem"), place("other.pem"));
    let make = "import sys\n\
        from cryptography.hazmat.primitives import serialization as s\n\
        from cryptography.hazmat.primitives.asymmetric import ec\n\
        for name in sys.argv[1:]:\n\
        \x20   key = ec.generate_private_key(ec.SECP256R1())\n\
        \x20   pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())\n\
        \x20   open(name, 'wb').write(pem)\n";
    python.run(make, &[&key, &other]);
    let model = bundle.dir().to_str().unwrap();
    done(&["sign-model", model, "--key", &other, "--public-key", &place("other-public.pem")]);
    done(&["sign-model", model, "--key", &key, "--public-key", &public]);
    let verify = |public: &str| {
        let mut command = Command::new(python.python());
        command.args(["-m", "model_signing", "verify", "key", model, "--signature"]);
        command.arg(bundle.dir().join("model.sig")).args(["--public_key", public]);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        (output.status.success(), said)
    };
    let (verified, said) = verify(&public);
    assert!(verified, "{said}");
    assert!(!verify(&place("other-public.pem")).0, "another key");
    let file = bundle.dir().join("variants/rten-f32/model.onnx");
    let file = if file.is_file() { file } else { bundle.dir().join(edgeward_model::bundle::path::MODEL) };
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(!verify(&public).0, "a changed file");
}
