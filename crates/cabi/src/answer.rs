//! What a model said: its outputs, what they mean, and the alarms they raised.

use std::ffi::{CString, c_char};

use edgeward_core::{Digest, PredictionId};
use edgeward_model::Interpretation;
use edgeward_sdk::Prediction;

use crate::pointer::{free, given, put};
use crate::session::put_digest;
use crate::status::{EdgewardStatus, Failure, c_text, call, value};
use crate::tensor::{EdgewardTensor, Shown};

/// One answer.
pub struct EdgewardAnswer {
    pub(crate) bundle: Digest,
    pub(crate) prediction: PredictionId,
    id: CString,
    outputs: Vec<Shown>,
    pub(crate) rows: Vec<Row>,
    alarms: Vec<CString>,
}

/// What was said about one row, with what a label of it needs.
pub(crate) struct Row {
    pub(crate) said: Interpretation,
    pub(crate) values: Vec<f32>,
    label: Option<CString>,
}

/// What a model said about one row.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct EdgewardRow {
    /// Index of the predicted class; -1 if none.
    pub predicted: i64,
    /// Its name, UTF-8; null if it has none.
    pub label: *const c_char,
    /// Its probability; NaN if the model gives none.
    pub confidence: f32,
    /// The result of a regression; NaN if it is none.
    pub value: f32,
}

impl EdgewardAnswer {
    pub(crate) fn new(prediction: Prediction) -> Self {
        let Prediction { id, bundle, outputs, rows, table, alarms, .. } = prediction;
        let row = |(at, said): (usize, Interpretation)| Row {
            values: table.as_ref().map(|table| table.row(at).to_vec()).unwrap_or_default(),
            label: said.label.as_deref().map(c_text),
            said,
        };
        Self {
            bundle,
            prediction: id,
            id: c_text(&id.to_string()),
            outputs: outputs.into_iter().map(Shown::new).collect(),
            rows: rows.into_iter().enumerate().map(row).collect(),
            alarms: alarms.iter().map(|alarm| c_text(&alarm.message)).collect(),
        }
    }

    /// What was said about one row.
    pub(crate) fn row(&self, index: usize) -> Result<&Row, Failure> {
        nth(&self.rows, index, "row")
    }
}

fn nth<'a, T>(values: &'a [T], index: usize, what: &str) -> Result<&'a T, Failure> {
    let words = || format!("there is no {what} {index}; the answer has {}, counted from 0", values.len());
    values.get(index).ok_or_else(|| Failure::argument(words()))
}

/// How many outputs there are; 0 for null.
///
/// # Safety
/// `answer` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_output_count(answer: *const EdgewardAnswer) -> usize {
    // SAFETY: the caller's promise is this function's own.
    value(0, || unsafe { given(answer, "the answer") }.map(|answer| answer.outputs.len()))
}

/// Output number `index`, from 0, in the model's order. The pointers in `*output` stand until the answer is freed.
///
/// # Safety
/// `answer` is null or was given by this library and not freed; `output` is null or has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_output(
    answer: *const EdgewardAnswer,
    index: usize,
    output: *mut EdgewardTensor,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let answer = unsafe { given(answer, "the answer") }?;
        let view = nth(&answer.outputs, index, "output")?.view();
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(output, view, "the place for the output") }
    })
}

/// How many rows the outputs mean something for; 0 if the model's signature does not say what they mean, and for null.
///
/// # Safety
/// `answer` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_row_count(answer: *const EdgewardAnswer) -> usize {
    // SAFETY: the caller's promise is this function's own.
    value(0, || unsafe { given(answer, "the answer") }.map(|answer| answer.rows.len()))
}

/// What was said about row number `index`, from 0. The label stands until the answer is freed.
///
/// # Safety
/// `answer` is null or was given by this library and not freed; `row` is null or has room for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_row(
    answer: *const EdgewardAnswer,
    index: usize,
    row: *mut EdgewardRow,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let answer = unsafe { given(answer, "the answer") }?;
        let Row { said, label, .. } = answer.row(index)?;
        let view = EdgewardRow {
            predicted: said.predicted.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1),
            label: label.as_ref().map_or(std::ptr::null(), |label| label.as_ptr()),
            confidence: said.confidence.unwrap_or(f32::NAN),
            value: said.value.unwrap_or(f32::NAN),
        };
        // SAFETY: the caller's promise is this function's own.
        unsafe { put(row, view, "the place for the row") }
    })
}

/// How many alarms the model's monitor raised for this request; 0 while all is well, and for null.
///
/// # Safety
/// `answer` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_alarm_count(answer: *const EdgewardAnswer) -> usize {
    // SAFETY: the caller's promise is this function's own.
    value(0, || unsafe { given(answer, "the answer") }.map(|answer| answer.alarms.len()))
}

/// Alarm number `index`, from 0, in a sentence; null if there is none. It stands until the answer is freed.
///
/// # Safety
/// `answer` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_alarm(answer: *const EdgewardAnswer, index: usize) -> *const c_char {
    value(std::ptr::null(), || {
        // SAFETY: the caller's promise is this function's own.
        let answer = unsafe { given(answer, "the answer") }?;
        Ok(nth(&answer.alarms, index, "alarm")?.as_ptr())
    })
}

/// The answer's id, a UUID as text; null for null. It stands until the answer is freed.
///
/// # Safety
/// `answer` is null or was given by this library and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_id(answer: *const EdgewardAnswer) -> *const c_char {
    // SAFETY: the caller's promise is this function's own.
    value(std::ptr::null(), || unsafe { given(answer, "the answer") }.map(|answer| answer.id.as_ptr()))
}

/// The digest of the bundle that answered, as text with a zero at its end.
///
/// # Safety
/// `answer` is null or was given by this library and not freed; `text` is null or has room for `EDGEWARD_DIGEST_SIZE`
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_digest(
    answer: *const EdgewardAnswer,
    text: *mut c_char,
) -> EdgewardStatus {
    call(|| {
        // SAFETY: the caller's promise is this function's own.
        let answer = unsafe { given(answer, "the answer") }?;
        // SAFETY: the caller's promise is this function's own.
        unsafe { put_digest(text, answer.bundle) }
    })
}

/// Ends an answer. Null is nothing.
///
/// # Safety
/// `answer` is null or was given by this library, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgeward_answer_free(answer: *mut EdgewardAnswer) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { free(answer) }
}
