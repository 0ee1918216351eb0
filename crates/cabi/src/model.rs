//! Where an app asks: a bundle that was opened, or one that follows what the agent activates.

use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeward_core::ModelName;
use edgeward_model::{Bundle, Engines, LoadOptions, OnnxRuntimeConfig};
use edgeward_sdk::taken::load_first;
use edgeward_sdk::{Labelled, Loaded, ModelHandle, Pause, Watch, WatchOptions, model_folder, predicted_text};

use crate::answer::{EdgewardAnswer, Row};
use crate::pointer::{free, given, hand_over, optional_text, put, text};
use crate::session::{EdgewardSession, infer};
use crate::status::{EdgewardStatus, Failure, call, value};
use crate::tensor::EdgewardTensor;

/// A place that an app asks. Any number of threads may use one at once.
pub struct EdgewardModel {
    serves: Serves,
    pause: Mutex<Option<Pause>>,
}

enum Serves {
    Opened(ModelHandle),
    Watched(Watch),
}

/// How to load models. Fill it with `edgeward_options_default`, then change what is to be different.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EdgewardOptions {
    /// Size of this struct in bytes, by which the library knows its version.
    pub size: usize,
    /// Threads for one request; 0 lets the engine choose.
    pub threads: u32,
    /// Path of ONNX Runtime's shared library, UTF-8; null for the embedded engine alone.
    pub onnxruntime: *const c_char,
    /// ONNX Runtime's execution providers with commas between them, such as `qnn,cpu`; null for `cpu`.
    pub providers: *const c_char,
}

/// The embedded engine on one thread.
#[unsafe(no_mangle)]
pub extern "C" fn edgeward_options_default() -> EdgewardOptions {
    EdgewardOptions {
        size: size_of::<EdgewardOptions>(),
        threads: 1,
        onnxruntime: std::ptr::null(),
        providers: std::ptr::null(),
    }
}

/// # Safety
/// `options` is null or leads to options whose texts end with a zero.
unsafe fn loading(options: *const EdgewardOptions) -> Result<(Engines, LoadOptions), Failure> {
    let default = edgeward_options_default();
    let options = match options.is_null() {
        true => &default,
        // SAFETY: the caller's promise is this function's own.
        false => unsafe { given(options, "the options") }?,
    };
    if options.size != default.size {
        let words = format!(
            "the options are {} bytes, this library's are {}; fill them with edgeward_options_default",
            options.size, default.size
        );
        return Err(Failure::argument(words));
    }
    // SAFETY: the caller's promise is this function's own.
    let library = unsafe { optional_text(options.onnxruntime, "the path of ONNX Runtime") }?;
    // SAFETY: the caller's promise is this function's own.
    let providers = unsafe { optional_text(options.providers, "the list of providers") }?;
    let words = providers.unwrap_or("cpu").split(',').map(str::trim).filter(|word| !word.is_empty());
    let providers = words.map(str::to_owned).collect();
    let config = |library: &str| OnnxRuntimeConfig { library: PathBuf::from(library), providers };
    let engines =
        library.map_or_else(Engines::embedded, |library| Engines::with_onnxruntime(config(library)));
    let threads = usize::try_from(options.threads).ok().filter(|threads| *threads > 0);
    Ok((engines, LoadOptions { threads, ..LoadOptions::default() }))
}

impl EdgewardModel {
    const fn new(serves: Serves) -> Self {
        Self { serves, pause: Mutex::new(None) }
    }

    fn handle(&self) -> &ModelHandle {
        match &self.serves {
            Serves::Opened(handle) => handle,
            Serves::Watched(watch) => watch.handle(),
        }
    }

    fn current(&self) -> Result<Arc<Loaded>, Failure> {
        Ok(self.handle().current().ok_or(edgeward_sdk::InferError::NotServing)?)
    }

    fn watch(&self) -> Result<&Watch, Failure> {
        match &self.serves {
            Serves::Watched(watch) => Ok(watch),
            Serves::Opened(_) => {
                Err(Failure::argument("the model was opened and follows no agent; use edgeward_model_watch"))
            }
        }
    }
}

