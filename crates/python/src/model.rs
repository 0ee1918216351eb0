//! Where an app asks: a model that was opened, or one that follows what the agent activates.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use edgeward_core::ModelName;
use edgeward_model::{Bundle, Engines, LoadOptions, OnnxRuntimeConfig};
use edgeward_sdk::taken::load_first;
use edgeward_sdk::{
    InferError, Labelled, Loaded, ModelHandle, OnSwap, Watch, WatchOptions, model_folder, predicted_text,
};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyString};

use crate::answer::{Answer, Said, TensorSpec};
use crate::array::tensors;
use crate::error::{NotServing, TimedOut, argument, files, infer, load};
use crate::explain::{Explanation, Of, Question, explain, golden};

/// A place that an app asks.
#[pyclass(frozen, module = "edgeward", weakref)]
pub(crate) struct Model {
    serves: RwLock<Option<Serves>>,
    /// Where the bundle that serves is; none of a bare model.
    folder: Arc<Mutex<Option<PathBuf>>>,
}

#[derive(Clone)]
enum Serves {
    Opened(Arc<ModelHandle>),
    Watched(Arc<Watch>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Model {
    fn new(serves: Serves, folder: Arc<Mutex<Option<PathBuf>>>) -> Self {
        Self { serves: RwLock::new(Some(serves)), folder }
    }

    fn serves(&self) -> PyResult<Serves> {
        let serves = self.serves.read().unwrap_or_else(PoisonError::into_inner).clone();
        serves.ok_or_else(|| NotServing::new_err("the model was closed; open it or follow it again"))
    }

    fn current(&self) -> PyResult<Arc<Loaded>> {
        self.now()?.ok_or_else(|| infer(&InferError::NotServing))
    }

    fn now(&self) -> PyResult<Option<Arc<Loaded>>> {
        Ok(self.serves()?.handle().current())
    }

    fn watch(&self) -> PyResult<Arc<Watch>> {
        match self.serves()? {
            Serves::Watched(watch) => Ok(watch),
            Serves::Opened(_) => Err(argument("the model was opened and follows no agent; use Model.follow")),
        }
    }

    /// Ends the following without the interpreter, which the last callback may be waiting for.
    fn end(&self, py: Python<'_>) {
        let serves = self.serves.write().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(serves));
    }
}

impl Serves {
    fn handle(&self) -> &ModelHandle {
        match self {
            Self::Opened(handle) => handle,
            Self::Watched(watch) => watch.handle(),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // An interpreter that is ending takes the thread that follows with it.
        let _ = Python::try_attach(|py| self.end(py));
    }
}

/// What runs models, and how.
fn loading(
    threads: u32,
    onnxruntime: Option<PathBuf>,
    providers: Vec<String>,
) -> PyResult<(Engines, LoadOptions)> {
    let engines = match onnxruntime {
        Some(library) => Engines::with_onnxruntime(OnnxRuntimeConfig { library, providers }),
        None => Engines::embedded(),
    };
    let threads = usize::try_from(threads).map_err(|_| argument("there are not so many threads"))?;
    Ok((engines, LoadOptions { threads: (threads > 0).then_some(threads), ..LoadOptions::default() }))
}

fn cpu() -> Vec<String> {
    vec!["cpu".to_owned()]
}

fn open(path: &Path, engines: &Engines, options: &LoadOptions) -> PyResult<Loaded> {
    if path.is_file() {
        let bytes = std::fs::read(path).map_err(|error| load(&error))?;
        let loaded = Loaded::from_onnx(&bytes, &*engines.default_engine(), options);
        return loaded.map_err(|error| load(&error));
    }
    let opened = Bundle::open(path).map_err(|error| load(&error))?;
    let bundle = Bundle::verify_subset(path, &opened.digest(), |_| false).map_err(|error| load(&error))?;
    load_first(&bundle, engines, options).map_err(|error| load(&error))
}

/// Tells a callback of swaps. What it raises is shown where Python shows what nobody catches.
fn telling(on_swap: Option<Py<PyAny>>, folder: Arc<Mutex<Option<PathBuf>>>) -> OnSwap {
    Box::new(move |activation, loaded| {
        *lock(&folder) = Some(activation.folder.clone());
        let Some(on_swap) = &on_swap else { return };
        let digest = loaded.bundle().hex();
        let _ = Python::try_attach(|py| {
            if let Err(error) = on_swap.call1(py, (digest,)) {
                error.write_unraisable(py, Some(on_swap.bind(py)));
            }
        });
    })
}

fn span(seconds: f64, what: &str) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| argument(format!("{what} must be a number of seconds from 0 on, not {seconds}")))
}

