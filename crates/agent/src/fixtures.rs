//! Bundles, endpoints and HTTP calls that the tests of this crate share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgeward_core::{DeviceId, ModelName, Timestamp};
use edgeward_model::bundle::path;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::{
    Bundle, BundleWriter, Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance, onnx,
};
use edgeward_monitor::{MonitorConfig, Reference, Sample};
use edgeward_sdk::Loaded;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::endpoint::{About, Endpoint};
use crate::records::Records;
use crate::registry::{Registry, Served};

pub(crate) const ONE_THREAD: LoadOptions = LoadOptions::with_threads(1);
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn model() -> ModelName {
    ModelName::new("digits").unwrap()
}

pub(crate) fn onnx_bytes(version: &str) -> Vec<u8> {
    let mut model = fixture::classifier();
    model.set_metadata("version", version);
    onnx::encode(&model)
}

/// A whole bundle below `parent`: model, golden test, reference and monitor. Another version is another bundle.
pub(crate) fn bundle(parent: &Path, version: &str) -> Bundle {
    let bytes = onnx_bytes(version);
    let session = Session::from_onnx(&bytes, &RtenEngine::new(), &ONE_THREAD).unwrap();
    let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
    let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
    let config = MonitorConfig { baseline_accuracy: Some((0.95, 600)), ..MonitorConfig::default() };
    let mut writer = BundleWriter::new(model());
    writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
    writer.variant("other", "f32", b"a form for another engine".to_vec()).unwrap();
    writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
    writer.add(path::REFERENCE_PROFILE, reference(&session).to_bytes()).unwrap();
    writer.add(path::MONITOR, serde_json::to_vec(&config).unwrap()).unwrap();
    writer.write(parent).unwrap()
}

fn reference(session: &Session) -> Reference {
    let values = fixture::noise(600 * 4, 21);
    let table = Tensor::from_rows(600, 4, values.clone()).unwrap();
    let answers = session.infer_ordered(&[table]).unwrap().rows;
    let samples = values.chunks(4).zip(&answers).map(|(features, answer)| Sample {
        features,
        predicted: answer.predicted.map(|class| class as u32),
        confidence: answer.confidence,
    });
    let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    Reference::fit(&names, session.signature().classes(), samples).unwrap()
}

pub(crate) fn loaded(bundle: &Bundle) -> Arc<Loaded> {
    Arc::new(Loaded::from_bundle(bundle, &RtenEngine::new(), &ONE_THREAD).unwrap())
}

/// An endpoint on a free loopback port, over real HTTP.
pub(crate) struct TestEndpoint {
    pub(crate) url: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) records: Arc<Records>,
    pub(crate) folder: TempDir,
    _runtime: Runtime,
}

impl TestEndpoint {
    /// One that knows the model but serves nothing yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = DeviceId::new("robot-1").unwrap();
        let registry = Arc::new(Registry::default());
        registry.get_or_add(&model());
        let records = Arc::new(Records::open(folder.path(), device.clone()).unwrap());
        let about = Arc::new(About::new(device, None));
        let endpoint = Endpoint::new(Arc::clone(&registry), Arc::clone(&records), about, || NOW);
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, endpoint.router(None)).await });
        Self { url, registry, records, folder, _runtime: runtime }
    }

    /// One that serves version 1.
    pub(crate) fn serving() -> Self {
        let endpoint = Self::new();
        endpoint.served().publish(loaded(&bundle(&endpoint.folder.path().join("bundles"), "1")));
        endpoint
    }

    pub(crate) fn served(&self) -> Arc<Served> {
        self.registry.get("digits").unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        get(&format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        post(&format!("{}{path}", self.url), body)
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(20))).build().into()
}

pub(crate) fn get(url: &str) -> (u16, Value) {
    let mut answer = agent().get(url).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn post(url: &str, body: &str) -> (u16, Value) {
    let mut answer = agent().post(url).send(body).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A request for one ordinary row.
pub(crate) fn one_row() -> String {
    serde_json::json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": fixture::noise(4, 3) }] })
        .to_string()
}
