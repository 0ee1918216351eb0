//! A real control plane and a real agent: a version that differs in its last layer ships its last layer.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeward_agent::AgentConfig;
use edgeward_api::Client;
use edgeward_api::operator::{
    JoinTokenRequest, RolloutRequest, RunAnnouncement, RunEnd, VersionRegistration,
};
use edgeward_core::envelope::Base64;
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::rollout::{RolloutPolicy, WaveSize};
use edgeward_core::trigger::TriggerPolicy;
use edgeward_core::{DeviceId, ModelName, ProjectName, RunId, Timestamp};
use edgeward_model::bundle::path;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::onnx::{self, TensorProto};
use edgeward_model::{Bundle, BundleWriter, Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance};
use edgeward_server::ServerConfig;
use edgeward_trust::SigningKey;
use edgeward_trust::fleet::{Draft, Lives, add_release};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn model() -> ModelName {
    ModelName::new("wide").unwrap()
}

/// A bundle of a model of 17 kB; versions differ in 64 numbers.
fn bundle(folder: &Path, version: u64) -> Bundle {
    let mut network = fixture::wide();
    let bias = Tensor::new(vec![fixture::WIDTH], fixture::noise(fixture::WIDTH, 100 + version)).unwrap();
    network.graph.as_mut().unwrap().initializer[1] = TensorProto::from_tensor("b", &bias);
    let bytes = onnx::encode(&network);
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
    let row = Tensor::from_rows(1, fixture::WIDTH, fixture::noise(fixture::WIDTH, 9)).unwrap();
    let golden = Golden::record(session.runnable(), &[vec![row]], Tolerance::default()).unwrap();
    let mut writer = BundleWriter::new(model());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    writer.write(&folder.join(version.to_string())).unwrap()
}

/// What a pipeline that passed does with its bundle.
fn publish(operator: &Client, keys: &Path, bundle: &Bundle, number: u64) {
    let run = RunId::new(format!("run-{number}")).unwrap();
    let project = ProjectName::new("wide").unwrap();
    let announcement = RunAnnouncement { run: run.clone(), project, cause: "by hand".to_owned() };
    operator.announce_run(&announcement).unwrap();
    let manifest = fs::read(bundle.dir().join(path::MANIFEST)).unwrap();
    operator.upload_blob(&bundle.digest(), &manifest).unwrap();
    for (name, entry) in &bundle.manifest().files {
        operator.upload_blob(&entry.digest, &bundle.read(name.as_str()).unwrap()).unwrap();
    }
    let key = SigningKey::from_json(&fs::read(keys.join("releases.json")).unwrap()).unwrap();
    let draft = Draft { model: &model(), manifest: &manifest, custom: serde_json::json!({}) };
    let registration = VersionRegistration {
        bundle: bundle.digest(),
        run: run.clone(),
        metrics: BTreeMap::new(),
        releases: Base64(
            add_release(&operator.releases().unwrap(), &draft, &key, &Lives::default(), Timestamp(1))
                .unwrap(),
        ),
    };
    operator.register_version(&model(), &registration).unwrap();
    operator
        .finish_run(
            &run,
            &RunEnd {
                outcome: RunOutcome::Passed { bundle: bundle.digest() },
                adopts: None,
                shadows: Vec::new(),
            },
        )
        .unwrap();
    let rollout =
        RolloutRequest { version: Some(number), cause: "by hand".to_owned(), ..RolloutRequest::default() };
    operator.start_rollout(&model(), &rollout).unwrap();
}

fn project() -> Project {
    Project {
        name: ProjectName::new("wide").unwrap(),
        model: model(),
        path: "/nowhere".to_owned(),
        trigger: TriggerPolicy { level: 1, ..TriggerPolicy::default() },
        source: None,
        rollout: RolloutPolicy {
            waves: vec![WaveSize::Percent(100)],
            bake_ms: Duration::from_millis(1),
            ..RolloutPolicy::default()
        },
        shadows: None,
        mlflow: None,
    }
}

fn status(url: &str) -> Value {
    let text = ureq::get(format!("{url}/v1/status")).call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Bytes that the agent has received once it serves `bundle`.
fn received_when_serving(url: &str, bundle: &Bundle) -> u64 {
    let began = Instant::now();
    loop {
        let status = status(url);
        if status["models"]["wide"]["active"] == bundle.digest().to_string() {
            return status["received_bytes"]["wide"].as_u64().unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_new_last_layer_ships_a_last_layer() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ServerConfig {
        tls: edgeward_server::TlsConfig::default(),
        data_dir: folder.path().join("server"),
        database: None,
        blobs: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        require_auth: false,
        runner_program: "/bin/false".into(),
        broker: None,
        collector: None,
        webhooks: Vec::new(),
        tick: Duration::from_millis(50),
    };
    let server = runtime.block_on(edgeward_server::bind(config)).unwrap();
    let server_url = server.url().to_owned();
    runtime.spawn(server.serve(std::future::pending()));
    let operator = Client::new(&server_url, None);
    operator.register_project(&project()).unwrap();
    let token =
        operator.make_join_token(&JoinTokenRequest { uses: 1, ttl_ms: 60_000, device: None }).unwrap();
    let name = DeviceId::new("camera-1").unwrap();
    let listen: edgeward_agent::Address = "127.0.0.1:0".parse().unwrap();
    let mut config = AgentConfig::new(&server_url, folder.path().join("device"), name, listen);
    config.join_token = Some(token.join_token);
    (config.poll, config.upload) = (Duration::from_millis(20), Duration::from_millis(50));
    let agent = runtime.block_on(edgeward_agent::bind(config)).unwrap();
    let url = agent.url();
    runtime.spawn(agent.serve(std::future::pending()));

    let (one, two) = (bundle(folder.path(), 1), bundle(folder.path(), 2));
    let keys = folder.path().join("server/keys");
    publish(&operator, &keys, &one, 1);
    let first = received_when_serving(&url, &one);
    let model_len = one.read(path::MODEL).unwrap().len() as u64;
    assert!(first > model_len / 2, "{first} bytes for a first model of {model_len}");
    publish(&operator, &keys, &two, 2);
    let update = received_when_serving(&url, &two) - first;
    let manifest_len = fs::metadata(two.dir().join(path::MANIFEST)).unwrap().len();
    let of_files = update - manifest_len;
    assert!(of_files < model_len / 4, "{of_files} bytes for 64 changed numbers of a model of {model_len}");
    runtime.shutdown_background();
}