#[pymethods]
impl Model {
    #[staticmethod]
    #[pyo3(name = "open", signature = (path, *, threads = 1, onnxruntime = None, providers = cpu()))]
    fn opened(
        py: Python<'_>,
        path: PathBuf,
        threads: u32,
        onnxruntime: Option<PathBuf>,
        providers: Vec<String>,
    ) -> PyResult<Self> {
        let (engines, options) = loading(threads, onnxruntime, providers)?;
        let loaded = py.detach(|| open(&path, &engines, &options))?;
        let handle = ModelHandle::new();
        handle.publish(Arc::new(loaded));
        let folder = path.is_dir().then_some(path);
        Ok(Self::new(Serves::Opened(Arc::new(handle)), Arc::new(Mutex::new(folder))))
    }

    #[staticmethod]
    #[pyo3(signature = (agent_data, name, *, threads = 1, onnxruntime = None, providers = cpu(), on_swap = None))]
    fn follow(
        py: Python<'_>,
        agent_data: PathBuf,
        name: &str,
        threads: u32,
        onnxruntime: Option<PathBuf>,
        providers: Vec<String>,
        on_swap: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let name = ModelName::new(name).map_err(|error| argument(format!("the model's name: {error}")))?;
        let (engines, load) = loading(threads, onnxruntime, providers)?;
        let folder = Arc::new(Mutex::new(None));
        let on_swap = Some(telling(on_swap, Arc::clone(&folder)));
        let options = WatchOptions { engines: Arc::new(engines), load, on_swap, ..WatchOptions::default() };
        let model = model_folder(&agent_data, &name);
        drop(agent_data);
        let watched = py.detach(|| Watch::start(&model, options));
        let watch = watched.map_err(|error| files(&error))?;
        Ok(Self::new(Serves::Watched(Arc::new(watch)), folder))
    }

    #[getter]
    fn digest(&self) -> PyResult<Option<String>> {
        Ok(self.now()?.map(|loaded| loaded.bundle().hex()))
    }

    #[getter]
    fn generation(&self) -> PyResult<u64> {
        Ok(match self.serves()? {
            Serves::Opened(_) => 1,
            Serves::Watched(watch) => watch.swaps(),
        })
    }

    #[getter]
    fn inputs(&self) -> PyResult<Vec<TensorSpec>> {
        Ok(self.pin()?.inputs())
    }

    #[getter]
    fn outputs(&self) -> PyResult<Vec<TensorSpec>> {
        Ok(self.pin()?.outputs())
    }

    #[getter]
    fn classes(&self) -> PyResult<Vec<String>> {
        Ok(self.pin()?.classes())
    }

