//! How calls end: a status, and the words of the last failure on this thread.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use edgeward_sdk::{InferError, chain};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum EdgewardStatus {
    /// It did what it should.
    Ok = 0,
    /// An argument is null, not UTF-8 or out of range.
    InvalidArgument = 1,
    /// A model cannot be loaded: missing, damaged, or nothing here runs it.
    LoadFailed = 2,
    /// No model serves yet.
    NotServing = 3,
    /// The tensors are not what the model takes.
    InvalidInput = 4,
    /// The model failed.
    ModelFailed = 5,
    /// The agent's files or the app's own cannot be read or written.
    FilesFailed = 6,
    /// The time was over before it happened.
    TimedOut = 7,
    /// A fault of this library, contained. Please report it.
    Internal = 8,
}

/// Why a call failed.
pub(crate) struct Failure {
    pub(crate) status: EdgewardStatus,
    pub(crate) words: String,
}

impl Failure {
    pub(crate) fn new(status: EdgewardStatus, words: impl Into<String>) -> Self {
        Self { status, words: words.into() }
    }

    pub(crate) fn argument(words: impl Into<String>) -> Self {
        Self::new(EdgewardStatus::InvalidArgument, words)
    }

    pub(crate) fn of(status: EdgewardStatus, error: &dyn Error) -> Self {
        Self::new(status, chain(error))
    }
}

impl From<InferError> for Failure {
    fn from(error: InferError) -> Self {
        let status = match &error {
            InferError::NotServing => EdgewardStatus::NotServing,
            error if error.is_input() => EdgewardStatus::InvalidInput,
            InferError::Session(_) => EdgewardStatus::ModelFailed,
        };
        Self::of(status, &error)
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// What went wrong in the last call of this thread that failed; empty if none did. The text is the library's and stands
/// until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn edgeward_last_error() -> *const c_char {
    // A thread that is ending has no words any more.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs one call: its failure, or its panic, becomes a status with words.
pub(crate) fn call(work: impl FnOnce() -> Result<(), Failure>) -> EdgewardStatus {
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let words = format!("a fault of the library: {}", panic_words(&*panic));
        // What was thrown may itself throw when it is dropped.
        std::mem::forget(panic);
        Err(Failure::new(EdgewardStatus::Internal, words))
    });
    match outcome {
        Ok(()) => EdgewardStatus::Ok,
        Err(failure) => {
            let _ = LAST.try_with(|last| last.replace(c_text(&failure.words)));
            failure.status
        }
    }
}

/// As [`call`], for calls that give a value or, if they fail, `otherwise`.
pub(crate) fn value<T>(otherwise: T, work: impl FnOnce() -> Result<T, Failure>) -> T {
    let mut given = None;
    call(|| work().map(|value| given = Some(value)));
    given.unwrap_or(otherwise)
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

/// A text for C; a zero within is left out.
pub(crate) fn c_text(text: &str) -> CString {
    let bytes = text.bytes().filter(|byte| *byte != 0).collect::<Vec<u8>>();
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the text is a CString's of this thread, which nothing replaces meanwhile.
        let text = unsafe { CStr::from_ptr(edgeward_last_error()) };
        text.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_ends_at_the_boundary_with_its_words() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let status = call(|| std::panic::panic_any("the sky fell".to_owned()));
        std::panic::set_hook(hook);
        assert_eq!(status, EdgewardStatus::Internal);
        assert_eq!(last(), "a fault of the library: the sky fell");
    }

    #[test]
    fn each_thread_has_its_own_words_and_success_leaves_them() {
        assert_eq!(call(|| Err(Failure::argument("a\0b"))), EdgewardStatus::InvalidArgument);
        assert_eq!(std::thread::spawn(last).join().unwrap(), "");
        assert_eq!(call(|| Ok(())), EdgewardStatus::Ok);
        assert_eq!(last(), "ab");
    }
}