/// Opens the bundle in `folder`: every byte is checked against its digest, a form that runs here is loaded, and its golden
/// test must pass. `folder` may also be an ONNX file, which nothing is checked of. `options` may be null.
///
/// `*model` is freed with `edgeward_model_free`; it is null if the call fails.
///
/// # Safety
/// `folder` is null or ends with a zero; `options` is null or leads to options; `model` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_open(
    folder: *const c_char,
    options: *const EdgewardOptions,
    model: *mut *mut EdgewardModel,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(model, std::ptr::null_mut(), "the place for the model") }?;
        // SAFETY: the caller's promise is this function's own.
        let folder = Path::new(unsafe { text(folder, "the folder") }?);
        // SAFETY: the caller's promise is this function's own.
        let (engines, load) = unsafe { loading(options) }?;
        let handle = ModelHandle::new();
        handle.publish(Arc::new(open(folder, &engines, &load)?));
        // SAFETY: the caller's promise is this function's own.
        unsafe { hand_over(model, EdgewardModel::new(Serves::Opened(handle)), "the place for the model") }
    })
}

fn open(folder: &Path, engines: &Engines, load: &LoadOptions) -> Result<Loaded, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::of(EdgewardStatus::LoadFailed, error);
    if folder.is_file() {
        let bytes = std::fs::read(folder).map_err(|error| failed(&error))?;
        let loaded = Loaded::from_onnx(&bytes, &*engines.default_engine(), load);
        return loaded.map_err(|error| failed(&error));
    }
    let opened = Bundle::open(folder).map_err(|error| failed(&error))?;
    let bundle =
        Bundle::verify_subset(folder, &opened.digest(), |_| false).map_err(|error| failed(&error))?;
    load_first(&bundle, engines, load).map_err(|error| failed(&error))
}

/// Follows the model `name` of the agent whose data folder is `agent_data`: each bundle that the agent activates is loaded
/// beside the one that serves, verified and tested, and takes over between two requests. What is active now serves when
/// this returns; if nothing is, wait with `edgeward_model_wait`. `options` may be null.
///
/// `*model` is freed with `edgeward_model_free`; it is null if the call fails.
///
/// # Safety
/// The texts are null or end with a zero; `options` is null or leads to options; `model` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_watch(
    agent_data: *const c_char,
    name: *const c_char,
    options: *const EdgewardOptions,
    model: *mut *mut EdgewardModel,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(model, std::ptr::null_mut(), "the place for the model") }?;
        // SAFETY: the caller's promise is this function's own.
        let folder = unsafe { followed(agent_data, name) }?;
        // SAFETY: the caller's promise is this function's own.
        let (engines, load) = unsafe { loading(options) }?;
        let options = WatchOptions { engines: Arc::new(engines), load, ..WatchOptions::default() };
        let watch = Watch::start(&folder, options);
        let watch = watch.map_err(|error| Failure::of(EdgewardStatus::FilesFailed, &error))?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { hand_over(model, EdgewardModel::new(Serves::Watched(watch)), "the place for the model") }
    })
}

/// The folder of a model that is followed.
///
/// # Safety
/// The texts are null or end with a zero.
pub(crate) unsafe fn followed(agent_data: *const c_char, name: *const c_char) -> Result<PathBuf, Failure> {
    // SAFETY: the caller's promise is this function's own.
    let data = unsafe { text(agent_data, "the agent's data folder") }?;
    // SAFETY: the caller's promise is this function's own.
    let name = unsafe { text(name, "the model's name") }?;
    let name =
        ModelName::new(name).map_err(|error| Failure::argument(format!("the model's name: {error}")))?;
    Ok(model_folder(Path::new(data), &name))
}

/// Waits until a model serves, for `timeout_ms` milliseconds at most.
///
/// # Safety
/// `model` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_wait(model: *const EdgewardModel, timeout_ms: u64) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        let serves = match &model.serves {
            Serves::Opened(_) => true,
            Serves::Watched(watch) => watch.wait_until_serving(Duration::from_millis(timeout_ms)),
        };
        match serves {
            true => Ok(()),
            false => {
                let words =
                    format!("no model served within {timeout_ms} ms; is one deployed to this device?");
                Err(Failure::new(EdgewardStatus::TimedOut, words))
            }
        }
    })
}

