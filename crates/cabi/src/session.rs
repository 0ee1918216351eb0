//! The model that serves, pinned: what it takes and gives, and its answers.

use std::ffi::c_char;
use std::sync::Arc;

use edgeward_sdk::Loaded;

use crate::answer::EdgewardAnswer;
use crate::pointer::{array, free, given, hand_over, put};
use crate::status::{EdgewardStatus, Failure, call, value};
use crate::tensor::{Declared, EdgewardTensor, EdgewardTensorSpec, inputs};

/// Bytes of a digest as text: 64 hexadecimal digits and a zero.
pub const EDGEWARD_DIGEST_SIZE: usize = 65;

/// One model, pinned: it stays the same and in memory until this is freed, whatever is activated meanwhile.
pub struct EdgewardSession {
    pub(crate) loaded: Arc<Loaded>,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
}

impl EdgewardSession {
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        let signature = loaded.session().signature();
        let declared = |specs: &[_]| specs.iter().map(Declared::new).collect();
        let (inputs, outputs) = (declared(&signature.inputs), declared(&signature.outputs));
        Self { loaded, inputs, outputs }
    }
}

/// Writes a digest as text.
///
/// # Safety
/// `text` is null or has room for [`EDGEWARD_DIGEST_SIZE`] bytes.
pub(crate) unsafe fn put_digest(text: *mut c_char, digest: edgeward_core::Digest) -> Result<(), Failure> {
    let mut bytes = [0_u8; EDGEWARD_DIGEST_SIZE];
    for (to, from) in bytes.iter_mut().zip(digest.hex().bytes()) {
        *to = from;
    }
    // SAFETY: the caller's promise is this function's own.
    unsafe { put(text.cast(), bytes, "the place for the digest") }
}

/// Answers with `loaded`.
///
/// # Safety
/// As [`edgeward_session_infer`], the session left out.
pub(crate) unsafe fn infer(
    loaded: &Loaded,
    tensors: *const EdgewardTensor,
    count: usize,
    answer: *mut *mut EdgewardAnswer,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise is this function's own.
    let tensors = unsafe { array(tensors, count, "the inputs") }?;
    // SAFETY: the caller's promise is this function's own.
    let tensors = unsafe { inputs(tensors, &loaded.session().signature().inputs) }?;
    let given = EdgewardAnswer::new(loaded.infer(tensors)?);
    // SAFETY: the caller's promise is this function's own.
    unsafe { hand_over(answer, given, "the place for the answer") }
}

/// How many inputs the model takes; 0 for null.
///
/// # Safety
/// `session` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_input_count(session: *const EdgewardSession) -> usize {
    // SAFETY: the caller's promise is this function's own.
    value(0, || unsafe { given(session, "the session") }.map(|session| session.inputs.len()))
}

/// How many outputs the model gives; 0 for null.
///
/// # Safety
/// `session` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_output_count(session: *const EdgewardSession) -> usize {
    // SAFETY: the caller's promise is this function's own.
    value(0, || unsafe { given(session, "the session") }.map(|session| session.outputs.len()))
}

/// What input number `index`, from 0, looks like. The pointers in `*spec` stand until the session is freed.
///
/// # Safety
/// `session` is null or was given by this library and not freed; `spec` is null or has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_input(
    session: *const EdgewardSession,
    index: usize,
    spec: *mut EdgewardTensorSpec,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let session = unsafe { given(session, "the session") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(spec, nth(&session.inputs, index, "input")?, "the place for the spec") }
    })
}

/// What output number `index`, from 0, looks like. The pointers in `*spec` stand until the session is freed.
///
/// # Safety
/// `session` is null or was given by this library and not freed; `spec` is null or has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_output(
    session: *const EdgewardSession,
    index: usize,
    spec: *mut EdgewardTensorSpec,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let session = unsafe { given(session, "the session") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(spec, nth(&session.outputs, index, "output")?, "the place for the spec") }
    })
}

fn nth(declared: &[Declared], index: usize, what: &str) -> Result<EdgewardTensorSpec, Failure> {
    let words = || format!("there is no {what} {index}; the model has {}, counted from 0", declared.len());
    declared.get(index).map(Declared::spec).ok_or_else(|| Failure::argument(words()))
}

/// The bundle's digest (a bare file's: of the file), as text with a zero at its end.
///
/// # Safety
/// `session` is null or was given by this library and not freed; `text` is null or has room for `EDGEWARD_DIGEST_SIZE`
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_digest(
    session: *const EdgewardSession,
    text: *mut c_char,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let session = unsafe { given(session, "the session") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { put_digest(text, session.loaded.bundle()) }
    })
}

/// Answers with the pinned model. The inputs are copied. `*answer` is freed with `edgeward_answer_free`; it is null if
/// there is none. Any number of threads may call this at once.
///
/// # Safety
/// `session` is null or was given by this library and not freed; `inputs` is null or leads to `count` tensors whose
/// pointers lead to as much as they say; `answer` is null or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_infer(
    session: *const EdgewardSession,
    inputs: *const EdgewardTensor,
    count: usize,
    answer: *mut *mut EdgewardAnswer,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let session = unsafe { given(session, "the session") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { infer(&session.loaded, inputs, count, answer) }
    })
}

/// Lets go of the pinned model. Null is nothing.
///
/// # Safety
/// `session` is null or was given by this library, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_session_free(session: *mut EdgewardSession) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { free(session) }
}