    #[pyo3(signature = (timeout = 60.0))]
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let span = span(timeout, "the timeout")?;
        let Serves::Watched(watch) = self.serves()? else { return Ok(()) };
        match py.detach(|| watch.wait_until_serving(span)) {
            true => Ok(()),
            false => Err(TimedOut::new_err(format!(
                "no model served within {timeout} s; is one deployed to this device?"
            ))),
        }
    }

    fn pin(&self) -> PyResult<Session> {
        Ok(Session { loaded: self.current()? })
    }

    fn infer(&self, py: Python<'_>, inputs: &Bound<'_, PyAny>) -> PyResult<Answer> {
        ask(py, &*self.current()?, inputs)
    }

    #[pyo3(signature = (answer, truth, row = 0))]
    fn label(&self, py: Python<'_>, answer: &Answer, truth: &Bound<'_, PyAny>, row: usize) -> PyResult<bool> {
        let truth = as_label(truth)?;
        let Said { row: said, values } = answer.row(row)?;
        let predicted = predicted_text(said).unwrap_or_default();
        let top = said.confidence.as_slice();
        let scores = if said.scores.is_empty() { top } else { &said.scores };
        let of = u32::try_from(row).ok().map(|row| (answer.prediction, row));
        let label = Labelled { predicted: &predicted, truth: &truth, scores, values, tags: &[], of };
        let serves = self.serves()?;
        Ok(py.detach(|| serves.handle().label(answer.bundle, &label).is_some()))
    }

    #[pyo3(signature = (inputs, row = 0, *, background = None, output = None, seed = 0))]
    fn explain(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyAny>,
        row: usize,
        background: Option<&Bound<'_, PyAny>>,
        output: Option<&Bound<'_, PyAny>>,
        seed: u64,
    ) -> PyResult<Explanation> {
        let loaded = self.current()?;
        let session = loaded.session();
        let inputs = tensors(session.signature(), inputs)?;
        let background = match background {
            Some(rows) => vec![tensors(session.signature(), rows)?],
            None => golden(lock(&self.folder).as_deref(), session)?,
        };
        let of = match output {
            None => Of::Likeliest,
            Some(output) => match output.cast::<PyString>() {
                Ok(name) => Of::Named(name.to_string()),
                Err(_) => Of::At(output.extract()?),
            },
        };
        let question = Question { inputs, row, background, of, seed };
        py.detach(|| explain(session, &question))
    }

    fn pause(&self, timeout: f64) -> PyResult<Pause> {
        let pause = self.watch()?.pause(span(timeout, "the timeout")?).map_err(|error| files(&error))?;
        Ok(Pause { asked: Mutex::new(Some(pause)) })
    }

    fn close(&self, py: Python<'_>) {
        self.end(py);
    }

    const fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _raised: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        self.end(py);
    }

    fn __repr__(&self) -> String {
        let digest = self.now().ok().flatten().map(|loaded| loaded.bundle().short().to_string());
        format!("Model({})", digest.unwrap_or_else(|| "serves nothing".to_owned()))
    }
}

fn ask(py: Python<'_>, loaded: &Loaded, inputs: &Bound<'_, PyAny>) -> PyResult<Answer> {
    let inputs = tensors(loaded.session().signature(), inputs)?;
    let prediction = py.detach(|| loaded.infer(inputs)).map_err(|error| infer(&error))?;
    Answer::new(py, prediction)
}

/// A class's name or a number, in the words that predictions use.
fn as_label(truth: &Bound<'_, PyAny>) -> PyResult<String> {
    if truth.is_instance_of::<PyInt>()
        || truth.is_instance_of::<PyFloat>()
        || truth.is_instance_of::<PyString>()
    {
        return Ok(truth.str()?.to_string());
    }
    // A number of numpy's.
    match truth.call_method0("item") {
        Ok(item) => Ok(item.str()?.to_string()),
        Err(_) => Err(argument("the truth must be a class's name or a number")),
    }
}

/// One model, pinned.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct Session {
    loaded: Arc<Loaded>,
}

#[pymethods]
impl Session {
    #[getter]
    fn digest(&self) -> String {
        self.loaded.bundle().hex()
    }

    #[getter]
    fn inputs(&self) -> Vec<TensorSpec> {
        self.loaded.session().signature().inputs.iter().cloned().map(TensorSpec).collect()
    }

    #[getter]
    fn outputs(&self) -> Vec<TensorSpec> {
        self.loaded.session().signature().outputs.iter().cloned().map(TensorSpec).collect()
    }

    #[getter]
    fn classes(&self) -> Vec<String> {
        self.loaded.session().signature().classes().to_vec()
    }

    fn infer(&self, py: Python<'_>, inputs: &Bound<'_, PyAny>) -> PyResult<Answer> {
        ask(py, &self.loaded, inputs)
    }

    fn __repr__(&self) -> String {
        format!("Session({})", self.loaded.bundle().short())
    }
}

/// A wish that the agent activates nothing.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct Pause {
    asked: Mutex<Option<edgeward_sdk::Pause>>,
}

#[pymethods]
impl Pause {
    fn end(&self) {
        drop(lock(&self.asked).take());
    }

    const fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _raised: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        self.end();
    }
}