/// How often a model took over, the first included: it rises with each swap. 0 before the first, and for null.
///
/// # Safety
/// `model` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_generation(model: *const EdgewardModel) -> u64 {
    value(0, || {
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        Ok(match &model.serves {
            Serves::Opened(_) => 1,
            Serves::Watched(watch) => watch.swaps(),
        })
    })
}

/// Pins the model that serves now. `*session` is freed with `edgeward_session_free`; it is null if the call fails. It may
/// outlive the model it came from.
///
/// # Safety
/// `model` is null or was given by this library and not freed; `session` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_pin(
    model: *const EdgewardModel,
    session: *mut *mut EdgewardSession,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(session, std::ptr::null_mut(), "the place for the session") }?;
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        let pinned = EdgewardSession::new(model.current()?);
        // SAFETY: the caller's promise is this function's own.
        unsafe { hand_over(session, pinned, "the place for the session") }
    })
}

/// Answers with the model that serves now; as `edgeward_session_infer`.
///
/// # Safety
/// `model` is null or was given by this library and not freed; `inputs` is null or leads to `count` tensors whose pointers
/// lead to as much as they say; `answer` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_infer(
    model: *const EdgewardModel,
    inputs: *const EdgewardTensor,
    count: usize,
    answer: *mut *mut EdgewardAnswer,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(answer, std::ptr::null_mut(), "the place for the answer") }?;
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { infer(&*model.current()?, inputs, count, answer) }
    })
}

/// Tells the model's monitor what was true about row `row` of an answer: a class's name or a number, as text. `alarmed`,
/// unless null, is set to whether that raised an alarm. A label of a model that serves no more is not counted.
///
/// # Safety
/// `model` and `answer` are null or were given by this library and not freed; `truth` is null or ends with a zero;
/// `alarmed` is null or has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_label(
    model: *const EdgewardModel,
    answer: *const EdgewardAnswer,
    row: usize,
    truth: *const c_char,
    alarmed: *mut bool,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        // SAFETY: the caller's promise is this function's own.
        let answer = unsafe { given(answer, "the answer") }?;
        // SAFETY: the caller's promise is this function's own.
        let truth = unsafe { text(truth, "the label") }?;
        let alarm = label(model, answer, row, truth)?;
        if !alarmed.is_null() {
            // SAFETY: the caller's promise is this function's own.
            unsafe { put(alarmed, alarm, "the place for the alarm") }?;
        }
        Ok(())
    })
}

fn label(model: &EdgewardModel, answer: &EdgewardAnswer, row: usize, truth: &str) -> Result<bool, Failure> {
    let Row { said, values, .. } = answer.row(row)?;
    let predicted = predicted_text(said).unwrap_or_default();
    let top = said.confidence.as_slice();
    let scores = if said.scores.is_empty() { top } else { &said.scores };
    let of = u32::try_from(row).ok().map(|row| (answer.prediction, row));
    let label = Labelled { predicted: &predicted, truth, scores, values, tags: &[], of };
    Ok(model.handle().label(answer.bundle, &label).is_some())
}

/// Asks the agent to activate nothing until `edgeward_model_resume`, or until `timeout_ms` milliseconds have passed, an
/// hour at most: the app is in the middle of something.
///
/// # Safety
/// `model` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_pause(
    model: *const EdgewardModel,
    timeout_ms: u64,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        let mut pause = model.pause.lock().unwrap_or_else(PoisonError::into_inner);
        // The one before ends first: it would take the new wish back.
        drop(pause.take());
        let asked = model.watch()?.pause(Duration::from_millis(timeout_ms));
        *pause = Some(asked.map_err(|error| Failure::of(EdgewardStatus::FilesFailed, &error))?);
        Ok(())
    })
}

/// Ends a pause; without one it does nothing.
///
/// # Safety
/// `model` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_resume(model: *const EdgewardModel) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let model = unsafe { given(model, "the model") }?;
        drop(model.pause.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    })
}

/// Ends a model and, if it follows, the following. Pinned sessions and answers stay. Null is nothing.
///
/// # Safety
/// `model` is null or was given by this library, and is not used any more, by any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_model_free(model: *mut EdgewardModel) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { free(model) }
}
